//! `--launch docker` and `uplift docker prune`, used as users use them.

use std::{
    env, fs,
    os::unix::{
        fs::PermissionsExt as _,
        process::{CommandExt as _, ExitStatusExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use uplift_docker::{
    Engine,
    prune::{self, Unknown},
};

use crate::bench::{Bench, Said};

/// The engine of this machine. `None`, and why, where there is none; a failure where `UPLIFT_REQUIRE` asks for one.
fn engine() -> Option<Engine> {
    match Engine::connect() {
        Ok(engine) => Some(engine),
        Err(error) => {
            let required = env::var("UPLIFT_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|word| word.trim() == "docker"), "{error}");
            eprintln!("skipped: {error}");
            None
        }
    }
}

fn is_root() -> bool {
    // SAFETY: geteuid has no preconditions.
    unsafe { libc::geteuid() == 0 }
}

/// Containers and volumes on the engine that a process made.
fn left(engine: &Engine, process: u32) -> Vec<String> {
    prune::find(engine, Unknown::Keep)
        .unwrap()
        .into_iter()
        .filter(|leftover| leftover.process == Some(process))
        .map(|leftover| format!("{} {}", leftover.kind, leftover.name))
        .collect()
}

/// Runs the reference target in a container, with something wrong with it; nothing may be left of it.
fn with_fault(engine: &Engine, fault: &str, more: &[&str]) -> (Bench, Said) {
    let bench = Bench::new();
    let fault = format!("fault={fault}");
    let mut arguments = vec![
        "run",
        "reference/steady",
        "--variant",
        "baseline",
        "--quick",
        "--blocks",
        "2",
        "--launch",
        "docker",
        "--set",
        &fault,
    ];
    arguments.extend(more);
    let child = bench.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let process = child.id();
    let said = Said(child.wait_with_output().unwrap());
    assert_eq!(left(engine, process), Vec::<String>::new());
    (bench, said)
}

fn outcomes(bench: &Bench) -> Vec<String> {
    let word = |trial: &Value| {
        let outcome = &trial["outcome"];
        outcome["kind"].as_str().or(outcome["status"].as_str()).unwrap_or("").to_owned()
    };
    bench.trials().iter().map(word).collect()
}

#[test]
fn a_comparison_of_host_and_container_is_one_like_any_other() {
    let Some(_engine) = engine() else { return };
    let bench = Bench::new();
    let folder = bench.folder.path().join("scenarios/reference");
    fs::create_dir_all(&folder).unwrap();
    fs::write(
        folder.join("box.toml"),
        "schema = 1\ntarget = \"reference\"\ntitle = \"box\"\n[variants.host]\n[variants.docker]\nuplift = { launch = \"docker\" }\n",
    )
    .unwrap();
    let scenarios = bench.folder.path().join("scenarios");
    let said = bench.uplift(&[
        "compare",
        "host",
        "docker",
        "box",
        "--scenario-dir",
        scenarios.to_str().unwrap(),
        "--quick",
        "--blocks",
        "2",
        "--cpus",
        "1",
        "--format",
        "json",
    ]);
    said.code(0);
    let scenario = &said.json()["scenarios"][0];
    assert_eq!(scenario["status"], "compared", "{scenario}");
    let launcher = scenario["settings"].as_array().unwrap().iter().find(|row| row["key"] == "launcher").unwrap();
    assert_eq!(launcher["baseline"]["effective"], "process");
    let docker = launcher["candidate"]["effective"].as_str().unwrap();
    assert!(docker.starts_with("docker (engine ") && docker.contains("1 cpus"), "{docker}");
    for trial in bench.trials() {
        let gauges = &trial["measured"]["gauges"];
        assert_eq!(gauges["container_start"].is_number(), trial["variant"] == "docker", "{gauges}");
    }
}

#[test]
fn a_variant_without_an_engine_is_skipped_unless_it_is_required() {
    let bench = Bench::new();
    let verify = |require: &str| {
        let mut command = bench.command(&["verify", "orchestration/docker-overhead"]);
        command.env("DOCKER_HOST", "unix:///nowhere/docker.sock").env("UPLIFT_REQUIRE", require);
        Said(command.output().unwrap())
    };
    let said = verify("");
    said.code(0);
    assert!(said.out().contains("skip orchestration/docker-overhead docker: docker: connecting"), "{}", said.out());
    assert!(said.out().contains("install and start Docker Engine"), "{}", said.out());
    verify("docker").code(5);
}

#[test]
fn containers_that_were_asked_for_need_an_engine() {
    let bench = Bench::new();
    let mut command = bench.command(&["run", "reference/steady", "--variant", "baseline", "--launch", "docker"]);
    command.env("DOCKER_HOST", "unix:///nowhere/docker.sock");
    let said = Said(command.output().unwrap());
    said.code(5).says("no engine answers").says("set DOCKER_HOST");
    assert!(!bench.folder.path().join("results").exists(), "nothing was begun");
    bench
        .uplift(&["run", "reference/steady", "--variant", "baseline", "--cpus", "1"])
        .code(2)
        .says("--cpus is about containers");
    bench
        .uplift(&["run", "reference/steady", "--variant", "baseline", "--launch", "docker", "--docker-arg=--detach"])
        .code(2)
        .says("no such option of `docker run`");
    bench.uplift(&["verify", "--launch", "docker", "--memory", "1m"]).code(2).says("at least 6m");
}

/// Root may talk to every socket, so somebody else must be nobody's user.
#[test]
fn a_user_without_permission_is_told_what_to_do() {
    let Some(engine) = engine() else { return };
    if !is_root() || !engine.facts().local {
        eprintln!("skipped: only root can become a user who may not talk to the engine");
        return;
    }
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    // The engine's own socket may be open to everybody: this one is closed to everybody else.
    let socket = folder.path().join("closed.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Opened before the user changes: the way to the binary may be closed to nobody.
    let binary = fs::File::open(env!("CARGO_BIN_EXE_uplift")).unwrap();
    let inherited = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&binary));
    // SAFETY: the descriptor is open; the child inherits it.
    unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&binary), libc::F_SETFD, 0) };
    let reachable = socket_is_reachable(&socket);
    if !reachable {
        eprintln!("skipped: the build folder is closed to other users");
        return;
    }
    let output = Command::new(inherited)
        .args(["docker", "prune"])
        .env("DOCKER_HOST", format!("unix://{}", socket.display()))
        .uid(65_534)
        .gid(65_534)
        .output()
        .unwrap();
    Said(output).code(5).says("this user may not talk to the engine").says("group `docker`");
}

