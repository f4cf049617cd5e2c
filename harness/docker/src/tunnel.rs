//! Ways to an Engine that is not behind a plain socket: TLS, and SSH.
//!
//! The client library speaks to a Unix socket of this process, in a folder that only its user may enter; what comes in
//! there is carried on over TLS, or to `docker system dial-stdio` at the other end of an `ssh`. Nothing of the
//! conversation is looked at here.

use std::{
    env, io,
    path::{Path, PathBuf},
    pin::{Pin, pin},
    process::Stdio,
    sync::Arc,
};

use futures_util::future::{Either, join, pending, select};
use openssl::ssl::{SslConnector, SslFiletype, SslMethod};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, copy, copy_bidirectional},
    net::{TcpStream, UnixListener, UnixStream},
    process::Command,
    runtime::Runtime,
};
use tokio_openssl::SslStream;

use crate::error::{DockerError, DockerErrorKind};

/// The port of an Engine with TLS, where the address names none.
const TLS_PORT: u16 = 2376;
/// How much of what `ssh` says is kept.
const WORDS_BYTES_MAX: usize = 2048;

/// A socket of this process in front of an Engine elsewhere. Dropping it removes the socket.
#[derive(Debug)]
pub(crate) struct Tunnel {
    folder: TempDir,
    trouble: Arc<Mutex<Option<String>>>,
}

/// How the other end is reached.
#[derive(Clone)]
pub(crate) enum Transport {
    /// TLS to `address`, which must prove to be `name`.
    Tls { address: String, name: String, connector: Arc<SslConnector> },
    /// The arguments of `ssh` before the command.
    Ssh(Vec<String>),
}

/// The folder with `ca.pem`, `cert.pem` and `key.pem` where the environment asks for TLS: `DOCKER_CERT_PATH`, or
/// `~/.docker` where only `DOCKER_TLS_VERIFY` is set. Both variables mean that the Engine is verified.
pub(crate) fn certificates() -> Option<PathBuf> {
    let given = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    match (given("DOCKER_CERT_PATH"), given("DOCKER_TLS_VERIFY")) {
        (Some(folder), _) => Some(PathBuf::from(folder)),
        (None, Some(_)) => Some(Path::new(&given("HOME").unwrap_or_default()).join(".docker")),
        (None, None) => None,
    }
}

impl Transport {
    /// TLS to `place`, `name` or `name:port`, with the certificates of a folder.
    pub(crate) fn tls(place: &str, folder: &Path) -> Result<Self, DockerErrorKind> {
        let place = place.trim_end_matches('/');
        let (name, port) = match place.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => {
                let port = port.parse().map_err(|_| {
                    DockerErrorKind::Broken(format!("`{port}` is not a port, in the address `{place}`"))
                })?;
                (name, port)
            }
            _ => (place, TLS_PORT),
        };
        let refused = |file: &'static str| {
            move |error: openssl::error::ErrorStack| {
                let reason = error.errors().first().and_then(|error| error.reason()).unwrap_or("it cannot be read");
                DockerErrorKind::Certificates(format!("`{}`: {reason}", folder.join(file).display()))
            }
        };
        let broken = |error: openssl::error::ErrorStack| DockerErrorKind::Broken(error.to_string());
        let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(broken)?;
        builder.set_ca_file(folder.join("ca.pem")).map_err(refused("ca.pem"))?;
        builder.set_certificate_chain_file(folder.join("cert.pem")).map_err(refused("cert.pem"))?;
        builder.set_private_key_file(folder.join("key.pem"), SslFiletype::PEM).map_err(refused("key.pem"))?;
        let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        let address = if name.contains(':') { format!("[{name}]:{port}") } else { format!("{name}:{port}") };
        Ok(Self::Tls { address, name, connector: Arc::new(builder.build()) })
    }

    /// SSH to `place`: `[user@]host[:port]`.
    pub(crate) fn ssh(place: &str) -> Result<Self, DockerErrorKind> {
        let place = place.trim_end_matches('/');
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (place, None),
        };
        // A host that begins with a dash would be an option.
        if host.is_empty() || host.starts_with('-') || host.contains('/') {
            return Err(DockerErrorKind::Broken(format!("`ssh://{place}` is not ssh://[USER@]HOST[:PORT]")));
        }
        // Nobody could answer a question.
        let mut arguments: Vec<String> = ["-T", "-o", "BatchMode=yes"].map(str::to_owned).into();
        if let Some(port) = port {
            arguments.extend(["-p".to_owned(), port.to_owned()]);
        }
        arguments.extend(["--".to_owned(), host.trim_start_matches('[').trim_end_matches(']').to_owned()]);
        Ok(Self::Ssh(arguments))
    }
}

