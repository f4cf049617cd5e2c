//! One job of a swarm: a service that runs one agent once, on one node.

use std::{
    collections::HashMap,
    thread,
    time::{Duration, Instant},
};

use bollard::{
    models::{
        Limit, Mount, MountType, MountVolumeOptions, ServiceSpec, ServiceSpecMode, ServiceSpecModeReplicatedJob,
        TaskSpec, TaskSpecContainerSpec, TaskSpecLogDriver, TaskSpecPlacement, TaskSpecResources,
        TaskSpecRestartPolicy, TaskSpecRestartPolicyConditionEnum, TaskState,
    },
    query_parameters::ListTasksOptionsBuilder,
};

use uplift_model::fnv1a;

use crate::{
    engine::Engine,
    error::{DockerError, DockerErrorKind},
    image::DATA_DIR,
    launcher::passed_on,
};

/// The longest name of a service.
const NAME_BYTES_MAX: usize = 63;
/// How long a swarm may take to start a job.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How often it is asked whether it has.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// What a sampler needs; a swarm refuses a capability only when its node starts the task, so there is no trying.
const PROFILING_CAPABILITIES: [&str; 2] = ["CAP_SYS_ADMIN", "CAP_SYSLOG"];

/// What a job is made from.
pub(super) struct Job {
    /// Its name, and that of its volume.
    pub(super) name: String,
    pub(super) labels: HashMap<String, String>,
    pub(super) image: String,
    /// The node, by number.
    pub(super) node: String,
    pub(super) cpus: Option<f64>,
    pub(super) memory_bytes: u64,
    pub(super) profiling: bool,
}

impl Job {
    /// Gives it to the swarm and returns the number of its service.
    pub(super) fn create(&self, manager: &Engine) -> Result<String, DockerError> {
        let created = manager.wait(
            format!("creating the service `{}`", self.name),
            manager.client().create_service(self.specification(), None),
        )?;
        created.id.ok_or_else(|| {
            DockerError::new(
                format!("creating the service `{}`", self.name),
                DockerErrorKind::Broken("the manager gave it no number".to_owned()),
            )
        })
    }

    fn specification(&self) -> ServiceSpec {
        let volume = Mount {
            target: Some(DATA_DIR.to_owned()),
            source: Some(self.name.clone()),
            typ: Some(MountType::VOLUME),
            volume_options: Some(MountVolumeOptions { labels: Some(self.labels.clone()), ..Default::default() }),
            ..Mount::default()
        };
        let container = TaskSpecContainerSpec {
            image: Some(self.image.clone()),
            labels: Some(self.labels.clone()),
            args: Some(vec!["agent".to_owned()]),
            env: Some(passed_on()),
            open_stdin: Some(true),
            mounts: Some(vec![volume]),
            // It is ended by its stream or killed; it gets no time to handle a signal.
            stop_grace_period: Some(0),
            capability_add: self
                .profiling
                .then(|| PROFILING_CAPABILITIES.iter().map(|&name| name.to_owned()).collect()),
            ..TaskSpecContainerSpec::default()
        };
        let limits = Limit {
            nano_cpus: self.cpus.map(|cpus| (cpus * 1e9) as i64),
            memory_bytes: i64::try_from(self.memory_bytes).ok(),
            ..Limit::default()
        };
        ServiceSpec {
            name: Some(self.name.clone()),
            labels: Some(self.labels.clone()),
            task_template: Some(TaskSpec {
                container_spec: Some(container),
                resources: Some(TaskSpecResources { limits: Some(limits), ..TaskSpecResources::default() }),
                // Once and never again: a trial that failed is a record.
                restart_policy: Some(TaskSpecRestartPolicy {
                    condition: Some(TaskSpecRestartPolicyConditionEnum::NONE),
                    ..TaskSpecRestartPolicy::default()
                }),
                placement: Some(TaskSpecPlacement {
                    constraints: Some(vec![format!("node.id=={}", self.node)]),
                    ..TaskSpecPlacement::default()
                }),
                log_driver: Some(TaskSpecLogDriver { name: Some("none".to_owned()), options: None }),
                ..TaskSpec::default()
            }),
            mode: Some(ServiceSpecMode {
                replicated_job: Some(ServiceSpecModeReplicatedJob {
                    max_concurrent: Some(1),
                    total_completions: Some(1),
                }),
                ..ServiceSpecMode::default()
            }),
            ..ServiceSpec::default()
        }
    }
}

