//! What a Docker Engine can refuse, each with its fix.

use std::{error::Error as _, io};

use uplift_model::{
    Problem,
    trial::{Failure, FailureKind},
};

/// Something that was asked of the Engine and did not happen.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.problem())]
pub struct DockerError {
    /// What was being done, with the name of the thing.
    pub context: String,
    /// Why it did not happen.
    pub kind: DockerErrorKind,
}

/// Why something did not happen, without the fix.
#[derive(Debug, thiserror::Error)]
pub enum DockerErrorKind {
    /// Nobody listens.
    #[error("no engine answers ({0})")]
    NoEngine(String),
    /// Somebody listens, but not to this user.
    #[error("this user may not talk to the engine ({0})")]
    NoPermission(String),
    /// The engine took too long.
    #[error("the engine did not answer in time")]
    TimedOut,
    /// The engine said no.
    #[error("the engine refused ({status}): {message}")]
    Refused {
        /// Status of the answer.
        status: u16,
        /// The engine's own words.
        message: String,
    },
    /// An image that does not exist.
    #[error("there is no image `{0}` on this engine; pull or import it first, uplift pulls nothing")]
    NoImage(String),
    /// The image could not be built.
    #[error("could not build the image: {0}")]
    Build(String),
    /// The agent's binary or a library of it cannot be packed.
    #[error("{0}")]
    Binary(String),
    /// An address that is none.
    #[error("uplift knows unix:///PATH, tcp://HOST:PORT and ssh://[USER@]HOST")]
    Scheme,
    /// TLS was asked for, and its files cannot be used.
    #[error("{0}")]
    Certificates(String),
    /// The Engine cannot do what is asked of it.
    #[error("{state}")]
    Unfit {
        /// What it lacks.
        state: String,
        /// What can be done.
        remedy: &'static str,
    },
    /// The connection broke or the answer cannot be understood.
    #[error("{0}")]
    Broken(String),
}

const NO_ENGINE: &str = "install and start Docker Engine, or set DOCKER_HOST to one that runs";
const NO_PERMISSION: &str = "run as a member of the group `docker` or as root, or set DOCKER_HOST to a rootless engine";
const SCHEME: &str =
    "for everything else forward a socket, such as `ssh -L /tmp/docker.sock:/var/run/docker.sock HOST`";
const CERTIFICATES: &str = "DOCKER_CERT_PATH names the folder with ca.pem, cert.pem and key.pem; unset it and DOCKER_TLS_VERIFY to do without TLS";
const TIMED_OUT: &str = "look at its log, and restart it if it hangs";

impl DockerErrorKind {
    /// What can be done, where that does not stand in what the engine said.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::NoEngine(_) => Some(NO_ENGINE),
            Self::NoPermission(_) => Some(NO_PERMISSION),
            Self::TimedOut => Some(TIMED_OUT),
            Self::Scheme => Some(SCHEME),
            Self::Certificates(_) => Some(CERTIFICATES),
            Self::Unfit { remedy, .. } => Some(remedy),
            _ => None,
        }
    }
}

impl DockerError {
    pub(crate) fn new(context: impl Into<String>, kind: DockerErrorKind) -> Self {
        Self { context: context.into(), kind }
    }

    /// The error in its parts.
    pub fn problem(&self) -> Problem {
        let problem =
            Problem::new(format!("docker: {}", self.context)).because(self.kind.to_string()).missing("docker");
        self.kind.remedy().into_iter().fold(problem, Problem::fix)
    }

    /// Sorts an error of the client library.
    pub(crate) fn from_client(context: impl Into<String>, error: &bollard::errors::Error) -> Self {
        use bollard::errors::Error as Client;
        let kind = match error {
            Client::DockerResponseServerError { status_code, message } => {
                DockerErrorKind::Refused { status: *status_code, message: message.trim().to_owned() }
            }
            Client::SocketNotFoundError(path) => DockerErrorKind::NoEngine(format!("there is no socket `{path}`")),
            Client::RequestTimeoutError => DockerErrorKind::TimedOut,
            Client::DockerStreamError { error } => DockerErrorKind::Build(error.trim().to_owned()),
            other => match system_error(other) {
                Some((io::ErrorKind::PermissionDenied, text)) => DockerErrorKind::NoPermission(text),
                Some((io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused, text)) => {
                    DockerErrorKind::NoEngine(text)
                }
                Some((_, text)) => DockerErrorKind::Broken(text),
                None => DockerErrorKind::Broken(deepest(other)),
            },
        };
        Self::new(context, kind)
    }

    /// The status of a refusal.
    pub(crate) fn status(&self) -> Option<u16> {
        match &self.kind {
            DockerErrorKind::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// As the failure of a trial. An engine that is not there at all makes the trial unavailable, unless it was there
    /// before: then the trial failed.
    pub(crate) fn into_failure(self, was_there: bool) -> Failure {
        let absent = matches!(self.kind, DockerErrorKind::NoEngine(_) | DockerErrorKind::NoPermission(_));
        Failure {
            kind: if absent && !was_there { FailureKind::Unavailable } else { FailureKind::Launch },
            phase: "launch".to_owned(),
            message: self.to_string(),
            stderr_tail: String::new(),
            problem: Some(Box::new(self.problem())),
        }
    }
}

/// The error of the operating system somewhere below an error of the client library.
fn system_error(error: &bollard::errors::Error) -> Option<(io::ErrorKind, String)> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(system) = error.downcast_ref::<io::Error>()
            && (system.raw_os_error().is_some() || system.kind() != io::ErrorKind::Other)
        {
            return Some((system.kind(), system.to_string()));
        }
        next = error.source();
    }
    None
}

fn deepest(error: &bollard::errors::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = error.to_string();
        next = error.source();
    }
    text
}
