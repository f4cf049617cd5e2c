//! Starts agents in containers.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    sync::Arc,
};

use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, VolumeCreateRequest};
use uplift_engine::launch::{AgentHandle, Launch, LaunchOrder};
use uplift_model::trial::Failure;

use crate::{
    arguments::ContainerArgs,
    container::{Container, Order},
    engine::Engine,
    error::DockerError,
    hold::{Hold, not_held},
    image::{DATA_DIR, Recipe, labels},
    libraries::own_binary,
    owner::Owner,
};

/// Variables of the harness that its agents get too.
const PASSED_ON: [&str; 2] = ["RUST_BACKTRACE", "UPLIFT_POSTGRES_URL"];
/// The least memory that the Engine accepts as a limit.
pub(crate) const MEMORY_BYTES_MIN: u64 = 6 << 20;
/// What a sampler inside the container needs, to open events and to read the kernel's symbols; the least first.
/// `PERFMON` is unknown to Engines before 23.0 and to machines whose kernel or root lacks it; the last resort samples
/// without the kernel's help.
const PROFILING_CAPABILITIES: [&[&str]; 3] = [&["PERFMON", "SYSLOG"], &["SYS_ADMIN", "SYSLOG"], &[]];

/// How the container is made.
#[derive(Clone, Debug, Default)]
pub struct DockerOptions {
    /// The name of the run: part of every name.
    pub run: String,
    /// Where the Engine listens; `None`: as `DOCKER_HOST` says.
    pub host: Option<String>,
    /// The image below the agent; `None`: nothing.
    pub base: Option<String>,
    /// CPUs; `None`: all.
    pub cpus: Option<f64>,
    /// Memory in bytes, without swap; `None`: what a trial may use.
    pub memory_bytes: Option<u64>,
    /// Options of `docker run`.
    pub arguments: ContainerArgs,
    /// Whether the agent will sample stacks.
    pub profiling: bool,
}

/// Starts agents in containers of the Engine that `DOCKER_HOST` names. Connects when it is first needed.
pub struct DockerLauncher {
    options: DockerOptions,
    engine: OnceCell<Arc<Engine>>,
    /// Taken before the first image is looked for.
    hold: OnceCell<Option<Hold>>,
    /// Image of each binary that was asked for.
    images: RefCell<BTreeMap<PathBuf, String>>,
    /// Whether the Engine turned out to see other files than this process.
    other_files: OnceCell<()>,
    /// How many of [`PROFILING_CAPABILITIES`] were refused.
    refused: Cell<usize>,
    warnings: RefCell<Vec<String>>,
}

impl DockerLauncher {
    /// A launcher that is not connected yet.
    pub fn new(options: DockerOptions) -> Self {
        Self {
            options,
            engine: OnceCell::new(),
            hold: OnceCell::new(),
            images: RefCell::default(),
            other_files: OnceCell::new(),
            refused: Cell::new(0),
            warnings: RefCell::default(),
        }
    }

