//! One container with an agent in it, from creation to removal.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{Read, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use bollard::{
    models::{ContainerCreateBody, ContainerState},
    query_parameters::{
        AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, InspectContainerOptions, KillContainerOptions,
        RemoveContainerOptionsBuilder, RemoveVolumeOptionsBuilder, StartContainerOptions, StatsOptionsBuilder,
        WaitContainerOptionsBuilder,
    },
};
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tokio::time::timeout;
use uplift_engine::launch::{AgentHandle, Exit, Moment};

use crate::{
    engine::Engine,
    error::{DockerError, DockerErrorKind},
    image::DATA_DIR,
    statistics::{ContainerUsage, Reading, START},
    streams::{Input, Output, split},
};

/// How often a name that is taken is tried with another number.
const NAMES_MAX: u32 = 100;
/// How often, and with which pause, something is removed that is busy.
const REMOVALS_MAX: u32 = 100;
const REMOVAL_PAUSE: Duration = Duration::from_millis(50);
/// How long the Engine may take to say that a container has ended, after its streams have.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// A container. Dropping it removes it, whatever it does.
pub(crate) struct Container {
    engine: Arc<Engine>,
    name: String,
    id: String,
    volume: Option<String>,
    memory_bytes_max: u64,
    cpus_limited: bool,
    streams: Option<(Input, Output)>,
    errors: Arc<Mutex<VecDeque<u8>>>,
    start_ns: u64,
    before: Option<Result<Reading, String>>,
    after: Option<Result<Reading, String>>,
    exit: Option<Exit>,
    process: Option<u32>,
    task: Option<Task>,
}

/// What a swarm knows of a container.
pub(crate) struct Task {
    /// An Engine that takes orders for the swarm.
    pub(crate) manager: Arc<Engine>,
    /// The service that the container is of.
    pub(crate) service: String,
    /// The name of its node.
    pub(crate) node: String,
}

/// What a container is made from.
pub(crate) struct Order {
    /// The name that is tried first.
    pub(crate) name: String,
    pub(crate) body: ContainerCreateBody,
    /// The volume that goes with the container.
    pub(crate) volume: Option<String>,
    pub(crate) memory_bytes_max: u64,
    pub(crate) cpus_limited: bool,
}

/// Where a service for an agent in a container can come from.
const SERVICE_REMEDY: &str = "inside the container only that is there which --docker-base IMAGE brings; a server of this machine is reached over its Unix socket with --docker-arg=volume=/var/run/postgresql:/var/run/postgresql and UPLIFT_POSTGRES_URL";

impl Container {
    /// Creates, attaches and starts a container. What was made of it before a failure is removed again.
    pub(crate) fn run(engine: &Arc<Engine>, order: Order) -> Result<Self, DockerError> {
        let begun = Instant::now();
        let (name, id) = create(engine, &order.name, order.body.clone())?;
        let mut container = Self::of(engine, Order { name, ..order }, id, None);
        container.attach()?;
        engine.wait(
            format!("starting `{}`", container.name),
            engine.client().start_container(&container.id, None::<StartContainerOptions>),
        )?;
        container.started_since(begun);
        Ok(container)
    }

    /// Attaches to a container that a swarm has started, asked for at `begun`. It is removed with its service.
    pub(crate) fn adopt(
        engine: &Arc<Engine>,
        order: Order,
        id: String,
        task: Task,
        begun: Instant,
    ) -> Result<Self, DockerError> {
        let mut container = Self::of(engine, order, id, Some(task));
        container.attach()?;
        container.started_since(begun);
        Ok(container)
    }

    fn of(engine: &Arc<Engine>, order: Order, id: String, task: Option<Task>) -> Self {
        Self {
            engine: Arc::clone(engine),
            name: order.name,
            id,
            volume: order.volume,
            memory_bytes_max: order.memory_bytes_max,
            cpus_limited: order.cpus_limited,
            streams: None,
            errors: Arc::default(),
            start_ns: 0,
            before: None,
            after: None,
            exit: None,
            process: None,
            task,
        }
    }

    fn attach(&mut self) -> Result<(), DockerError> {
        let options =
            AttachContainerOptionsBuilder::default().stream(true).stdin(true).stdout(true).stderr(true).build();
        let attached = self.engine.wait(
            format!("attaching to `{}`", self.name),
            self.engine.client().attach_container(&self.id, Some(options)),
        )?;
        let streams = split(&self.engine, attached);
        self.streams = Some((streams.input, streams.output));
        self.errors = streams.errors;
        Ok(())
    }

    fn started_since(&mut self, begun: Instant) {
        self.start_ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.process = self
            .state()
            .ok()
            .and_then(|state| u32::try_from(state.pid?).ok())
            .filter(|process| is_of_container(*process, &self.id));
    }

    fn state(&self) -> Result<ContainerState, DockerError> {
        let context = || format!("looking at `{}`", self.name);
        let client = self.engine.client();
        let seen = self.engine.wait(context(), client.inspect_container(&self.id, None::<InspectContainerOptions>))?;
        seen.state.ok_or_else(|| {
            DockerError::new(context(), DockerErrorKind::Broken("the engine tells no state of it".to_owned()))
        })
    }

    fn reading(&self) -> Result<Reading, String> {
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        self.engine.block_on(async {
            let mut stats = std::pin::pin!(self.engine.client().stats(&self.id, Some(options)));
            match stats.next().await {
                Some(Ok(stats)) => Ok(Reading::of(&stats)),
                Some(Err(error)) => {
                    Err(DockerError::from_client(format!("statistics of `{}`", self.name), &error).to_string())
                }
                None => Err("the engine gave no statistics".to_owned()),
            }
        })
    }

