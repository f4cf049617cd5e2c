//! The connection to a Docker Engine, for callers that know no async.

use std::{env, future::Future, path::Path, time::Duration};

use bollard::{API_DEFAULT_VERSION, Docker, models::SystemInfo};
use tokio::runtime::{Builder, Runtime};

use crate::{
    error::{DockerError, DockerErrorKind},
    tunnel::{self, Transport, Tunnel},
};

/// How long the Engine may take to answer a request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Where an Engine listens when nothing else is said.
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// A connected Engine.
#[derive(Debug)]
pub struct Engine {
    runtime: Runtime,
    client: Docker,
    facts: Facts,
    tunnel: Option<Tunnel>,
}

/// What an Engine says of itself.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Where it listens.
    pub host: String,
    /// Its version.
    pub version: String,
    /// How layers are stored: "overlay2".
    pub storage_driver: String,
    /// Cgroup version: "1" or "2".
    pub cgroup_version: String,
    /// Whether CPU and memory limits hold.
    pub limits: bool,
    /// Whether it was reached over a socket of this machine, so that it probably sees the same files.
    pub local: bool,
    /// Whether it runs without root: root inside is the user outside.
    pub rootless: bool,
    /// Whether it maps users, so that files made inside belong to nobody outside.
    pub user_remap: bool,
    /// The swarm that it is a part of.
    pub swarm: Option<SwarmFacts>,
}

/// An Engine's part in a swarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwarmFacts {
    /// Its node.
    pub node: String,
    /// Whether it takes orders for the swarm.
    pub manager: bool,
}

impl Engine {
    /// Connects to the Engine that `DOCKER_HOST` names, or the one of this machine.
    ///
    /// # Errors
    /// [`DockerErrorKind::NoEngine`], [`DockerErrorKind::NoPermission`], or what the Engine said.
    pub fn connect() -> Result<Self, DockerError> {
        let host = env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
        Self::connect_to(host.as_deref().unwrap_or(DEFAULT_HOST))
    }

    /// Connects to the Engine at `host`: `unix:///path`, `tcp://name:port` (with TLS where `DOCKER_TLS_VERIFY` or
    /// `DOCKER_CERT_PATH` is set) or `ssh://[user@]name[:port]`.
    ///
    /// # Errors
    /// As [`Engine::connect`].
    pub fn connect_to(host: &str) -> Result<Self, DockerError> {
        let context = || format!("connecting to `{host}`");
        let fail = |kind| DockerError::new(context(), kind);
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("docker")
            .enable_all()
            .build()
            .map_err(|error| fail(DockerErrorKind::Broken(format!("could not start a thread: {error}"))))?;
        let (scheme, place) = host.split_once("://").unwrap_or(("", host));
        let way = match (scheme, tunnel::certificates()) {
            ("tcp" | "https", Some(folder)) => Some(Transport::tls(place, &folder).map_err(fail)?),
            ("ssh", _) => Some(Transport::ssh(place).map_err(fail)?),
            _ => None,
        };
        let tunnel = way.map(|way| Tunnel::open(&runtime, way)).transpose().map_err(fail)?;
        let seconds = ANSWER_TIMEOUT.as_secs();
        let client = match (&tunnel, scheme) {
            (Some(tunnel), _) => Docker::connect_with_unix(&tunnel.address(), seconds, API_DEFAULT_VERSION),
            (None, "unix") if !Path::new(place).exists() => {
                return Err(fail(DockerErrorKind::NoEngine(format!("there is no socket `{place}`"))));
            }
            (None, "unix") => Docker::connect_with_unix(host, seconds, API_DEFAULT_VERSION),
            (None, "tcp" | "http") => Docker::connect_with_http(host, seconds, API_DEFAULT_VERSION),
            (None, _) => return Err(fail(DockerErrorKind::Scheme)),
        }
        .map_err(|error| DockerError::from_client(context(), &error))?;
        let (client, info) = runtime
            .block_on(async {
                let client = client.negotiate_version().await?;
                let info = client.info().await?;
                Ok((client, info))
            })
            .map_err(|error| tunnel::explain(tunnel.as_ref(), DockerError::from_client(context(), &error)))?;
        let facts = Facts::of(host, &info);
        Ok(Self { runtime, client, facts, tunnel })
    }

    /// What it says of itself.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    pub(crate) fn client(&self) -> &Docker {
        &self.client
    }

    /// Waits for an answer.
    pub(crate) fn wait<T>(
        &self,
        context: impl Into<String>,
        answer: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, DockerError> {
        self.runtime
            .block_on(answer)
            .map_err(|error| tunnel::explain(self.tunnel.as_ref(), DockerError::from_client(context, &error)))
    }

    /// Waits for something that is not an answer of the Engine.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Carries something out beside the caller.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }
}

impl Facts {
    fn of(host: &str, info: &SystemInfo) -> Self {
        let option = |name: &str| {
            let name = format!("name={name}");
            info.security_options.iter().flatten().any(|option| option.split(',').any(|part| part == name))
        };
        let unknown = || "unknown".to_owned();
        Self {
            host: host.to_owned(),
            version: info.server_version.clone().unwrap_or_else(unknown),
            storage_driver: info.driver.clone().unwrap_or_else(unknown),
            cgroup_version: info.cgroup_version.map_or_else(unknown, |version| version.to_string()),
            limits: info.cpu_cfs_quota == Some(true) && info.memory_limit == Some(true),
            local: host.starts_with("unix://"),
            rootless: option("rootless"),
            user_remap: option("userns"),
            swarm: info.swarm.as_ref().and_then(|swarm| {
                Some(SwarmFacts {
                    node: swarm.node_id.clone().filter(|id| !id.is_empty())?,
                    manager: swarm.control_available == Some(true),
                })
            }),
        }
    }
}
