//! What the agent's process used: CPU time, bytes, switches, faults, memory.

use std::{collections::BTreeMap, fs, io::Read as _};

use uplift_model::trial::Resources;

/// Readings that only grow, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    pub(crate) cpu_user_ns: u64,
    pub(crate) cpu_system_ns: u64,
    pub(crate) voluntary_switches: u64,
    pub(crate) involuntary_switches: u64,
    pub(crate) major_faults: u64,
    pub(crate) io: Option<Io>,
}

/// What a process read and wrote.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Io {
    written_bytes: u64,
    write_calls: u64,
    storage_read_bytes: u64,
    storage_written_bytes: u64,
}

impl Io {
    /// From the text of a `/proc/<pid>/io`. Not procfs-core's `Io`: it reads into a map of texts, and this is read on both
    /// sides of every turn, in the process that is measured.
    pub(crate) fn parse(text: &str) -> Self {
        let field = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok()).unwrap_or(0)
        };
        Self {
            written_bytes: field("wchar"),
            write_calls: field("syscw"),
            storage_read_bytes: field("read_bytes"),
            storage_written_bytes: field("write_bytes"),
        }
    }
}

/// Reads them for the calling process, together with those of its children that have ended.
pub fn read() -> Usage {
    let mut usage = of(libc::RUSAGE_SELF);
    usage.add(&of(libc::RUSAGE_CHILDREN));
    // The kernel adds a child's bytes to its parent's when it is waited for.
    usage.io = fs::read_to_string("/proc/self/io").ok().map(|text| Io::parse(&text));
    usage
}

/// Reads them for the children that have ended alone; bytes are those of the calling process as well.
pub fn read_children() -> Usage {
    let io = fs::read_to_string("/proc/self/io").ok().map(|text| Io::parse(&text));
    Usage { io, ..of(libc::RUSAGE_CHILDREN) }
}

/// CPU time that the hypervisor has kept for others since the machine started, over all CPUs; `None` where the kernel does
/// not tell.
pub fn machine_steal_ns() -> Option<u64> {
    /// The kernel counts in hundredths of a second for user space, whatever its own tick is.
    const TICK_NS: u64 = 10_000_000;
    let mut start = [0; 512];
    let read = fs::File::open("/proc/stat").and_then(|mut file| file.read(&mut start)).ok()?;
    let text = std::str::from_utf8(&start[..read]).ok()?;
    // cpu user nice system idle iowait irq softirq steal
    let ticks: u64 = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace().nth(7)?.parse().ok()?;
    Some(ticks * TICK_NS)
}

fn of(who: libc::c_int) -> Usage {
    // SAFETY: an all-zero rusage is valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: these arguments with a valid pointer cannot fail.
    unsafe { libc::getrusage(who, &raw mut usage) };
    let nanos = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000;
    Usage {
        cpu_user_ns: nanos(usage.ru_utime),
        cpu_system_ns: nanos(usage.ru_stime),
        voluntary_switches: usage.ru_nvcsw as u64,
        involuntary_switches: usage.ru_nivcsw as u64,
        major_faults: usage.ru_majflt as u64,
        io: None,
    }
}

impl Usage {
    /// CPU time, user and kernel.
    pub const fn cpu_ns(&self) -> u64 {
        self.cpu_user_ns + self.cpu_system_ns
    }

    /// Adds what another process used. Bytes that one of them could not tell are left out.
    pub(crate) fn add(&mut self, other: &Self) {
        self.cpu_user_ns += other.cpu_user_ns;
        self.cpu_system_ns += other.cpu_system_ns;
        self.voluntary_switches += other.voluntary_switches;
        self.involuntary_switches += other.involuntary_switches;
        self.major_faults += other.major_faults;
        if let (Some(io), Some(more)) = (&mut self.io, other.io) {
            io.written_bytes += more.written_bytes;
            io.write_calls += more.write_calls;
            io.storage_read_bytes += more.storage_read_bytes;
            io.storage_written_bytes += more.storage_written_bytes;
        }
    }

    /// Adds what was used between `self` and the later `end` to `total`.
    pub fn add_growth_to(&self, end: &Self, wall_ns: u64, total: &mut Resources) {
        total.wall_ns += wall_ns;
        total.cpu_user_ns += end.cpu_user_ns.saturating_sub(self.cpu_user_ns);
        total.cpu_system_ns += end.cpu_system_ns.saturating_sub(self.cpu_system_ns);
        total.voluntary_switches += end.voluntary_switches.saturating_sub(self.voluntary_switches);
        total.involuntary_switches += end.involuntary_switches.saturating_sub(self.involuntary_switches);
        total.major_faults += end.major_faults.saturating_sub(self.major_faults);
        if let (Some(before), Some(after)) = (self.io, end.io) {
            let add = |sum: &mut Option<u64>, before: u64, after: u64| {
                *sum = Some(sum.unwrap_or(0) + after.saturating_sub(before));
            };
            add(&mut total.written_bytes, before.written_bytes, after.written_bytes);
            add(&mut total.write_calls, before.write_calls, after.write_calls);
            add(&mut total.storage_read_bytes, before.storage_read_bytes, after.storage_read_bytes);
            add(&mut total.storage_written_bytes, before.storage_written_bytes, after.storage_written_bytes);
        }
    }
}

/// Resources of nothing yet: the cores, and the reason for everything that is not available here.
pub fn empty() -> Resources {
    let mut missing = BTreeMap::new();
    if let Err(error) = fs::read_to_string("/proc/self/io") {
        for field in ["storage_written_bytes", "storage_read_bytes", "written_bytes", "write_calls"] {
            missing.insert(field.to_owned(), format!("could not read /proc/self/io: {error}"));
        }
    }
    Resources { cores: cores(), missing, ..Resources::default() }
}

/// Writes the peak of resident memory into `total`.
pub fn add_peak_memory_to(total: &mut Resources) {
    let status = fs::read_to_string("/proc/self/status");
    let peak = status.as_deref().ok().and_then(|text| {
        let kib: u64 =
            text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib * 1024)
    });
    total.rss_peak_bytes = peak;
    if peak.is_none() {
        total.missing.insert("rss_peak_bytes".to_owned(), "/proc/self/status has no VmHWM".to_owned());
    }
}

/// CPUs that the process may use.
pub fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32)
}