    /// Waits until the container does not run any more and says how it ended.
    fn ended(&self) -> Result<Exit, DockerError> {
        let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
        let waited = self.engine.block_on(async {
            let mut end = std::pin::pin!(self.engine.client().wait_container(&self.id, Some(options)));
            // An exit code other than 0 arrives as an error; which it was, the state says better.
            timeout(END_TIMEOUT, end.next()).await
        });
        if waited.is_err() {
            return Err(DockerError::new(format!("waiting for the end of `{}`", self.name), DockerErrorKind::TimedOut));
        }
        let state = self.state()?;
        let code = state.exit_code.unwrap_or(-1);
        Ok(exit_of(code, state.oom_killed == Some(true), self.memory_bytes_max))
    }

    /// What cannot be removed carries labels; `uplift docker prune` finds it.
    fn remove(&self) {
        let client = self.engine.client();
        if let Some(task) = &self.task {
            let _ = task.manager.wait("removing", task.manager.client().delete_service(&task.service));
        }
        until_gone(|| {
            let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            self.engine.wait("removing", client.remove_container(&self.id, Some(options)))
        });
        if let Some(volume) = &self.volume {
            until_gone(|| {
                let options = RemoveVolumeOptionsBuilder::default().force(true).build();
                self.engine.wait("removing", client.remove_volume(volume, Some(options)))
            });
        }
    }
}

/// Removes something that its swarm may be removing as well: then the Engine says that it is busy, until it is gone.
pub(crate) fn until_gone(mut remove: impl FnMut() -> Result<(), DockerError>) {
    for _ in 0..REMOVALS_MAX {
        match remove() {
            Err(error) if error.status() == Some(409) => std::thread::sleep(REMOVAL_PAUSE),
            _ => return,
        }
    }
}

/// How an exit code reads: 128 and more is a signal.
fn exit_of(code: i64, out_of_memory: bool, memory_bytes_max: u64) -> Exit {
    match code {
        137 if out_of_memory => Exit::OutOfMemory(Some(memory_bytes_max)),
        129..=192 => Exit::Signal((code - 128) as i32),
        code => i32::try_from(code).map_or(Exit::Unknown, Exit::Code),
    }
}

/// Whether a process of this machine is the container's: an Engine elsewhere has other processes of the same number.
fn is_of_container(process: u32, id: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/cgroup")).is_ok_and(|text| text.contains(id))
}

/// Creates a container; a name that is taken is tried with a number.
fn create(engine: &Engine, wanted: &str, body: ContainerCreateBody) -> Result<(String, String), DockerError> {
    let mut attempt = 1;
    loop {
        let name = if attempt == 1 { wanted.to_owned() } else { format!("{wanted}-{attempt}") };
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        let created =
            engine.wait(format!("creating `{name}`"), engine.client().create_container(Some(options), body.clone()));
        match created {
            Ok(created) => return Ok((name, created.id)),
            Err(error) if error.status() == Some(409) && attempt < NAMES_MAX => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

impl AgentHandle for Container {
    fn take_streams(&mut self) -> (Box<dyn Write + Send>, Box<dyn Read + Send>) {
        let (input, output) = self.streams.take().expect("the streams are taken once");
        (Box::new(input), Box::new(output))
    }

    fn data_dir(&self) -> String {
        DATA_DIR.to_owned()
    }

    fn memory_bytes(&self) -> Option<u64> {
        // The container's own limit holds it, and tells more than a look now and then.
        None
    }

    fn stderr_tail(&self) -> String {
        let tail = self.errors.lock();
        let bytes: Vec<u8> = tail.iter().copied().collect();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    fn kill(&mut self) {
        if self.exit.is_none() {
            // SIGKILL by default: the first process of a container may ignore every other signal.
            let answer = self.engine.client().kill_container(&self.id, None::<KillContainerOptions>);
            let _ = self.engine.wait("killing", answer);
        }
    }

    fn wait(&mut self) -> Exit {
        if let Some(exit) = &self.exit {
            return exit.clone();
        }
        let exit = self.ended().unwrap_or_else(|error| {
            let node = self.task.as_ref().map(|task| format!("node `{}`: ", task.node)).unwrap_or_default();
            Exit::Lost(format!("{node}{error}"))
        });
        self.exit = Some(exit.clone());
        exit
    }

    fn mark(&mut self, moment: Moment) {
        let reading = Some(self.reading());
        match moment {
            Moment::FirstTurn => self.before = reading,
            Moment::LastTurn => self.after = reading,
        }
    }

    fn place(&self) -> Option<String> {
        self.task.as_ref().map(|task| task.node.clone())
    }

    fn remedy(&self) -> Option<&'static str> {
        Some(SERVICE_REMEDY)
    }

    fn processes(&self) -> Vec<u32> {
        self.process.into_iter().collect()
    }

    fn observations(&mut self) -> (BTreeMap<String, f64>, BTreeMap<String, String>) {
        let unread = || Err("nothing was measured".to_owned());
        let (before, after) = (self.before.take().unwrap_or_else(unread), self.after.take().unwrap_or_else(unread));
        let mut account = ContainerUsage::of(&before, &after, self.cpus_limited);
        account.set(START, Some(self.start_ns), "");
        (account.gauges, account.missing)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.streams = None;
        self.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_tell_signals_and_want_of_memory_apart() {
        assert_eq!(exit_of(0, false, 5), Exit::Code(0));
        assert_eq!(exit_of(1, true, 5), Exit::Code(1), "a child that was killed is not the agent");
        assert_eq!(exit_of(134, false, 5), Exit::Signal(6));
        assert_eq!(exit_of(137, false, 5), Exit::Signal(9));
        assert_eq!(exit_of(137, true, 5), Exit::OutOfMemory(Some(5)));
        assert_eq!(exit_of(255, false, 5), Exit::Code(255));
    }
}