    /// The Engine; connects to it if that has not been done.
    ///
    /// # Errors
    /// As [`Engine::connect`].
    pub fn engine(&self) -> Result<&Arc<Engine>, DockerError> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine);
        }
        let engine = Arc::new(match &self.options.host {
            Some(host) => Engine::connect_to(host)?,
            None => Engine::connect()?,
        });
        let facts = engine.facts();
        let mut warnings = self.warnings.borrow_mut();
        if !facts.local {
            warnings.push(format!(
                "the Docker engine at {} is another machine's: what is recorded about this machine (CPU, disk, load) is not about the trials",
                facts.host
            ));
        }
        if !facts.limits && (self.options.cpus.is_some() || self.options.memory_bytes.is_some()) {
            warnings.push(
                "the Docker engine cannot limit CPUs or memory here (its `docker info` says so): limits that were asked for may not hold; run an engine that is allowed to use the cgroup controllers cpu and memory"
                    .to_owned(),
            );
        }
        drop(warnings);
        Ok(self.engine.get_or_init(|| engine))
    }

    /// The image of a binary, built if the Engine does not have it.
    fn image(&self, engine: &Arc<Engine>, binary: &Path) -> Result<String, DockerError> {
        self.hold.get_or_init(|| {
            Hold::take(engine, &self.options.run)
                .inspect_err(|error| self.warnings.borrow_mut().push(not_held(error)))
                .ok()
        });
        if let Some(name) = self.images.borrow().get(binary) {
            return Ok(name.clone());
        }
        let recipe = Recipe::new(engine, binary, self.options.base.as_deref(), self.options.profiling)?;
        recipe.build(engine)?;
        self.images.borrow_mut().insert(binary.to_owned(), recipe.name.clone());
        Ok(recipe.name)
    }

    fn run(&self, order: &LaunchOrder) -> Result<Container, DockerError> {
        let engine = self.engine()?;
        let binary = order.binary.clone().unwrap_or_else(own_binary);
        let mut image = self.image(engine, &binary)?;
        let mut rebuilt = false;
        loop {
            let error = match self.run_image(engine, order, &image) {
                Ok(container) => {
                    self.tell_capabilities();
                    return Ok(container);
                }
                Err(error) => error,
            };
            if self.options.profiling
                && self.refused.get() + 1 < PROFILING_CAPABILITIES.len()
                && is_about_capabilities(&error)
            {
                self.refused.set(self.refused.get() + 1);
            } else if error.status() == Some(404) && !rebuilt {
                // Somebody removed the image since it was built.
                rebuilt = true;
                self.images.borrow_mut().clear();
                image = self.image(engine, &binary)?;
            } else if error.status() == Some(400)
                && error.to_string().contains("bind source path does not exist")
                && self.other_files.set(()).is_ok()
            {
                self.warnings.borrow_mut().push(
                    "the Docker engine does not see the data directory of this process: the data of containers are on a volume of the engine, which may be another disk"
                        .to_owned(),
                );
            } else {
                return Err(error);
            }
        }
    }

    /// Says once with which capabilities agents sample.
    fn tell_capabilities(&self) {
        if !self.options.profiling {
            return;
        }
        let words = |capabilities: &[&str]| capabilities.join(" and ");
        let text = match PROFILING_CAPABILITIES.split_at(self.refused.get()) {
            ([], [given, ..]) => format!("profiles are sampled inside containers with {}", words(given)),
            ([.., last], [given, ..]) if !given.is_empty() => format!(
                "profiles are sampled inside containers with {}: the engine refuses {}",
                words(given),
                words(last)
            ),
            _ => "the engine refuses every capability for sampling inside containers (PERFMON, SYS_ADMIN): profiles hold the program's own frames only; allow one of them in its authorization".to_owned(),
        };
        let mut warnings = self.warnings.borrow_mut();
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// Whether containers can write to a directory of this process, and files that they make can be removed by it.
    fn shares_files(&self, engine: &Engine) -> bool {
        engine.facts().local && !engine.facts().user_remap && self.other_files.get().is_none()
    }

    fn run_image(&self, engine: &Arc<Engine>, order: &LaunchOrder, image: &str) -> Result<Container, DockerError> {
        let name = container_name(&self.options.run, &order.label);
        let labels = labels(&self.options.run, &Owner::current().label());
        let memory_bytes_max =
            self.options.memory_bytes.unwrap_or(u64::MAX).min(order.memory_bytes_max).max(MEMORY_BYTES_MIN);
        let mut body = ContainerCreateBody {
            image: Some(image.to_owned()),
            cmd: Some(vec!["agent".to_owned()]),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            open_stdin: Some(true),
            // When the harness dies its end of the stream closes, and so does the agent's.
            stdin_once: Some(true),
            env: Some(passed_on()),
            labels: Some(labels.clone()),
            ..ContainerCreateBody::default()
        };
        let mut host = self.limits(memory_bytes_max);
        let volume = if self.shares_files(engine) {
            body.user = Some(user(engine.facts().rootless));
            host.mounts = Some(vec![mount(MountType::BIND, &order.data_dir.to_string_lossy())]);
            None
        } else {
            let volume = VolumeCreateRequest {
                name: Some(name.clone()),
                labels: Some(labels),
                ..VolumeCreateRequest::default()
            };
            engine.wait(format!("creating the volume `{name}`"), engine.client().create_volume(volume))?;
            host.mounts = Some(vec![mount(MountType::VOLUME, &name)]);
            Some(name.clone())
        };
        body.host_config = Some(host);
        self.options.arguments.apply_to(&mut body);
        let cpus_limited = self.options.cpus.is_some();
        let started =
            Container::run(engine, Order { name, body, volume: volume.clone(), memory_bytes_max, cpus_limited });
        if let (Err(_), Some(volume)) = (&started, volume) {
            let _ = engine.wait(
                "removing",
                engine.client().remove_volume(&volume, None::<bollard::query_parameters::RemoveVolumeOptions>),
            );
        }
        started
    }

    fn limits(&self, memory_bytes_max: u64) -> HostConfig {
        let memory = i64::try_from(memory_bytes_max).ok();
        HostConfig {
            nano_cpus: self.options.cpus.map(|cpus| (cpus * 1e9) as i64),
            memory,
            // Equal to the memory limit: no swap, which would turn a limit on memory into a slow disk.
            memory_swap: memory,
            // The conversation must not be written to the Engine's disk while that disk is measured.
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            // Nothing to set up and nothing to leave behind; `--docker-arg network=…` gives one.
            network_mode: Some("none".to_owned()),
            cap_add: self
                .options
                .profiling
                .then(|| PROFILING_CAPABILITIES[self.refused.get()].iter().map(|&name| name.to_owned()).collect()),
            ..HostConfig::default()
        }
    }
}

