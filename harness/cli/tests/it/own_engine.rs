//! Engines to test with: the machine's, and others of a test's own that can be killed, joined and reached in every way.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
    thread,
    time::Duration,
};

use uplift_docker::{Engine, inventory};

/// The engine of this machine. `None`, and why, where there is none; a failure where `UPLIFT_REQUIRE` asks for one.
/// What it holds is counted now and when the tests end.
pub fn engine() -> Option<Engine> {
    match Engine::connect() {
        Ok(engine) => {
            count_at_the_end(&engine);
            Some(engine)
        }
        Err(error) => {
            assert!(!is_required(), "{error}");
            eprintln!("skipped: {error}");
            None
        }
    }
}

fn is_required() -> bool {
    env::var("UPLIFT_REQUIRE").unwrap_or_default().split(',').any(|word| word.trim() == "docker")
}

pub fn is_root() -> bool {
    // SAFETY: geteuid has no preconditions.
    unsafe { libc::geteuid() == 0 }
}

pub fn signal(child: &Child, signal: libc::c_int) {
    // SAFETY: the child is ours and not waited for yet.
    unsafe { libc::kill(child.id() as libc::pid_t, signal) };
}

static BEFORE: OnceLock<BTreeSet<String>> = OnceLock::new();

/// Tests run beside each other, so only when the last has ended can it be told what all of them left behind.
fn count_at_the_end(engine: &Engine) {
    BEFORE.get_or_init(|| {
        extern "C" fn count() {
            // What belongs to the thread that ends is gone already.
            let more = thread::spawn(|| {
                let before = BEFORE.get().cloned().unwrap_or_default();
                Engine::connect().and_then(|engine| inventory::left_since(&engine, &before))
            });
            match more.join() {
                Ok(Ok(more)) if more.is_empty() => {}
                said => {
                    eprintln!("the tests left something behind on the engine: {said:?}");
                    // SAFETY: _exit has no preconditions; the code of the process is otherwise decided.
                    unsafe { libc::_exit(101) };
                }
            }
        }
        // SAFETY: the handler is a function that lives as long as the process.
        unsafe { libc::atexit(count) };
        inventory::everything(engine).unwrap()
    });
}

/// How an engine of a test's own is started.
#[derive(Default)]
pub struct Ways<'a> {
    /// More options of `dockerd`.
    pub options: Vec<String>,
    /// The engine in whose network it is; `None`: one of its own.
    pub beside: Option<&'a OwnEngine>,
    /// The name of its host.
    pub name: Option<&'a str>,
    /// Addresses of its network.
    pub addresses: Vec<String>,
}

/// An engine of this test's own, so that it can be killed.
pub struct OwnEngine {
    folder: PathBuf,
    daemon: Child,
}

impl OwnEngine {
    pub fn start(folder: &Path) -> Self {
        Self::start_as(folder, &Ways::default())
    }

    pub fn start_as(folder: &Path, ways: &Ways<'_>) -> Self {
        fs::create_dir_all(folder).unwrap();
        let at = |name: &str| folder.join(name);
        // In a network of its own: a daemon without a bridge removes the one that it finds, which is another's.
        let mut command = Command::new(if ways.beside.is_some() { "nsenter" } else { "unshare" });
        match ways.beside {
            Some(other) => command.arg(other.network()).args(["unshare", "--uts"]),
            None => command.args(["--net", "--uts"]),
        };
        let mut script = "ip link set lo up\n".to_owned();
        for address in &ways.addresses {
            script.push_str(&format!("ip address replace {address}/32 dev lo\n"));
        }
        if let Some(name) = ways.name {
            script.push_str(&format!("hostname {name}\n"));
        }
        let daemon = command
            .args(["sh", "-ec", &format!("{script}exec dockerd \"$@\""), "dockerd"])
            .args(["--bridge", "none", "--iptables=false", "--ip-forward=false", "--host"])
            .arg(format!("unix://{}", at("docker.sock").display()))
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("pid"))
            .args(&ways.options)
            .stdout(Stdio::null())
            .stderr(fs::File::create(at("log")).unwrap())
            .spawn()
            .unwrap();
        let mut own = Self { folder: folder.to_owned(), daemon };
        for _ in 0..6_000 {
            if Engine::connect_to(&own.host()).is_ok() {
                return own;
            }
            assert_eq!(own.daemon.try_wait().unwrap(), None, "{}", own.log());
            thread::sleep(Duration::from_millis(20));
        }
        panic!("the engine does not come up: {}", own.log());
    }

    pub fn host(&self) -> String {
        format!("unix://{}", self.folder.join("docker.sock").display())
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The option of `nsenter` for its network.
    fn network(&self) -> String {
        format!("--net=/proc/{}/ns/net", self.daemon.id())
    }

    /// A command inside its network.
    pub fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.arg(self.network()).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            inside.current_dir(folder);
        }
        inside
    }

    /// Asks it by the command line client.
    #[track_caller]
    pub fn docker(&self, arguments: &[&str]) -> String {
        let output: Output = Command::new("docker").arg("--host").arg(self.host()).args(arguments).output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {arguments:?}: {words}\n{}", self.log());
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// As a crash of the daemon: nothing is cleaned up.
    pub fn kill(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
        let _ = fs::remove_file(self.folder.join("pid"));
        // Its helper was killed with it. Where no process reaps orphans it stays as a zombie, which the next daemon
        // takes for a living helper.
        let helper = self.folder.join("exec/containerd/containerd.pid");
        if let Some(process) = fs::read_to_string(&helper).ok().and_then(|text| text.trim().parse::<u32>().ok()) {
            while has_life(process) {
                thread::sleep(Duration::from_millis(5));
            }
            let _ = fs::remove_file(helper);
        }
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        if self.daemon.try_wait().is_ok_and(|ended| ended.is_none()) {
            // In order, so that it unmounts what it mounted and takes its helpers with it.
            signal(&self.daemon, libc::SIGTERM);
            let _ = self.daemon.wait();
        }
        // A daemon that did not come up leaves its mount, and one of a swarm that of its network.
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        let places = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
        for place in places.filter(|place| place.starts_with(&self.folder)) {
            let _ = Command::new("umount").arg("--lazy").arg("--quiet").arg(place).status();
        }
    }
}

/// Ends the helpers of containers that outlived the daemon in `folder`, when it is not to come back.
pub fn end_helpers(folder: &Path) {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    for process in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<libc::pid_t>().ok()) {
        let command = fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
        // They name the socket of the daemon's containerd.
        let is_ours = command.split('\0').any(|word| Path::new(word).starts_with(folder));
        if is_ours && command.contains("containerd-shim") {
            // SAFETY: kill has no preconditions.
            unsafe { libc::kill(process, libc::SIGKILL) };
        }
    }
}

/// Whether a process runs, and is no zombie.
fn has_life(process: u32) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')))
}

/// Whether a program is in the search path.
pub fn has_program(name: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(name).exists()))
}

/// Whether a test can start engines of its own, and why not.
pub fn can_start_engines() -> bool {
    if engine().is_none() {
        return false;
    }
    let can = is_root() && ["dockerd", "docker", "ip", "nsenter", "unshare"].iter().all(|name| has_program(name));
    if !can {
        eprintln!(
            "skipped: only root can start an engine of its own, and needs dockerd, docker, ip, nsenter and unshare"
        );
    }
    can
}

pub fn own_engine(folder: &Path) -> Option<OwnEngine> {
    can_start_engines().then(|| OwnEngine::start(folder))
}
