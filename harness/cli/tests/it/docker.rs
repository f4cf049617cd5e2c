//! `--launch docker` and `uplift docker prune`, used as users use them.

use std::{
    fs,
    os::unix::{
        fs::PermissionsExt as _,
        process::{CommandExt as _, ExitStatusExt as _},
    },
    path::Path,
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
use uplift_postgres_service::Server;

use crate::{
    bench::{Bench, Said},
    own_engine::{OwnEngine, end_helpers, engine, is_root, own_engine, signal},
};

/// Containers and volumes on the engine that a process made.
pub fn left(engine: &Engine, process: u32) -> Vec<String> {
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

pub fn outcomes(bench: &Bench) -> Vec<String> {
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
    said.code(5).says("was killed: out of memory; its limit was 64 MiB");
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

/// The sampler is inside: it needs its capabilities, the kernel's names, and those of a program on an empty image.
#[test]
fn a_profile_is_sampled_inside_a_container() {
    let Some(_engine) = engine() else { return };
    let bench = Bench::new();
    let said = bench.uplift(&[
        "profile",
        "reference/synced",
        "--variant",
        "one-sync",
        "--launch",
        "docker",
        "--sampling-window",
        "2s",
        "--sampling-frequency",
        "1999",
        "--format",
        "json",
    ]);
    said.code(0);
    let variant = said.json()[0]["variants"][0].clone();
    let run = fs::read_to_string(bench.run_folder().join("run.json")).unwrap();
    assert!(run.contains("profiles are sampled inside containers with"), "which capabilities, the run says: {run}");
    if !variant["sampler"].as_str().unwrap().starts_with("perf") {
        eprintln!("skipped: this engine allows no perf events: {variant}");
        return;
    }
    assert!(variant["symbolised_share"].as_f64().unwrap() >= 0.95, "{variant}");
    let folded = bench.run_folder().join("profiles/reference-synced-one~sync.cpu.folded");
    let folded = fs::read_to_string(folded).unwrap();
    assert!(folded.contains("ReferenceClient"), "the program's names: {folded}");
    let sync = folded.lines().any(|line| line.contains("sync") && line.contains("_[k]") && !line.contains("0xffff"));
    assert!(sync, "the kernel's names: {folded}");
}

/// What a profile says beside the stacks comes out of a container too: the slowest calls, waiting, and stages.
#[test]
fn slow_calls_and_stages_come_out_of_a_container() {
    let Some(_engine) = engine() else { return };
    let bench = Bench::new();
    let said = bench.uplift(&[
        "profile",
        "docdb/crud",
        "--variant",
        "optimized",
        "--against",
        "baseline",
        "--launch",
        "docker",
        "--sampling-window",
        "2s",
        "--tail",
        "p90",
        "--format",
        "json",
    ]);
    said.code(0);
    let variants = said.json()[0]["variants"].clone();
    if !variants[0]["sampler"].as_str().unwrap().starts_with("perf") {
        eprintln!("skipped: this engine allows no perf events: {variants}");
        return;
    }
    for variant in variants.as_array().unwrap() {
        let tail = &variant["tail"];
        let calls = |side: &str| tail[side]["calls"].as_u64().unwrap();
        assert!(calls("slow") > 0 && calls("slow") * 2 < calls("all"), "{tail}");
        assert!(tail["slow"]["waiting"].as_bool().unwrap(), "{tail}");
        assert!(tail["slow"]["mean_ns"].as_f64() > tail["all"]["mean_ns"].as_f64(), "{tail}");
    }
    let report = fs::read_to_string(bench.run_folder().join("report.md")).unwrap();
    for wanted in
        ["#### The slowest calls of `optimized`", "### Where the time went", "| log write |", "| sync |", "waiting in"]
    {
        assert!(report.contains(wanted), "`{wanted}` is not in:\n{report}");
    }
    // The kernel's way to the disk hangs under the functions that asked for it.
    let folded = fs::read_to_string(bench.run_folder().join("profiles/docdb-crud-baseline.cpu.folded")).unwrap();
    for kernel in ["vfs_write_[k]", "sync"] {
        let under = |line: &str| line.contains("docdb_engine::") && line.contains(kernel) && line.contains("_[k]");
        assert!(folded.lines().any(under), "{kernel} is not under docdb's functions:\n{folded}");
    }
    for end in ["cpu.svg", "off-cpu.svg", "tail.svg", "tail-against-all.svg"] {
        let file = bench.run_folder().join(format!("profiles/docdb-crud-optimized.{end}"));
        assert!(fs::read_to_string(&file).unwrap().contains("<svg"), "{}", file.display());
    }
}

#[test]
fn a_comparison_in_containers_is_profiled_too() {
    let Some(engine) = engine() else { return };
    let bench = Bench::new();
    let mut command = bench.command(&[
        "compare",
        "baseline",
        "same",
        "reference/steady",
        "--quick",
        "--blocks",
        "2",
        "--launch",
        "docker",
        "--profile",
        "cpu",
    ]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let process = child.id();
    Said(child.wait_with_output().unwrap()).code(0);
    for name in ["baseline", "same"] {
        let file = bench.run_folder().join(format!("profiles/reference-steady-{name}.cpu.folded"));
        assert!(fs::read_to_string(&file).unwrap().contains("work_seventy"), "{}", file.display());
    }
    assert_eq!(left(&engine, process), Vec::<String>::new());
}

/// An empty image holds no server: that is said with what helps, and is no failure of the run.
#[test]
fn a_service_that_is_not_in_the_box_is_missing_with_the_remedy() {
    let Some(_engine) = engine() else { return };
    let bench = Bench::new();
    let mut command = bench.command(&["verify", "pipeline/medium-copy-postgres", "--launch", "docker"]);
    let said = Said(command.env_remove("UPLIFT_POSTGRES_URL").output().unwrap());
    said.code(0);
    assert!(said.out().contains("skip pipeline/medium-copy-postgres"), "{}", said.out());
    assert!(said.out().contains("--docker-base IMAGE"), "{}", said.out());
}

/// A server of this machine, reached over its Unix socket from a container without a network.
#[test]
fn a_server_outside_is_reached_over_its_socket() {
    let Some(_engine) = engine().filter(|engine| engine.facts().local) else { return };
    let server = match Server::start(&std::env::temp_dir(), &[]) {
        Ok(server) => server,
        Err(error) => {
            let required = std::env::var("UPLIFT_REQUIRE").unwrap_or_default();
            assert!(!required.contains("postgres"), "{error}");
            eprintln!("skipped: {error}");
            return;
        }
    };
    let socket = server.connection().split('\'').nth(1).unwrap().to_owned();
    let bench = Bench::new();
    let mount = format!("--docker-arg=volume={socket}:/postgres");
    let run =
        ["run", "pipeline/medium-copy-postgres", "--variant", "copy", "--quick", "--blocks", "1", "--launch", "docker"];
    let arguments: Vec<&str> = run.iter().copied().chain([mount.as_str(), "--set", "workload.rows=2000"]).collect();
    let mut command = bench.command(&arguments);
    command.env("UPLIFT_POSTGRES_URL", "host=/postgres user=postgres dbname=postgres");
    let said = Said(command.output().unwrap());
    said.code(0);
    assert_eq!(outcomes(&bench), ["ok"], "{}", said.err());
    drop(server);
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
pub fn long_run(bench: &Bench, host: Option<&str>, launch: &str) -> Child {
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
        launch,
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

#[test]
fn an_interrupt_leaves_nothing_behind() {
    let Some(engine) = engine() else { return };
    let bench = Bench::new();
    let mut child = long_run(&bench, None, "docker");
    signal(&child, libc::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(left(&engine, child.id()), Vec::<String>::new());
    assert!(!bench.run_folder().join("data").exists(), "the data of trials are removed");
}

#[test]
fn what_a_killed_run_left_is_pruned_and_a_living_one_is_not() {
    let Some(engine) = engine() else { return };
    let (dead, alive) = (Bench::new(), Bench::new());
    let mut killed = long_run(&dead, None, "docker");
    // Between two blocks there is no container: kill it when there is one.
    while left(&engine, killed.id()).is_empty() {
        thread::sleep(Duration::from_millis(5));
    }
    signal(&killed, libc::SIGKILL);
    assert_eq!(killed.wait().unwrap().signal(), Some(libc::SIGKILL));
    let leftovers = left(&engine, killed.id());
    let mut living = long_run(&alive, None, "docker");
    let said = dead.uplift(&["docker", "prune"]);
    said.code(0);
    for leftover in leftovers {
        assert!(said.out().contains(&format!("removed {leftover}")), "{leftover}: {}", said.out());
    }
    assert_eq!(left(&engine, killed.id()), Vec::<String>::new());
    let trials = alive.trials().len();
    while alive.trials().len() < trials + 2 {
        assert_eq!(living.try_wait().unwrap(), None, "the living run goes on");
        thread::sleep(Duration::from_millis(10));
    }
    signal(&living, libc::SIGINT);
    assert_eq!(living.wait().unwrap().code(), Some(130));
    // Its image may have gone while it was between two containers; then it built the image again.
    let failed = alive.trials().iter().filter(|trial| trial["outcome"]["kind"] == "launch").count();
    assert_eq!(failed, 0, "nothing that it needs was removed");
    assert_eq!(left(&engine, living.id()), Vec::<String>::new());
}

#[test]
fn an_engine_that_dies_ends_the_trial_and_what_it_left_is_pruned_when_it_is_back() {
    // A socket's path is short; the build folder's may not be.
    let folder = TempDir::with_prefix("uplift-engine-").unwrap();
    let Some(mut own) = own_engine(folder.path()) else { return };
    let bench = Bench::new();
    let mut child = long_run(&bench, Some(&own.host()), "docker");
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
    drop((engine, own));
    end_helpers(folder.path());
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
    said.code(5).says("could not build the image").says("no space left on device");
}