impl Launch for DockerLauncher {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn describe(&self) -> String {
        let mut parts = Vec::new();
        if let Ok(engine) = self.engine() {
            let facts = engine.facts();
            parts.push(format!("engine {}", facts.version));
            parts.push(facts.storage_driver.clone());
            parts.push(format!("cgroup {}", facts.cgroup_version));
        }
        parts.push(self.options.base.as_ref().map_or("from scratch".to_owned(), |base| format!("on {base}")));
        parts.extend(self.options.cpus.map(|cpus| format!("{cpus} cpus")));
        parts.extend(self.options.memory_bytes.map(|bytes| format!("{} MiB", bytes >> 20)));
        parts.extend(self.options.arguments.describe());
        format!("docker ({})", parts.join(", "))
    }

    fn start(&self, order: &LaunchOrder) -> Result<Box<dyn AgentHandle>, Failure> {
        let was_there = self.engine.get().is_some();
        match self.run(order) {
            Ok(container) => Ok(Box::new(container)),
            Err(error) => Err(error.into_failure(was_there)),
        }
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.borrow().clone()
    }
}

/// Whether the Engine, or what it starts containers with, refused a capability.
fn is_about_capabilities(error: &DockerError) -> bool {
    let text = error.to_string().to_ascii_lowercase();
    error.status().is_some() && (text.contains("capabilit") || text.contains("capadd") || text.contains("apply caps"))
}

fn mount(kind: MountType, source: &str) -> Mount {
    Mount { target: Some(DATA_DIR.to_owned()), source: Some(source.to_owned()), typ: Some(kind), ..Mount::default() }
}

/// Who the agent is inside: outside, its files must be the harness's, which removes them.
fn user(rootless: bool) -> String {
    if rootless {
        return "0:0".to_owned();
    }
    // SAFETY: neither call has preconditions.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    format!("{user}:{group}")
}

/// Variables of the harness that its agents get too, as `NAME=value`.
pub(crate) fn passed_on() -> Vec<String> {
    PASSED_ON.iter().filter_map(|name| env::var(name).ok().map(|value| format!("{name}={value}"))).collect()
}

/// A name that says what runs; only letters, digits, `_`, `.` and `-` may stand in one.
pub fn container_name(run: &str, label: &str) -> String {
    let text = format!("uplift-{run}-{label}");
    text.chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || "_.-".contains(letter) { letter } else { '-' })
        .collect()
}
