//! A PostgreSQL server for the time of one trial.
//!
//! [`Server::start`] takes the server that `UPLIFT_POSTGRES_URL` names; where it names none, it makes a cluster of its own
//! from the binaries of this machine, as an unprivileged user, reachable only through a Unix socket in the cluster's
//! own directory. Such a cluster is stopped and removed when the [`Server`] is dropped, and also when the process that
//! started it is killed. What must not happen here: any setting that makes a server faster without being asked for.

mod binaries;
mod cluster;
mod usage;

use std::{env, path::Path};

pub use self::usage::Usage;
use self::{binaries::Binaries, cluster::Cluster};

/// The environment variable that names a server.
pub const URL_VARIABLE: &str = "UPLIFT_POSTGRES_URL";

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// None can be had on this machine as it is.
    #[error("{state}; {remedy}")]
    Unavailable {
        /// What is not there.
        state: String,
        /// What the user can do.
        remedy: String,
    },
    /// One should have started, and did not.
    #[error("{context}: {message}")]
    Failed {
        /// What was being done.
        context: String,
        /// What went wrong, with the end of the server's log.
        message: String,
    },
}

impl ServiceError {
    fn unavailable(state: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Unavailable { state: state.into(), remedy: remedy.into() }
    }

    fn failed(context: impl Into<String>, message: impl ToString) -> Self {
        Self::Failed { context: context.into(), message: message.to_string() }
    }
}

/// A server that answers.
#[derive(Debug)]
pub struct Server {
    connection: String,
    cluster: Option<Cluster>,
}

impl Server {
    /// The server that [`URL_VARIABLE`] names, else a new cluster below `data_dir` with `settings` (name, value) on its
    /// command line. A cluster goes to the system's directory for temporary files instead where the user it runs as
    /// cannot reach `data_dir`.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`] where there is neither, with the remedy.
    pub fn start(data_dir: &Path, settings: &[(&str, &str)]) -> Result<Self, ServiceError> {
        if let Some(url) = env::var(URL_VARIABLE).ok().filter(|url| !url.trim().is_empty()) {
            return Ok(Self { connection: url.trim().to_owned(), cluster: None });
        }
        let binaries = Binaries::find()?;
        let cluster = Cluster::start(&binaries, data_dir, settings)?;
        Ok(Self { connection: cluster.connection(), cluster: Some(cluster) })
    }

    /// How to connect, as libpq and tokio-postgres read it.
    pub fn connection(&self) -> &str {
        &self.connection
    }

    /// Where it came from, for the record.
    pub fn origin(&self) -> &'static str {
        if self.cluster.is_some() { "own cluster" } else { URL_VARIABLE }
    }

    /// The server's first process; `None` for a server that was given.
    pub fn pid(&self) -> Option<u32> {
        self.cluster.as_ref().map(Cluster::pid)
    }

    /// What all processes of the server have used so far; `None` for a server that was given.
    pub fn usage(&self) -> Option<Usage> {
        self.pid().and_then(usage::of_family)
    }

    /// The client program `psql`, where there is one.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`] where there is none.
    pub fn psql() -> Result<std::path::PathBuf, ServiceError> {
        binaries::program("psql").ok_or_else(|| {
            ServiceError::unavailable(
                "postgres: there is no `psql` on this machine",
                "install PostgreSQL's client package (Debian: postgresql-client)",
            )
        })
    }
}