/// Whether every folder above may be passed by everybody.
fn socket_is_reachable(socket: &Path) -> bool {
    socket
        .canonicalize()
        .unwrap()
        .ancestors()
        .skip(1)
        .all(|folder| fs::metadata(folder).is_ok_and(|data| data.permissions().mode() & 0o001 != 0))
}

#[test]
fn want_of_memory_is_called_that_with_its_limit() {
    let Some(engine) = engine() else { return };
    let (bench, said) = with_fault(&engine, "allocate", &["--memory", "64m"]);
    said.code(5).says("was killed for want of memory; its limit was 64 MiB");
    assert_eq!(outcomes(&bench), ["out-of-memory", "out-of-memory"]);
}

#[test]
fn crashes_and_panics_are_told_as_they_are_of_a_process() {
    let Some(engine) = engine() else { return };
    let (bench, said) = with_fault(&engine, "crash", &[]);
    said.code(5).says("was ended by signal 6");
    assert_eq!(outcomes(&bench), ["crashed", "crashed"]);
    let (bench, said) = with_fault(&engine, "panic", &[]);
    said.code(5).says("an injected panic");
    let tail = bench.trials()[0]["outcome"]["stderr_tail"].as_str().unwrap().to_owned();
    assert!(tail.contains("an injected panic"), "{tail}");
}

