//! A PostgreSQL server for as long as a value lives.
//!
//! [`Server::start`] takes the server that `UPLIFT_POSTGRES_URL` names; where it names none, it makes a cluster of its own
//! from the binaries of this machine, as an unprivileged user; where there are none, in a container. A server of its own is
//! reachable only through a Unix socket in a directory of its own, and it is stopped and removed when the [`Server`] is
//! dropped, and also when the process that started it is killed. What must not happen here: any setting that makes a server
//! faster without being asked for, and any download.
//!
//! It knows processes, sockets and the `docker` program, and nothing of the harness or of what is measured.

mod binaries;
mod cluster;
mod container;
mod error;
pub mod owner;
mod usage;
mod variables;

use std::{env, io, path::Path};

use self::{
    binaries::Binaries,
    cluster::{Cluster, Data, Fill},
    container::Container,
};
pub use self::{
    container::IMAGE_VARIABLE,
    error::ServiceError,
    usage::Usage,
    variables::{URL_VARIABLE, WAY_VARIABLE},
};

/// How a server of our own is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A cluster from the binaries of this machine.
    Binaries,
    /// A container.
    Container,
}

/// A server that answers.
#[derive(Debug)]
pub struct Server {
    connection: String,
    origin: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Given,
    Cluster(Cluster),
    Container(Container),
}

impl Server {
    /// The server that [`URL_VARIABLE`] names, else a new one below `data_dir` with `settings` (name, value) on its
    /// command line, from binaries or in a container, whichever [`WAY_VARIABLE`] says or is available. It goes to the
    /// system's directory for temporary files instead where the user it runs as cannot reach `data_dir`.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`] where there is none, with the fix.
    pub fn start(data_dir: &Path, settings: &[(&str, &str)]) -> Result<Self, ServiceError> {
        if let Some(url) = env::var(URL_VARIABLE).ok().filter(|url| !url.trim().is_empty()) {
            return Ok(Self { connection: url.trim().to_owned(), origin: URL_VARIABLE.to_owned(), kind: Kind::Given });
        }
        let way = env::var(WAY_VARIABLE).unwrap_or_default();
        match way.trim() {
            "binaries" => return Self::start_by(Way::Binaries, data_dir, settings),
            "container" => return Self::start_by(Way::Container, data_dir, settings),
            "" => {}
            other => {
                let state = format!("postgres: {WAY_VARIABLE} is `{other}`");
                return Err(ServiceError::unavailable(state, "write `binaries` or `container`, or leave it out"));
            }
        }
        let started = Self::start_by(Way::Binaries, data_dir, settings);
        let Err(ServiceError::Unavailable { state, remedy }) = started else { return started };
        match Self::start_by(Way::Container, data_dir, settings) {
            Err(ServiceError::Unavailable { state: second_state, remedy: second_remedy }) => {
                let second_state = second_state.trim_start_matches("postgres: ");
                Err(ServiceError::unavailable(
                    format!("{state}; {second_state}"),
                    format!("{remedy}; or {second_remedy}"),
                ))
            }
            started => started,
        }
    }

    /// A new server, made in this way and no other.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_by(way: Way, data_dir: &Path, settings: &[(&str, &str)]) -> Result<Self, ServiceError> {
        match way {
            Way::Binaries => Self::of_data(data_dir, settings, Data::OfServer, None),
            Way::Container => {
                let container = Container::start(data_dir, settings)?;
                let (connection, origin) = (container.connection(), format!("container of {}", container.image()));
                Ok(Self { connection, origin, kind: Kind::Container(container) })
            }
        }
    }

    /// A new cluster on data that another one left: `fill` puts them into the folder that it is given.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_on(
        data_dir: &Path,
        settings: &[(&str, &str)],
        fill: &dyn Fn(&Path) -> io::Result<()>,
    ) -> Result<Self, ServiceError> {
        Self::of_data(data_dir, settings, Data::OfServer, Some(fill))
    }

    /// A new server from the binaries of this machine, whose data stay in `data_dir` whatever ends it, for
    /// [`Server::reopen`].
    ///
    /// # Errors
    /// As [`Server::start`]; where the user it runs as cannot reach `data_dir`, there is no other place.
    pub fn start_kept(data_dir: &Path, settings: &[(&str, &str)]) -> Result<Self, ServiceError> {
        Self::of_data(data_dir, settings, Data::Kept, None)
    }

    /// A server on the data that one of [`Server::start_kept`] has left; none of its processes may be alive.
    ///
    /// # Errors
    /// As [`Server::start_kept`]; [`ServiceError::Failed`] where it does not recover.
    pub fn reopen(data_dir: &Path, settings: &[(&str, &str)]) -> Result<Self, ServiceError> {
        Self::of_data(data_dir, settings, Data::Left, None)
    }

    fn of_data(
        data_dir: &Path,
        settings: &[(&str, &str)],
        data: Data,
        fill: Option<&Fill<'_>>,
    ) -> Result<Self, ServiceError> {
        let cluster = Cluster::start(&Binaries::find()?, data_dir, settings, data, fill)?;
        let (connection, origin) = (cluster.connection(), "own cluster".to_owned());
        Ok(Self { connection, origin, kind: Kind::Cluster(cluster) })
    }

    /// Whether its data can be kept: those of a cluster from the binaries of this machine.
    pub const fn can_be_kept(&self) -> bool {
        matches!(self.kind, Kind::Cluster(_))
    }

    /// Ends it; `keep` may copy its data before they are removed. A server that is not a cluster of ours keeps nothing.
    ///
    /// # Errors
    /// What `keep` could not do.
    pub fn stop_with(self, keep: &dyn Fn(&Path) -> io::Result<()>) -> Result<(), ServiceError> {
        match self.kind {
            Kind::Cluster(cluster) => {
                cluster.stop_with(keep).map_err(|error| ServiceError::failed("keeping the data of a cluster", error))
            }
            Kind::Given | Kind::Container(_) => Ok(()),
        }
    }

    /// How to connect, as libpq and tokio-postgres read it.
    pub fn connection(&self) -> &str {
        &self.connection
    }

    /// How to connect, as a URL, for libraries that read nothing else; `None` for a server that was given in another
    /// form.
    pub fn url(&self) -> Option<String> {
        match &self.kind {
            Kind::Cluster(cluster) => Some(cluster.url()),
            Kind::Container(container) => Some(container.url()),
            Kind::Given => Some(self.connection.clone())
                .filter(|given| given.starts_with("postgres://") || given.starts_with("postgresql://")),
        }
    }

    /// Where it came from, for the record.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// What is being done while somebody connects to it, for an error that says which server it was.
    pub fn connecting(&self) -> String {
        format!("connecting to PostgreSQL ({})", self.origin)
    }

    /// Whether it was started here, for us alone.
    pub fn is_ours(&self) -> bool {
        !matches!(self.kind, Kind::Given)
    }

    /// The server's first process; `None` for a server that was given, and for one in a container whose processes cannot be
    /// seen from here.
    pub fn pid(&self) -> Option<u32> {
        match &self.kind {
            Kind::Given => None,
            Kind::Cluster(cluster) => Some(cluster.pid()),
            Kind::Container(container) => container.pid(),
        }
    }

    /// What all processes of the server have used so far; `None` where [`Server::pid`] is.
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
