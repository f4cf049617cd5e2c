//! A cluster of our own: made, started, and gone afterwards whatever happens.
//!
//! Three things end it. Dropping it: fast shutdown, wait, remove. The end of our process: the kernel signals the server
//! (`PR_SET_PDEATHSIG`). And a small shell, the janitor, holds the reading end of a pipe whose other end only we have:
//! when that closes, it waits for the server to be gone and removes the directory. Server and janitor lead process
//! groups of their own, so that a signal to our group (Ctrl-C, a kill of the whole group) does not take them unprepared.

use std::{
    env,
    ffi::CString,
    fs,
    io::{self, Read as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use procfs_core::{FromRead as _, process::Stat};
use uplift_instrument::sync_collectors;

use crate::{binaries::Binaries, error::ServiceError};

/// The longest path of a Unix socket (`sun_path` of 108 bytes with its final zero).
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// What PostgreSQL calls its socket for this port, with the slash before it.
pub(crate) const SOCKET_NAME: &str = "/.s.PGSQL.5432";
/// How much of the server's log goes into an error.
const LOG_TAIL_BYTES: usize = 2048;

/// How a cluster is made. Whoever can reach its socket may connect: the directory around it belongs to the server alone.
const INITDB_ARGUMENTS: [&str; 5] =
    ["--no-instructions", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C"];

/// The arguments of `initdb` for a server with `settings`. A server that syncs promises that its commits survive a loss of
/// power, and so must the files that they stand on; one with `fsync = off` promises nothing of the kind.
pub(crate) fn initdb_arguments(settings: &[(&str, &str)]) -> Vec<&'static str> {
    let unsynced = settings.iter().rfind(|(name, _)| *name == "fsync").is_some_and(|(_, value)| *value == "off");
    unsynced.then_some("--no-sync").into_iter().chain(INITDB_ARGUMENTS).collect()
}

/// What is done with the folder of a cluster's data while no server runs on it.
pub(crate) type Fill<'a> = dyn Fn(&Path) -> io::Result<()> + 'a;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// What a server of our own is started with, without its directories.
pub(crate) fn server_arguments(settings: &[(&str, &str)]) -> Vec<String> {
    [("listen_addresses", ""), ("port", "5432"), ("log_timezone", "UTC"), ("timezone", "UTC")]
        .iter()
        .chain(settings)
        .flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")])
        .collect()
}

/// How to connect to the server whose socket is in `directory`.
pub(crate) fn connection_through(directory: &Path) -> String {
    // In a connection string a value in quotes escapes quotes and backslashes.
    let host = directory.display().to_string().replace('\\', "\\\\").replace('\'', "\\'");
    format!("host='{host}' port=5432 user=postgres dbname=postgres")
}

/// The same as a URL.
pub(crate) fn url_through(directory: &Path) -> String {
    // Everything but what is certainly harmless in a query is written as its code.
    let host: String = directory
        .as_os_str()
        .as_bytes()
        .iter()
        .map(|&byte| match byte {
            b'/' | b'-' | b'_' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect();
    format!("postgres://postgres@localhost:5432/postgres?host={host}")
}

/// What becomes of a cluster's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    /// They are made, and go with the server.
    OfServer,
    /// They are made and outlive the server, whatever ends it.
    Kept,
    /// They are there, as a server that died has left them.
    Left,
}

/// A running cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// What goes with the server: its socket and log, and its data where nobody wants them.
    directory: PathBuf,
    data: PathBuf,
    pid: u32,
    stop: Option<mpsc::Sender<()>>,
    keeper: Option<JoinHandle<()>>,
    janitor: Child,
}

/// Whom the server runs as: it refuses to run as root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User {
    uid: u32,
    gid: u32,
}

impl User {
    fn of_servers() -> Result<Option<Self>, ServiceError> {
        // SAFETY: geteuid has no preconditions.
        if unsafe { libc::geteuid() } != 0 {
            return Ok(None);
        }
        ["postgres", "nobody"].into_iter().find_map(Self::named).map(Some).ok_or_else(|| {
            ServiceError::unavailable(
                "postgres: it refuses to run as root, and there is neither a user `postgres` nor `nobody`",
                "run uplift as an ordinary user, or create the user `postgres`",
            )
        })
    }

    fn named(name: &str) -> Option<Self> {
        let name = CString::new(name).ok()?;
        // SAFETY: the name ends with zero; the result is read at once, before anybody can call getpwnam again.
        let entry = unsafe { libc::getpwnam(name.as_ptr()).as_ref() }?;
        Some(Self { uid: entry.pw_uid, gid: entry.pw_gid })
    }
}

impl Cluster {
    /// A cluster whose data `initdb` makes, are there already, or are put by `fill` into the folder that it is given.
    pub(crate) fn start(
        binaries: &Binaries,
        data_dir: &Path,
        settings: &[(&str, &str)],
        data: Data,
        fill: Option<&Fill<'_>>,
    ) -> Result<Self, ServiceError> {
        let user = User::of_servers()?;
        let (directory, data_directory) = match data {
            Data::OfServer => {
                let directory = make_directory(data_dir, user, "")?;
                (directory.clone(), directory.join("cluster"))
            }
            Data::Kept | Data::Left => directories_of_kept(data_dir, user)?,
        };
        let janitor = match janitor(&directory, &data_directory) {
            Ok(janitor) => janitor,
            Err(error) => {
                let _ = fs::remove_dir_all(&directory);
                return Err(ServiceError::failed("starting the shell that removes the cluster", error));
            }
        };
        // From here on the janitor removes the directory when this value, or the process, is gone.
        let mut cluster = Self { directory, data: data_directory, pid: 0, stop: None, keeper: None, janitor };
        match (data, fill) {
            (_, Some(fill)) => {
                fill(&cluster.data).map_err(|error| ServiceError::failed("copying the data of a cluster", error))?;
            }
            (Data::OfServer, None) => cluster.initialise(binaries, user, initdb_arguments(settings))?,
            // Who keeps data to look at them after a crash says himself from when on they are durable.
            (Data::Kept, None) => cluster.initialise(binaries, user, initdb_arguments(&[("fsync", "off")]))?,
            // It names a process that is dead, and says that it is ready.
            (Data::Left, None) => drop(fs::remove_file(cluster.data.join("postmaster.pid"))),
        }
        cluster.launch(binaries, user, settings)?;
        cluster.wait_until_it_answers()?;
        Ok(cluster)
    }

    /// Shuts the server down and hands over the folder of its data, which is removed afterwards.
    pub(crate) fn stop_with(mut self, keep: &Fill<'_>) -> io::Result<()> {
        self.shut_down();
        keep(&self.data)
    }

    fn shut_down(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }

    pub(crate) fn connection(&self) -> String {
        connection_through(&self.directory)
    }

    pub(crate) fn url(&self) -> String {
        url_through(&self.directory)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    fn initialise(&self, binaries: &Binaries, user: Option<User>, arguments: Vec<&str>) -> Result<(), ServiceError> {
        let context = "making a cluster with initdb";
        let mut command = Command::new(&binaries.initdb);
        command.args(arguments).arg("-D").arg(&self.data);
        run_as(&mut command, user, &self.directory);
        let output = command.stdin(Stdio::null()).output().map_err(|error| ServiceError::failed(context, error))?;
        if output.status.success() {
            return Ok(());
        }
        Err(ServiceError::failed(context, tail(&output.stderr)))
    }

    fn log_file(&self) -> PathBuf {
        self.directory.join("server.log")
    }

    fn launch(
        &mut self,
        binaries: &Binaries,
        user: Option<User>,
        settings: &[(&str, &str)],
    ) -> Result<(), ServiceError> {
        let context = "starting postgres";
        let failed = |error: io::Error| ServiceError::failed(context, error);
        let log = fs::File::create(self.log_file()).map_err(failed)?;
        let mut command = Command::new(&binaries.postgres);
        command.arg("-D").arg(&self.data).arg("-k").arg(&self.directory);
        command.args(server_arguments(settings));
        run_as(&mut command, user, &self.directory);
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        // SAFETY: prctl is async-signal-safe. std runs this after it changed the user, which would undo it.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGQUIT);
                Ok(())
            });
        }
        // The signal comes when the thread that started the server ends, so one thread is there for nothing else.
        let (stop, stopped) = mpsc::channel::<()>();
        let (started, starting) = mpsc::channel();
        let keeper = thread::Builder::new()
            .name("postgres-keeper".to_owned())
            .spawn(move || match sync_collectors::spawn(command) {
                Ok(child) => {
                    let _ = started.send(Ok(child.id()));
                    let _ = stopped.recv();
                    shut_down(child);
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            })
            .map_err(failed)?;
        self.pid = match starting.recv() {
            Ok(Ok(pid)) => pid,
            Ok(Err(error)) => return Err(failed(error)),
            Err(_) => return Err(ServiceError::failed(context, "its keeper ended")),
        };
        self.stop = Some(stop);
        self.keeper = Some(keeper);
        Ok(())
    }

    /// The server writes "ready" into its own file when it accepts connections.
    fn wait_until_it_answers(&self) -> Result<(), ServiceError> {
        let status = self.data.join("postmaster.pid");
        for _ in 0..6_000 {
            if fs::read_to_string(&status).is_ok_and(|text| text.lines().nth(7).is_some_and(|l| l.trim() == "ready")) {
                return Ok(());
            }
            if has_ended(self.pid) {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let log = fs::read(self.log_file()).unwrap_or_default();
        Err(ServiceError::failed("waiting for postgres to accept connections", tail(&log)))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shut_down();
        let _ = fs::remove_dir_all(&self.directory);
        // Closing its input lets the janitor find nothing left to do.
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
    }
}

/// Fast shutdown: sessions are ended, a checkpoint is written.
fn shut_down(mut child: Child) {
    // SAFETY: the child is ours and not yet reaped, so its id is nobody else's.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
    let _ = child.wait();
}

/// Whether the process is gone or only waits to be reaped.
fn has_ended(pid: u32) -> bool {
    Stat::from_file(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.state == 'Z')
}

/// Waits for our end, then for the server's, then removes the directory.
fn janitor(directory: &Path, data: &Path) -> io::Result<Child> {
    const SCRIPT: &str = r#"
cat >/dev/null
file="$2/postmaster.pid"
tries=0
while [ -s "$file" ] && [ "$tries" -lt 300 ]; do
  pid=$(head -n 1 "$file" 2>/dev/null)
  { [ -n "$pid" ] && [ -d "/proc/$pid" ]; } || break
  tries=$((tries + 1))
  sleep 0.1
done
rm -rf -- "$1"
"#;
    Command::new("/bin/sh")
        .args(["-c", SCRIPT, "uplift-janitor"])
        .args([directory, data])
        // Who ends what an agent leaves behind lets this one do its work.
        .env("UPLIFT_JANITOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

fn run_as(command: &mut Command, user: Option<User>, directory: &Path) {
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    // The caller's variables must not reach the server; its locale is set by initdb.
    command.current_dir(directory).env_clear().env("LC_ALL", "C").env("PATH", env::var_os("PATH").unwrap_or_default());
}

/// A fresh directory that belongs to the server's user. Its socket will be in the folder `below` of it.
pub(crate) fn make_directory(data_dir: &Path, user: Option<User>, below: &str) -> Result<PathBuf, ServiceError> {
    let name = format!("uplift-pg-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut reasons = Vec::new();
    for parent in [data_dir.to_path_buf(), env::temp_dir()] {
        let Ok(parent) = parent.canonicalize() else {
            reasons.push(format!("`{}` does not exist", parent.display()));
            continue;
        };
        let directory = parent.join(&name);
        if directory.as_os_str().len() + below.len() + SOCKET_NAME.len() > SOCKET_PATH_BYTES_MAX {
            reasons.push(format!("the path of `{}` is too long for a Unix socket", parent.display()));
            continue;
        }
        if let Some(blocked) = user.and_then(|user| unreachable_for(&parent, user)) {
            reasons.push(format!("the user that postgres runs as may not enter `{}`", blocked.display()));
            continue;
        }
        let made = fs::create_dir(&directory)
            .and_then(|()| fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)))
            .and_then(|()| user.map_or(Ok(()), |user| chown(&directory, Some(user.uid), Some(user.gid))));
        match made {
            Ok(()) => return Ok(directory),
            Err(error) => reasons.push(format!("could not create `{}`: {error}", directory.display())),
        }
    }
    Err(ServiceError::unavailable(
        format!("postgres: there is no place for a cluster: {}", reasons.join(", ")),
        "give a short path that everybody may enter with --data-dir",
    ))
}

/// The directories of a cluster whose data outlive it: one for socket and log, which both who makes the data and who opens
/// them again take, so that nothing of a server that was killed is left; and that of the data.
fn directories_of_kept(data_dir: &Path, user: Option<User>) -> Result<(PathBuf, PathBuf), ServiceError> {
    let failed = |error: io::Error| ServiceError::failed("making the directories of a cluster", error);
    let data_dir = data_dir.canonicalize().map_err(failed)?;
    if let Some(blocked) = user.and_then(|user| unreachable_for(&data_dir, user)) {
        return Err(ServiceError::unavailable(
            format!("postgres: the user that it runs as may not enter `{}`", blocked.display()),
            "give a path that everybody may enter with --data-dir",
        ));
    }
    let data = data_dir.join("postgres");
    let name = data_dir
        .as_os_str()
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let directory = env::temp_dir().join(format!("uplift-pg-{name:016x}"));
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    for path in [&directory, &data] {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path == &data => {}
            made => {
                made.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o700)))
                    .and_then(|()| user.map_or(Ok(()), |user| chown(path, Some(user.uid), Some(user.gid))))
                    .map_err(failed)?;
            }
        }
    }
    Ok((directory, data))
}

/// The first directory on the way to `path` that `user` may not enter.
fn unreachable_for(path: &Path, user: User) -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    path.ancestors()
        .find(|directory| {
            fs::metadata(directory).map_or(true, |metadata| {
                let bit = if metadata.uid() == user.uid {
                    0o100
                } else if metadata.gid() == user.gid {
                    0o010
                } else {
                    0o001
                };
                metadata.mode() & bit == 0
            })
        })
        .map(Path::to_path_buf)
}

pub(crate) fn tail(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    let _ = (&bytes[bytes.len().saturating_sub(LOG_TAIL_BYTES)..]).read_to_end(&mut text);
    String::from_utf8_lossy(&text).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_that_does_not_sync_is_made_without() {
        assert!(!initdb_arguments(&[]).contains(&"--no-sync"));
        assert!(!initdb_arguments(&[("fsync", "off"), ("fsync", "on")]).contains(&"--no-sync"));
        assert!(!initdb_arguments(&[("synchronous_commit", "off")]).contains(&"--no-sync"));
        assert!(initdb_arguments(&[("fsync", "off")]).contains(&"--no-sync"));
    }
}