#[test]
fn a_hang_is_killed_after_its_timeout() {
    let Some(engine) = engine() else { return };
    let (bench, said) = with_fault(&engine, "hang", &["--set", "trial.timeout=1s"]);
    said.code(5).says("were killed");
    assert_eq!(outcomes(&bench), ["timed-out", "timed-out"]);
}

/// A small disk. Unmounted when it is dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None`, and why, where none can be mounted.
    fn new(mib: u32) -> Option<Self> {
        let folder = TempDir::with_prefix("uplift-disk-").unwrap();
        let size = format!("size={mib}m");
        let mount = || Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).status();
        if is_root() && mount().is_ok_and(|status| status.success()) {
            return Some(Self(folder));
        }
        eprintln!("skipped: only root can mount a small disk, and not everywhere");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever used it may need another moment to end.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

/// A small disk of its own, mounted where the data go.
#[test]
fn a_full_disk_is_called_that() {
    let Some(engine) = engine().filter(|engine| engine.facts().local) else { return };
    let Some(disk) = SmallDisk::new(300) else { return };
    let (bench, said) = with_fault(&engine, "fill-disk", &["--data-dir", disk.path().to_str().unwrap()]);
    said.code(5).says("No space left on device");
    assert_eq!(outcomes(&bench), ["disk-full", "disk-full"]);
}

/// A long run in containers, of which two trials are done.
fn long_run(bench: &Bench, host: Option<&str>) -> Child {
    let mut command = bench.command(&[
        "compare",
        "baseline",
        "same",
        "reference/steady",
        "--budget",
        "600s",
        "--blocks",
        "500",
        "--launch",
        "docker",
        "--set",
        "trial.rounds=8",
    ]);
    if let Some(host) = host {
        command.env("DOCKER_HOST", host);
    }
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Not a limit on how long it may take, only on how long a broken build keeps everybody waiting.
    for _ in 0..30_000 {
        let lines = fs::read_dir(bench.folder.path().join("results/runs"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| fs::read_to_string(entry.path().join("trials.jsonl")).ok())
            .map(|text| text.lines().count())
            .max();
        if lines >= Some(2) {
            return child;
        }
        assert_eq!(child.try_wait().unwrap(), None, "it ended early");
        thread::sleep(Duration::from_millis(10));
    }
    panic!("no trial after five minutes");
}

fn signal(child: &Child, signal: libc::c_int) {
    // SAFETY: the child is ours and not waited for yet.
    unsafe { libc::kill(child.id() as libc::pid_t, signal) };
}

#[test]
fn an_interrupt_leaves_nothing_behind() {
    let Some(engine) = engine() else { return };
    let bench = Bench::new();
    let mut child = long_run(&bench, None);
    signal(&child, libc::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(left(&engine, child.id()), Vec::<String>::new());
    assert!(!bench.run_folder().join("data").exists(), "the data of trials are removed");
}

#[test]
fn what_a_killed_run_left_is_pruned_and_a_living_one_is_not() {
    let Some(engine) = engine() else { return };
    let (dead, alive) = (Bench::new(), Bench::new());
    let mut killed = long_run(&dead, None);
    // Between two blocks there is no container: kill it when there is one.
    while left(&engine, killed.id()).is_empty() {
        thread::sleep(Duration::from_millis(5));
    }
    signal(&killed, libc::SIGKILL);
    assert_eq!(killed.wait().unwrap().signal(), Some(libc::SIGKILL));
    let leftovers = left(&engine, killed.id());
    let mut living = long_run(&alive, None);
    let said = dead.uplift(&["docker", "prune"]);
    said.code(0);
    for leftover in leftovers {
        assert!(said.out().contains(&format!("removed {leftover}")), "{leftover}: {}", said.out());
    }
    assert_eq!(left(&engine, killed.id()), Vec::<String>::new());
    assert!(!said.out().contains("removed image"), "a living run may need it: {}", said.out());
    let trials = alive.trials().len();
    while alive.trials().len() < trials + 2 {
        assert_eq!(living.try_wait().unwrap(), None, "the living run goes on");
        thread::sleep(Duration::from_millis(10));
    }
    signal(&living, libc::SIGINT);
    assert_eq!(living.wait().unwrap().code(), Some(130));
    let failed = alive.trials().iter().filter(|trial| trial["outcome"]["kind"] == "launch").count();
    assert_eq!(failed, 0, "nothing of it was removed");
    assert_eq!(left(&engine, living.id()), Vec::<String>::new());
}

/// An engine of this test's own, so that it can be killed.
struct OwnEngine {
    folder: PathBuf,
    daemon: Child,
}

impl OwnEngine {
    fn start(folder: &Path) -> Self {
        let at = |name: &str| folder.join(name);
        // In a network of its own: a daemon without a bridge removes the one that it finds, which is another's.
        let daemon = Command::new("unshare")
            .args(["--net", "dockerd", "--bridge", "none", "--iptables=false", "--ip-forward=false", "--host"])
            .arg(format!("unix://{}", at("docker.sock").display()))
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("pid"))
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

    fn host(&self) -> String {
        format!("unix://{}", self.folder.join("docker.sock").display())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// As a crash of the daemon: nothing is cleaned up.
    fn kill(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
        let _ = fs::remove_file(self.folder.join("pid"));
        // Its helper was killed with it. Where nobody waits for orphans it stays as a zombie, which the next daemon
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
        // A daemon that did not come up leaves its mount.
        let _ = Command::new("umount").arg("--lazy").arg("--quiet").arg(self.folder.join("data")).status();
    }
}

/// Whether a process runs, and is no zombie.
fn has_life(process: u32) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')))
}

fn own_engine(folder: &Path) -> Option<OwnEngine> {
    engine()?;
    let dockerd =
        env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|folder| folder.join("dockerd").exists()));
    if !is_root() || !dockerd {
        eprintln!("skipped: only root can start an engine of its own, and needs dockerd");
        return None;
    }
    Some(OwnEngine::start(folder))
}

