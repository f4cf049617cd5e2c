//! Where a run happens: machine, kernel, filesystem, revision. What cannot be read is `None`.

use std::{
    ffi::CString,
    fs, io,
    mem::MaybeUninit,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    process::{Command, Stdio},
};

use uplift_model::{fnv1a, run::Environment};

/// Filesystems that keep files in memory: a sync there measures nothing.
const MEMORY_FILESYSTEMS: [&str; 2] = ["tmpfs", "ramfs"];

/// The least free space with which a trial is begun.
pub const FREE_BYTES_MIN: u64 = 256 << 20;

/// Reads everything about the machine; `data_root` is where trials keep their data.
pub fn read(data_root: &Path) -> Environment {
    let mount = mount_of(data_root);
    Environment {
        uplift_version: env!("CARGO_PKG_VERSION").to_owned(),
        build_profile: if cfg!(debug_assertions) {
            "debug assertions on".to_owned()
        } else {
            format!("optimised (opt-level {})", env!("UPLIFT_OPT_LEVEL"))
        },
        compiler: Some(env!("UPLIFT_COMPILER").to_owned()).filter(|version| !version.is_empty()),
        git_revision: git(&["rev-parse", "HEAD"]),
        git_dirty: git(&["status", "--porcelain", "--untracked-files=no"]).map(|changes| !changes.is_empty()),
        machine: machine_digest(),
        os: os_name(),
        kernel: first_line("/proc/sys/kernel/osrelease"),
        cpu_model: cpu_model(),
        cores: std::thread::available_parallelism().ok().map(|cores| cores.get() as u32),
        memory_bytes: memory_bytes(),
        data_dir: data_root.display().to_string(),
        filesystem: mount.as_ref().map(|mount| mount.filesystem.clone()),
        mount_options: mount.map(|mount| mount.options),
        governor: first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        virtualization: virtualization(),
    }
}

/// What the user must know about the directory that will hold the data: state and fix.
pub fn data_dir_warning(environment: &Environment) -> Option<String> {
    let filesystem = environment.filesystem.as_deref()?;
    MEMORY_FILESYSTEMS.contains(&filesystem).then(|| {
        format!(
            "the data directory `{}` is on {filesystem}: a sync there reaches no disk, so sync costs and everything that depends on them are not those of a disk; name a directory on a disk with --data-dir",
            environment.data_dir
        )
    })
}

/// Free bytes of the filesystem that holds `path`.
///
/// # Errors
/// What the system said.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut stat = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the name is a C string and the pointer is valid for a statvfs.
    if unsafe { libc::statvfs(name.as_ptr(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded and has filled it.
    let stat = unsafe { stat.assume_init() };
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Memory of the machine in bytes, or of the cgroup where that is less.
pub fn memory_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().strip_suffix(" kB")?.parse().ok()?;
    let limit = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| first_line(path)?.parse::<u64>().ok());
    Some((kib * 1024).min(limit.unwrap_or(u64::MAX)))
}

struct Mount {
    filesystem: String,
    options: String,
}

/// The mount that holds `path`: the one with the longest mount point among those that contain it.
fn mount_of(path: &Path) -> Option<Mount> {
    let path = path.canonicalize().ok()?;
    let text = fs::read_to_string("/proc/self/mountinfo").ok()?;
    text.lines()
        .filter_map(|line| {
            // id parent major:minor root mount-point options [optional…] - type source super-options
            let (before, after) = line.split_once(" - ")?;
            let mut fields = before.split(' ');
            let point = fields.nth(4)?.replace("\\040", " ");
            let options = fields.next()?.to_owned();
            let filesystem = after.split(' ').next()?.to_owned();
            path.starts_with(&point).then_some((point.len(), Mount { filesystem, options }))
        })
        // The last of equals: a mount hides what was mounted there before it.
        .max_by_key(|(length, _)| *length)
        .map(|(_, mount)| mount)
}

fn first_line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Tells machines apart without naming them.
fn machine_digest() -> Option<String> {
    let identity = first_line("/etc/machine-id").or_else(|| first_line("/proc/sys/kernel/hostname"))?;
    let text = format!("uplift {identity} {}", cpu_model().unwrap_or_default());
    Some(format!("{:016x}", fnv1a(text.as_bytes())))
}

fn os_name() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches('"').to_owned())
}

fn cpu_model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    Some(text.lines().find_map(|line| line.strip_prefix("model name"))?.split_once(':')?.1.trim().to_owned())
}

fn virtualization() -> Option<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").ok()?;
    let virtual_machine = cpuinfo
        .lines()
        .any(|line| line.starts_with("flags") && line.split_whitespace().any(|flag| flag == "hypervisor"));
    let container = Path::new("/.dockerenv").exists();
    match (virtual_machine, container) {
        (true, true) => Some("container in a virtual machine".to_owned()),
        (true, false) => Some("virtual machine".to_owned()),
        (false, true) => Some("container".to_owned()),
        (false, false) => None,
    }
}