/// A name that a swarm accepts: where it is too long, its beginning and a digest of all of it.
pub(super) fn short_name(name: &str) -> String {
    if name.len() <= NAME_BYTES_MAX {
        return name.to_owned();
    }
    let digest = format!("-{:016x}", fnv1a(name.as_bytes()));
    // Names of containers are ASCII.
    format!("{}{digest}", &name[..NAME_BYTES_MAX - digest.len()])
}

/// Waits until the swarm has started the container of a job and returns the container's number. The node is asked as
/// well: that it is gone a swarm notices late.
pub(super) fn wait_for_container(manager: &Engine, node: &Engine, service: &str) -> Result<String, DockerError> {
    let context = "starting a task";
    let begun = Instant::now();
    let filters = HashMap::from([("service".to_owned(), vec![service.to_owned()])]);
    loop {
        let options = ListTasksOptionsBuilder::default().filters(&filters).build();
        let tasks = manager.wait(context, manager.client().list_tasks(Some(options)))?;
        let status = tasks.into_iter().next().and_then(|task| task.status).unwrap_or_default();
        let state = status.state.unwrap_or(TaskState::NEW);
        let words = || {
            let said = [status.err.clone(), status.message.clone()].into_iter().flatten().find(|text| !text.is_empty());
            said.unwrap_or_else(|| "the swarm does not say why".to_owned())
        };
        let container = status.container_status.as_ref().and_then(|status| status.container_id.clone());
        match (state, container) {
            (TaskState::RUNNING, Some(id)) if !id.is_empty() => return Ok(id),
            (
                TaskState::FAILED
                | TaskState::REJECTED
                | TaskState::ORPHANED
                | TaskState::SHUTDOWN
                | TaskState::COMPLETE
                | TaskState::REMOVE,
                _,
            ) => return Err(DockerError::new(context, DockerErrorKind::Broken(format!("it is {state}: {}", words())))),
            _ if begun.elapsed() > START_TIMEOUT => {
                let text = format!("still {state} after {} s: {}", START_TIMEOUT.as_secs(), words());
                return Err(DockerError::new(context, DockerErrorKind::Broken(text)));
            }
            _ => {
                node.wait("asking", node.client().ping())?;
                thread::sleep(ASK_EVERY);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_differ_where_long_ones_do() {
        assert_eq!(short_name("uplift-run-0"), "uplift-run-0");
        let (one, two) = (short_name(&format!("{}1", "a".repeat(90))), short_name(&format!("{}2", "a".repeat(90))));
        assert_eq!((one.len(), two.len()), (63, 63));
        assert_ne!(one, two);
    }

    #[test]
    fn a_job_runs_once_on_its_node_with_its_limits() {
        let job = Job {
            name: "it".to_owned(),
            labels: HashMap::new(),
            image: "image".to_owned(),
            node: "abc".to_owned(),
            cpus: Some(0.5),
            memory_bytes: 64 << 20,
            profiling: false,
        };
        let said = serde_json::to_value(job.specification()).unwrap();
        let task = &said["TaskTemplate"];
        assert_eq!(task["Placement"]["Constraints"][0], "node.id==abc");
        assert_eq!(task["RestartPolicy"]["Condition"], "none");
        assert_eq!(task["Resources"]["Limits"]["NanoCPUs"], 500_000_000);
        assert_eq!(task["Resources"]["Limits"]["MemoryBytes"], 64 << 20);
        assert_eq!(task["ContainerSpec"]["OpenStdin"], true);
        assert_eq!(said["Mode"]["ReplicatedJob"]["TotalCompletions"], 1);
    }
}