#[test]
fn an_engine_that_dies_ends_the_trial_and_what_it_left_is_pruned_when_it_is_back() {
    // A socket's path is short; the build folder's may not be.
    let folder = TempDir::with_prefix("uplift-engine-").unwrap();
    let Some(mut own) = own_engine(folder.path()) else { return };
    let bench = Bench::new();
    let mut child = long_run(&bench, Some(&own.host()));
    let engine = Engine::connect_to(&own.host()).unwrap();
    while left(&engine, child.id()).is_empty() {
        thread::sleep(Duration::from_millis(5));
    }
    own.kill();
    let status = child.wait().unwrap();
    assert!(status.code().is_some(), "the harness ends by itself: {status}");
    let failures: Vec<String> =
        bench.trials().iter().filter_map(|trial| trial["outcome"]["message"].as_str().map(str::to_owned)).collect();
    assert!(failures.iter().any(|message| message.contains("no engine answers")), "{failures:?}");
    assert!(outcomes(&bench).iter().filter(|outcome| *outcome == "ok").count() >= 2, "what was measured is kept");

    drop(own);
    let own = OwnEngine::start(folder.path());
    let mut prune = bench.command(&["docker", "prune"]);
    let said = Said(prune.env("DOCKER_HOST", own.host()).output().unwrap());
    said.code(0);
    let engine = Engine::connect_to(&own.host()).unwrap();
    let rest: Vec<String> =
        prune::find(&engine, Unknown::Remove).unwrap().into_iter().map(|leftover| leftover.name).collect();
    assert_eq!(rest, Vec::<String>::new(), "{}", said.out());
}

/// The layers of an image do not fit on the engine's disk.
#[test]
fn an_engine_without_room_for_the_image_is_told_in_its_own_words() {
    let Some(disk) = SmallDisk::new(40) else { return };
    let Some(own) = own_engine(disk.path()) else { return };
    let bench = Bench::new();
    let mut command =
        bench.command(&["run", "reference/steady", "--variant", "baseline", "--quick", "--launch", "docker"]);
    let said = Said(command.env("DOCKER_HOST", own.host()).output().unwrap());
    said.code(5).says("the image cannot be built").says("no space left on device");
}
