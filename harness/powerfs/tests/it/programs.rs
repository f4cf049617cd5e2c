//! Programs that others wrote work on it: SQLite's shell and PostgreSQL. The power takes from them what their
//! documentation says that it may take, and nothing else.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use uplift_powerfs::{Kept, PowerFs};

use super::mounted;

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn has_sqlite() -> bool {
    let found = Command::new("sqlite3").arg("--version").output().is_ok();
    if !found {
        println!("skipped: there is no sqlite3 (`apt-get install sqlite3`)");
    }
    found
}

/// Cuts the power, ends `writer`, and brings the power back.
fn lose(disk: &mut PowerFs, writer: Option<&mut Child>) {
    disk.cut();
    if let Some(writer) = writer {
        writer.kill().unwrap();
        disk.release();
        writer.wait().unwrap();
    }
    disk.release();
    disk.restore(Kept::Nothing, 1, false).unwrap();
}

#[test]
fn sqlite_keeps_what_it_committed() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut disk) = mounted(folder.path()).filter(|_| has_sqlite()) else { return };
    for mode in ["delete", "truncate", "persist", "wal"] {
        let file = folder.path().join(format!("{mode}.db"));
        let sqlite = |words: &str| text(&run(Command::new("sqlite3").arg(&file).arg(words)));
        sqlite(&format!(
            "pragma journal_mode={mode}; pragma synchronous=extra; create table t(a integer primary key, b text);
             with recursive n(i) as (select 1 union all select i+1 from n where i<2000) insert into t select i, hex(randomblob(100)) from n;
             update t set b = 'x' where a % 3 = 0; delete from t where a % 7 = 0; vacuum;"
        ));
        lose(&mut disk, None);
        assert_eq!(sqlite("pragma integrity_check; select count(*) from t;"), "ok\n1715", "{mode}");
    }
}

/// Lets a program insert rows from `from` on, each acknowledged by a line with its number, until `count` were acknowledged;
/// then the power goes. Gives the newest number that was acknowledged, and when the others were, newest first.
fn load(
    disk: &mut PowerFs,
    mut program: Child,
    statement: impl Fn(u64) -> String + Send + 'static,
    from: u64,
    count: u64,
) -> Load {
    let mut input = program.stdin.take().unwrap();
    let feeder = thread::spawn(move || {
        for number in from.. {
            if input.write_all(statement(number).as_bytes()).and_then(|()| input.flush()).is_err() {
                return;
            }
        }
    });
    let mut acknowledged = Vec::new();
    for line in BufReader::new(program.stdout.take().unwrap()).lines() {
        if let Some(Ok(number)) = line.ok().map(|line| line.trim().parse::<u64>()) {
            acknowledged.push((number, Instant::now()));
        }
        if acknowledged.len() as u64 >= count {
            break;
        }
    }
    let cut = Instant::now();
    disk.cut();
    program.kill().unwrap();
    Load { program, feeder, acknowledged, cut }
}

struct Load {
    program: Child,
    feeder: thread::JoinHandle<()>,
    acknowledged: Vec<(u64, Instant)>,
    cut: Instant,
}

impl Load {
    fn end(&mut self) {
        self.program.wait().unwrap();
    }

    /// How many of what was acknowledged is not among `found`, and how old the oldest of these was.
    fn lost(self, found: &[u64]) -> (usize, Duration) {
        self.feeder.join().unwrap();
        assert!(found.is_sorted());
        let lost: Vec<_> =
            self.acknowledged.iter().filter(|(number, _)| found.binary_search(number).is_err()).collect();
        let age = lost.first().map_or(Duration::ZERO, |(_, told)| self.cut.duration_since(*told));
        (lost.len(), age)
    }
}

fn numbers(text: &str) -> Vec<u64> {
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

/// `synchronous = NORMAL` with a write-ahead log: "transactions … might roll back following a power loss", and the
/// database stays consistent. `FULL` loses nothing.
#[test]
fn sqlite_loses_what_its_documentation_says() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut disk) = mounted(folder.path()).filter(|_| has_sqlite()) else { return };
    for (level, may_lose) in [("normal", true), ("full", false)] {
        let file = folder.path().join(format!("{level}.db"));
        let sqlite = |words: &str| text(&run(Command::new("sqlite3").arg(&file).arg(words)));
        sqlite("pragma journal_mode=wal; create table t(a integer primary key, b text);");
        disk.begin(None, true, None);
        // A line at a time: what waits in its buffer was not acknowledged.
        let mut program = Command::new("stdbuf");
        let program =
            program.args(["-oL", "sqlite3"]).arg(&file).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let pragma = format!("pragma synchronous={level};\n");
        let statement = move |number| {
            let first = if number == 1 { pragma.as_str() } else { "" };
            format!("{first}insert into t values({number}, hex(randomblob(200)));\nselect {number};\n")
        };
        let mut load = load(&mut disk, program, statement, 1, 400);
        disk.release();
        load.end();
        disk.restore(Kept::Nothing, 1, false).unwrap();
        assert_eq!(sqlite("pragma integrity_check"), "ok", "{level}");
        let (lost, age) = load.lost(&numbers(&sqlite("select a from t order by a")));
        println!(
            "SQLite, write-ahead log, synchronous = {level}: {lost} of 400 lost, the oldest {age:?} before the cut"
        );
        assert_eq!(lost > 0, may_lose, "{level}");
    }
}

