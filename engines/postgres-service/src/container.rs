//! A cluster in a container, through the command line of Docker.
//!
//! It is reached as a cluster of this machine is, through a Unix socket in a directory of ours, so that both are measured
//! over the same transport and nothing is opened to any network. Its data are in a volume, never in the container's own
//! layer. Whatever ends us, it goes: dropping it removes container, volume and directory; where our process is killed, a
//! small shell of its own group (see [`crate::cluster`]) does that; and where the machine failed, the labels tell
//! `uplift docker prune` that its owner is gone. No image is ever pulled.

use std::{
    env, fs,
    io::{self, Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use crate::{
    binaries,
    cluster::{SOCKET_NAME, connection_through, initdb_arguments, make_directory, server_arguments, tail, url_through},
    error::ServiceError,
    owner,
    usage::children_of,
};

/// The environment variable that names the image.
pub const IMAGE_VARIABLE: &str = "UPLIFT_POSTGRES_IMAGE";
/// The image where none is named.
const IMAGE: &str = "postgres:16";
/// The folder of the socket, below our directory.
const SOCKET_FOLDER: &str = "socket";
/// How many times the server is asked, 10 ms apart, whether it answers.
const ASKED_MAX: u32 = 6_000;
/// How often its container is looked at meanwhile, in such times.
const LOOKED_AT_EVERY: u32 = 50;

/// What the container does. The images of the PostgreSQL project have `gosu`, Debian has `setpriv`; `$@` are the server's
/// arguments.
const SCRIPT: &str = r#"set -e
for folder in /usr/lib/postgresql/*/bin; do PATH="$folder:$PATH"; done
export PATH LC_ALL=C
if command -v gosu >/dev/null; then as="gosu postgres"
elif command -v setpriv >/dev/null; then as="setpriv --reuid=postgres --regid=postgres --init-groups"
else echo "neither gosu nor setpriv is in this image" >&2; exit 1; fi
cd /uplift
mkdir cluster
chown postgres . cluster
$as initdb $UPLIFT_INITDB_ARGUMENTS -D /uplift/cluster >/dev/null
exec $as postgres -D /uplift/cluster -k /socket "$@""#;

/// A running container.
#[derive(Debug)]
pub(crate) struct Container {
    docker: PathBuf,
    directory: PathBuf,
    name: String,
    image: String,
    /// The server's first process as this machine sees it; `None` where it does not.
    postmaster: Option<u32>,
    janitor: Child,
}

fn unavailable(state: String) -> ServiceError {
    let remedy = format!(
        "start a Docker engine that has the image (`docker pull {IMAGE}`), or name one that it has in {IMAGE_VARIABLE}"
    );
    ServiceError::unavailable(state, remedy)
}

impl Container {
    pub(crate) fn start(data_dir: &Path, settings: &[(&str, &str)]) -> Result<Self, ServiceError> {
        let docker = binaries::in_search_path("docker")
            .ok_or_else(|| unavailable("postgres: no container: there is no `docker` on this machine".to_owned()))?;
        let image = env::var(IMAGE_VARIABLE).ok().filter(|name| !name.trim().is_empty());
        let image = image.as_deref().unwrap_or(IMAGE).trim().to_owned();
        if let Err(message) = ask(&docker, &["image", "inspect", "--format", "{{.Id}}", &image]) {
            return Err(unavailable(format!("postgres: no container of the image `{image}`: {message}")));
        }
        let directory = make_directory(data_dir, None, &format!("/{SOCKET_FOLDER}"))?;
        let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let janitor = match janitor(&docker, &directory, &name) {
            Ok(janitor) => janitor,
            Err(error) => {
                let _ = fs::remove_dir_all(&directory);
                return Err(ServiceError::failed("starting the shell that removes the container", error));
            }
        };
        // From here on container and directory go with this value, or with the process.
        let mut container = Self { docker, directory, name, image, postmaster: None, janitor };
        container.run(settings)?;
        container.wait_until_it_answers()?;
        container.postmaster = container.find_postmaster();
        Ok(container)
    }

    pub(crate) fn connection(&self) -> String {
        connection_through(&self.socket_folder())
    }

    pub(crate) fn url(&self) -> String {
        url_through(&self.socket_folder())
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.postmaster
    }

    pub(crate) fn image(&self) -> &str {
        &self.image
    }

    fn socket_folder(&self) -> PathBuf {
        self.directory.join(SOCKET_FOLDER)
    }

    fn run(&self, settings: &[(&str, &str)]) -> Result<(), ServiceError> {
        let context = "starting a container of PostgreSQL";
        let failed = |error: io::Error| ServiceError::failed(context, error);
        let socket = self.socket_folder();
        fs::create_dir(&socket).map_err(failed)?;
        // The server's user inside is nobody we know. Nobody else gets here: the directory above is ours alone.
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).map_err(failed)?;
        let output = Command::new(&self.docker)
            .args(["run", "--detach", "--pull", "never", "--network", "none", "--user", "0", "--name", &self.name])
            .args(["--label", &format!("{}={}", owner::RUN_LABEL, self.name)])
            .args(["--label", &format!("{}={}", owner::OWNER_LABEL, owner::label())])
            .args(["--mount", "type=volume,dst=/uplift"])
            .args(["--mount", &format!("type=bind,src={},dst=/socket", socket.display())])
            .args(["--env", &format!("UPLIFT_INITDB_ARGUMENTS={}", initdb_arguments(settings).join(" "))])
            .args(["--entrypoint", "/bin/sh", &self.image, "-c", SCRIPT, "postgres"])
            .args(server_arguments(settings))
            .stdin(Stdio::null())
            .output()
            .map_err(failed)?;
        if output.status.success() { Ok(()) } else { Err(ServiceError::failed(context, tail(&output.stderr))) }
    }

    /// By connecting: the socket alone is there before the server takes anybody.
    fn wait_until_it_answers(&self) -> Result<(), ServiceError> {
        let path = PathBuf::from(format!("{}{SOCKET_NAME}", self.socket_folder().display()));
        for asked in 1..=ASKED_MAX {
            if answers(&path).unwrap_or(false) {
                return Ok(());
            }
            if asked % LOOKED_AT_EVERY == 0
                && ask(&self.docker, &["inspect", "--format", "{{.State.Running}}", &self.name]).as_deref()
                    != Ok("true")
            {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let log = Command::new(&self.docker).args(["logs", "--tail", "20", &self.name]).output();
        let log = log.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
        Err(ServiceError::failed("waiting for the container of PostgreSQL to accept connections", tail(&log)))
    }

    /// The engine gives the container's first process, which may be a program that changed the user on the way.
    fn find_postmaster(&self) -> Option<u32> {
        let first = ask(&self.docker, &["inspect", "--format", "{{.State.Pid}}", &self.name]).ok()?;
        let mut process: u32 = first.parse().ok().filter(|process| *process > 0)?;
        loop {
            // An engine of another machine gives a number that means nothing here.
            let name = fs::read_to_string(format!("/proc/{process}/comm")).ok()?;
            if name.trim() == "postgres" {
                return Some(process);
            }
            process = *children_of(process).first()?;
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let removed = Command::new(&self.docker)
            .args(["rm", "--force", "--volumes", &self.name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        let _ = fs::remove_dir_all(&self.directory);
        if let Some(mut stdin) = self.janitor.stdin.take()
            && removed
        {
            let _ = stdin.write_all(b"done");
        }
        let _ = self.janitor.wait();
    }
}

/// The first line that the command prints, or what it complains about.
fn ask(docker: &Path, arguments: &[&str]) -> Result<String, String> {
    let output =
        Command::new(docker).args(arguments).stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let text = if output.status.success() { output.stdout } else { output.stderr };
    // A failed `docker inspect` prints an empty list first.
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned();
    if output.status.success() { Ok(line) } else { Err(line) }
}

/// Whether a server takes a connection on this socket: it answers the first message of the protocol with a request for
/// authentication (`R`), or with an error (`E`) while it still starts.
fn answers(socket: &Path) -> io::Result<bool> {
    const PARAMETERS: &[u8] = b"user\0postgres\0database\0postgres\0\0";
    /// Version 3.0 of the protocol.
    const VERSION: u32 = 3 << 16;
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut message = (8 + PARAMETERS.len() as u32).to_be_bytes().to_vec();
    message.extend_from_slice(&VERSION.to_be_bytes());
    message.extend_from_slice(PARAMETERS);
    stream.write_all(&message)?;
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    // "Terminate", so that the server's log has no complaint about us.
    stream.write_all(&[b'X', 0, 0, 0, 4])?;
    Ok(kind == *b"R")
}

/// Waits for our end; where that was not told before, removes the container, which may be on its way yet.
fn janitor(docker: &Path, directory: &Path, name: &str) -> io::Result<Child> {
    const SCRIPT: &str = r#"
[ "$(cat)" = done ] && exit
for pause in 0 1 2 4; do
  sleep "$pause"
  "$2" rm --force --volumes "$3"
done
rm -rf -- "$1"
"#;
    Command::new("/bin/sh")
        .args(["-c", SCRIPT, "uplift-janitor"])
        .arg(directory)
        .arg(docker)
        .arg(name)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}