impl Tunnel {
    /// Begins to carry connections.
    pub(crate) fn open(runtime: &Runtime, way: Transport) -> Result<Self, DockerErrorKind> {
        let failed = |error: io::Error| DockerErrorKind::Broken(format!("no socket can be made for the way: {error}"));
        // A socket's path is short, so not where the user's temporary files are.
        let folder = TempDir::with_prefix_in("uplift-", "/tmp").map_err(failed)?;
        let _inside = runtime.enter();
        let listener = UnixListener::bind(folder.path().join("engine.sock")).map_err(failed)?;
        let trouble = Arc::new(Mutex::new(None));
        let told = Arc::clone(&trouble);
        runtime.spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (way, told) = (way.clone(), Arc::clone(&told));
                tokio::spawn(async move {
                    let trouble = carry(&way, &mut client).await.err();
                    *told.lock() = trouble;
                    // Closed only now: whoever waits for an answer finds the reason.
                    drop(client);
                });
            }
        });
        Ok(Self { folder, trouble })
    }

    /// What the client library connects to.
    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.folder.path().join("engine.sock").display())
    }

    /// Why the last connection that failed did.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }
}

/// Carries one connection until both ends have closed it.
async fn carry(way: &Transport, client: &mut UnixStream) -> Result<(), String> {
    match way {
        Transport::Tls { address, name, connector } => {
            let stream = TcpStream::connect(address).await.map_err(|error| format!("`{address}`: {error}"))?;
            let _ = stream.set_nodelay(true);
            let ssl = connector
                .configure()
                .and_then(|configuration| configuration.into_ssl(name))
                .map_err(|error| error.to_string())?;
            let mut stream = SslStream::new(ssl, stream).map_err(|error| error.to_string())?;
            Pin::new(&mut stream).connect().await.map_err(|error| format!("TLS with `{address}`: {error}"))?;
            // How a conversation ends its own ends know better.
            let _ = copy_bidirectional(client, &mut stream).await;
            Ok(())
        }
        Transport::Ssh(arguments) => {
            let mut child = Command::new("ssh")
                .args(arguments)
                .args(["docker", "system", "dial-stdio"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .map_err(|error| format!("could not start `ssh`: {error}"))?;
            let (Some(mut input), Some(mut output), Some(errors)) =
                (child.stdin.take(), child.stdout.take(), child.stderr.take())
            else {
                return Err("`ssh` has no streams".to_owned());
            };
            let (mut from_client, mut to_client) = client.split();
            let up = pin!(async {
                let _ = copy(&mut from_client, &mut input).await;
                drop(input);
                // The other end decides when it is over.
                pending::<()>().await;
            });
            let down = copy(&mut output, &mut to_client);
            let words = async {
                let mut words = Vec::new();
                let _ = errors.take(WORDS_BYTES_MAX as u64).read_to_end(&mut words).await;
                String::from_utf8_lossy(&words).trim().to_owned()
            };
            let Either::Right(((_, words), _)) = select(up, pin!(join(down, words))).await else { return Ok(()) };
            match child.wait().await {
                Ok(status) if status.success() => Ok(()),
                _ if words.is_empty() => Err("`ssh` failed and does not say why".to_owned()),
                _ => Err(format!("ssh: {words}")),
            }
        }
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tls { address, .. } => write!(formatter, "TLS to {address}"),
            Self::Ssh(arguments) => write!(formatter, "ssh {}", arguments.join(" ")),
        }
    }
}

/// The error of a connection whose way may be to blame.
pub(crate) fn explain(tunnel: Option<&Tunnel>, error: DockerError) -> DockerError {
    match (&error.kind, tunnel.and_then(Tunnel::trouble)) {
        (DockerErrorKind::Broken(_) | DockerErrorKind::NoEngine(_), Some(words)) => {
            DockerError::new(error.context, DockerErrorKind::NoEngine(words))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_secure_shell_are_taken_apart() {
        let arguments = |place: &str| match Transport::ssh(place) {
            Ok(Transport::Ssh(arguments)) => arguments[3..].join(" "),
            other => panic!("{other:?}"),
        };
        assert_eq!(arguments("me@there"), "-- me@there");
        assert_eq!(arguments("me@there:2222/"), "-p 2222 -- me@there");
        for wrong in ["", "-oProxyCommand=x", "there/path"] {
            assert!(Transport::ssh(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn certificates_that_are_not_there_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Transport::tls("there:2376", folder.path()).unwrap_err();
        let remedy = error.remedy().unwrap_or_default();
        assert!(error.to_string().contains("ca.pem") && remedy.contains("DOCKER_CERT_PATH"), "{error}; {remedy}");
        let error = Transport::tls("there:many", folder.path()).unwrap_err().to_string();
        assert!(error.contains("`many` is not a port"), "{error}");
    }
}