/// A cluster of the newest PostgreSQL of this machine, in a data directory whose power can be cut.
struct Cluster {
    bin: PathBuf,
    disk: PowerFs,
    data: PathBuf,
    sockets: TempDir,
    _folder: TempDir,
}

fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program).current_dir("/");
    command
}

impl Cluster {
    /// `None`, with the reason printed, where there is no PostgreSQL or no root to give up.
    fn new() -> Option<Self> {
        let mut found: Vec<PathBuf> =
            fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        found.sort();
        let bin = found.pop().map(|folder| folder.join("bin")).filter(|bin| bin.join("initdb").is_file());
        // SAFETY: the call takes nothing and cannot fail.
        let Some(bin) = bin.filter(|_| unsafe { libc::geteuid() } == 0) else {
            println!("skipped: it needs root and PostgreSQL's own programs (`apt-get install postgresql`)");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let at = folder.path().join("disk");
        fs::create_dir(&at).unwrap();
        let disk = mounted(&at)?;
        let (data, sockets) = (at.join("data"), tempfile::tempdir().unwrap());
        fs::create_dir(&data).unwrap();
        for path in [data.as_path(), sockets.path()] {
            run(Command::new("chown").arg("postgres").arg(path));
        }
        run(as_postgres(&bin.join("initdb")).arg("-D").arg(&data).args(["-A", "trust"]));
        Some(Self { bin, disk, data, sockets, _folder: folder })
    }

    fn start(&self, settings: &str) {
        let log = self.sockets.path().join("log");
        let sockets = self.sockets.path().display();
        let started = as_postgres(&self.bin.join("pg_ctl"))
            .arg("-D")
            .arg(&self.data)
            .arg("-o")
            .arg(format!("-c listen_addresses= -c unix_socket_directories={sockets} {settings}"))
            .arg("-l")
            .arg(&log)
            .args(["-w", "start"])
            // Nobody must wait for the ends of pipes that a server holds.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(started.success(), "{}", fs::read_to_string(&log).unwrap_or_default());
    }

    fn psql(&self) -> Command {
        let mut command = as_postgres(&self.bin.join("psql"));
        command.arg("-h").arg(self.sockets.path()).args(["-AtqX", "postgres"]);
        command
    }

    fn ask(&self, words: &str) -> String {
        text(&run(self.psql().args(["-c", words])))
    }

    /// The server's first process.
    fn id(&self) -> i32 {
        let lock = fs::read_to_string(self.data.join("postmaster.pid")).unwrap();
        lock.lines().next().unwrap().parse().unwrap()
    }

    /// The server dies with the power, which is gone, and the power is back.
    fn die(&mut self, id: i32) {
        // SAFETY: the server is this test's own, and its workers end when it does.
        unsafe { libc::kill(id, libc::SIGKILL) };
        self.disk.release();
        while Path::new("/proc").join(id.to_string()).join("cwd").exists() {
            thread::sleep(Duration::from_millis(10));
        }
        self.disk.restore(Kept::Nothing, 1, false).unwrap();
        let _ = fs::remove_file(self.data.join("postmaster.pid"));
        // These are of the machine that went down.
        for name in [".s.PGSQL.5432", ".s.PGSQL.5432.lock"] {
            let _ = fs::remove_file(self.sockets.path().join(name));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let stop = ["-m", "immediate", "stop"];
        let _ = as_postgres(&self.bin.join("pg_ctl")).arg("-D").arg(&self.data).args(stop).output();
    }
}

#[test]
fn postgres_keeps_what_it_committed_and_loses_what_its_documentation_says() {
    let Some(mut cluster) = Cluster::new() else { return };
    cluster.start("");
    cluster.disk.begin(None, true, None);
    cluster.ask("create table t(a bigint primary key, b text)");
    assert!(cluster.disk.syncs() > 0, "its commits are counted");
    for (commit, may_lose, from) in [("on", false, 1), ("off", true, 100_001)] {
        let program = cluster.psql().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let words = format!("set synchronous_commit = {commit};\n");
        let statement = move |number| {
            let first = if number == from { words.as_str() } else { "" };
            format!("{first}insert into t values ({number}, repeat('x', 100)) returning a;\n")
        };
        let id = cluster.id();
        let mut load = load(&mut cluster.disk, program, statement, from, 300);
        cluster.die(id);
        load.end();
        cluster.start("");
        let found = numbers(&cluster.ask(&format!("select a from t where a >= {from} order by a")));
        let (lost, age) = load.lost(&found);
        println!("PostgreSQL, synchronous_commit = {commit}: {lost} of 300 lost, the oldest {age:?} before the cut");
        assert_eq!(lost > 0, may_lose, "synchronous_commit = {commit}");
    }
    assert_eq!(cluster.ask("select count(*) >= 300 from t"), "t");
}
