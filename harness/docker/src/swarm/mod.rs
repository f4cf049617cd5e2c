//! Starts agents as jobs of a Docker Swarm, spread over its nodes.
//!
//! The manager that `DOCKER_HOST` names places, starts and removes the jobs; the conversation, the statistics and the
//! end of a container are those of the Engine of its node, which is asked directly. So nothing listens on the harness's
//! machine, no network is made, and a container in a swarm is told no less about than one of a single Engine. The price
//! is that the Engine of every node can be reached: the label `uplift.engine` of a node names its address, and the
//! manager's own node needs none.
//!
//! What is compared with each other runs on one node; pairs go to the node that has had the fewest. A node whose Engine
//! does not answer gets no further pairs. The pair that was on it is not run again elsewhere: it is a failure that the
//! record shows.

mod nodes;
mod service;

use std::{
    cell::{OnceCell, RefCell},
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use uplift_engine::launch::{AgentHandle, Launch, LaunchOrder};
use uplift_model::trial::{Failure, FailureKind};

pub use self::nodes::{ENGINE_LABEL, Reached, engines};
use self::{nodes::Node, service::Job};
use crate::{
    DockerOptions,
    container::{Container, Order, Task, until_gone},
    engine::Engine,
    error::{DockerError, DockerErrorKind},
    image::{Recipe, image_id, labels},
    launcher::{MEMORY_BYTES_MIN, container_name},
    libraries::own_binary,
    owner::Owner,
};

const NO_SWARM: &str = "point DOCKER_HOST at a manager of a swarm, or make this engine one with `docker swarm init`";
const NO_NODE: &str = "label nodes with `docker node update --label-add uplift.engine=ADDRESS NODE`, where ADDRESS is what DOCKER_HOST would be for it";

/// Starts agents as jobs of the swarm whose manager `DOCKER_HOST` names.
pub struct SwarmLauncher {
    options: DockerOptions,
    /// `key=value` of the labels that a node must have.
    node_labels: Vec<String>,
    manager: OnceCell<Arc<Engine>>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    nodes: Vec<Node>,
    /// The node of each pair, by index.
    places: BTreeMap<String, usize>,
    /// The image of each binary on each node.
    images: BTreeMap<(usize, PathBuf), String>,
}

impl SwarmLauncher {
    /// A launcher that is not connected yet. Of the options, those of a single Engine's container do not apply:
    /// `arguments`.
    pub fn new(options: DockerOptions, node_labels: Vec<String>) -> Self {
        Self { options, node_labels, manager: OnceCell::new(), state: RefCell::default() }
    }

    /// The manager; connects to it and looks at its nodes if that has not been done.
    ///
    /// # Errors
    /// As [`Engine::connect`], and [`DockerErrorKind::Unfit`] where it manages no swarm, or none of its nodes can be
    /// used.
    pub fn manager(&self) -> Result<&Arc<Engine>, DockerError> {
        if let Some(manager) = self.manager.get() {
            return Ok(manager);
        }
        let manager = Arc::new(match &self.options.host {
            Some(host) => Engine::connect_to(host)?,
            None => Engine::connect()?,
        });
        let unfit = |state: String, remedy| {
            DockerError::new(
                format!("looking for a swarm at `{}`", manager.facts().host),
                DockerErrorKind::Unfit { state, remedy },
            )
        };
        if !manager.facts().swarm.as_ref().is_some_and(|swarm| swarm.manager) {
            return Err(unfit("this engine manages no swarm".to_owned(), NO_SWARM));
        }
        let nodes = nodes::find(&manager, &self.node_labels)?;
        if nodes.iter().all(|node| node.lost.is_some()) {
            let reasons: Vec<String> =
                nodes.iter().filter_map(|node| Some(format!("{}: {}", node.name, node.lost.as_ref()?))).collect();
            let state = match (reasons.is_empty(), self.node_labels.is_empty()) {
                (true, false) => format!("no node has the label {}", self.node_labels.join(" and ")),
                _ => format!("none of its nodes can be used ({})", reasons.join("; ")),
            };
            return Err(unfit(state, NO_NODE));
        }
        self.state.borrow_mut().nodes = nodes;
        Ok(self.manager.get_or_init(|| manager))
    }

    fn run(&self, order: &LaunchOrder) -> Result<Container, DockerError> {
        let manager = self.manager()?;
        let mut state = self.state.borrow_mut();
        let index = state.place(&order.pair)?;
        let name = state.nodes[index].name.clone();
        let on_node =
            |error: DockerError| DockerError { context: format!("node `{name}`: {}", error.context), ..error };
        let engine = state.nodes[index].engine().map_err(on_node)?;
        let binary = order.binary.clone().unwrap_or_else(own_binary);
        let known = state.images.get(&(index, binary.clone())).filter(|id| image_id(&engine, id).is_ok());
        let image = match known.cloned() {
            Some(image) => image,
            None => {
                let recipe = Recipe::new(&engine, &binary, self.options.base.as_deref(), self.options.profiling)
                    .map_err(on_node)?;
                recipe.build(&engine).map_err(on_node)?;
                // By number: a swarm looks a name up in a registry first.
                let image = image_id(&engine, &recipe.name).map_err(on_node)?;
                state.images.insert((index, binary), image.clone());
                image
            }
        };
        let node = &state.nodes[index];
        let begun = Instant::now();
        let memory_bytes_max =
            self.options.memory_bytes.unwrap_or(u64::MAX).min(order.memory_bytes_max).max(MEMORY_BYTES_MIN);
        let job = Job {
            name: service::short_name(&container_name(&self.options.run, &order.label)),
            labels: labels(&self.options.run, &Owner::current().label()),
            image,
            node: node.id.clone(),
            cpus: self.options.cpus,
            memory_bytes: memory_bytes_max,
            profiling: self.options.profiling,
        };
        let service = job.create(manager)?;
        let volume = Some(job.name.clone());
        let container = service::wait_for_container(manager, &engine, &service).map_err(on_node).and_then(|id| {
            let order = Order {
                name: job.name.clone(),
                body: Default::default(),
                volume: volume.clone(),
                memory_bytes_max,
                cpus_limited: self.options.cpus.is_some(),
            };
            let task = Task { manager: Arc::clone(manager), service: service.clone(), node: name.clone() };
            Container::adopt(&engine, order, id, task, begun).map_err(on_node)
        });
        if container.is_err() {
            let _ = manager.wait("removing", manager.client().delete_service(&service));
            until_gone(|| {
                let options = bollard::query_parameters::RemoveVolumeOptionsBuilder::default().force(true).build();
                engine.wait("removing", engine.client().remove_volume(&job.name, Some(options)))
            });
        }
        container
    }
}

impl State {
    /// The node of a pair: the one that it has, or the one of those that answer which has had the fewest pairs.
    fn place(&mut self, pair: &str) -> Result<usize, DockerError> {
        let context = || format!("placing `{pair}`");
        if let Some(&index) = self.places.get(pair) {
            let node = &self.nodes[index];
            return match &node.lost {
                None => Ok(index),
                Some(reason) => Err(DockerError::new(
                    context(),
                    DockerErrorKind::Broken(format!(
                        "node `{}` is lost ({reason}), and what it is compared with ran there",
                        node.name
                    )),
                )),
            };
        }
        loop {
            let free = self.nodes.iter().enumerate().filter(|(_, node)| node.lost.is_none());
            let Some(index) = free.min_by_key(|(_, node)| node.pairs).map(|(index, _)| index) else {
                return Err(DockerError::new(
                    context(),
                    DockerErrorKind::Broken("every node of the swarm was lost".to_owned()),
                ));
            };
            // Asked before anything is placed on it, so that a node that died costs the pair it had and no other.
            if self.nodes[index].answers() {
                self.nodes[index].pairs += 1;
                self.places.insert(pair.to_owned(), index);
                return Ok(index);
            }
        }
    }
}

impl Launch for SwarmLauncher {
    fn name(&self) -> &'static str {
        "swarm"
    }

    fn describe(&self) -> String {
        let mut parts = Vec::new();
        if let Ok(manager) = self.manager() {
            parts.push(format!("engine {}", manager.facts().version));
            let state = self.state.borrow();
            let names: Vec<&str> =
                state.nodes.iter().filter(|node| node.lost.is_none()).map(|node| node.name.as_str()).collect();
            parts.push(format!("nodes {}", names.join(" ")));
        }
        parts.push(self.options.base.as_ref().map_or("from scratch".to_owned(), |base| format!("on {base}")));
        parts.extend(self.options.cpus.map(|cpus| format!("{cpus} cpus")));
        parts.extend(self.options.memory_bytes.map(|bytes| format!("{} MiB", bytes >> 20)));
        format!("swarm ({})", parts.join(", "))
    }

    fn start(&self, order: &LaunchOrder) -> Result<Box<dyn AgentHandle>, Failure> {
        let was_there = self.manager.get().is_some();
        match self.run(order) {
            Ok(container) => Ok(Box::new(container)),
            Err(error) => {
                let unfit = matches!(error.kind, DockerErrorKind::Unfit { .. });
                let failure = error.into_failure(was_there);
                Err(if unfit && !was_there { Failure { kind: FailureKind::Unavailable, ..failure } } else { failure })
            }
        }
    }

    fn warnings(&self) -> Vec<String> {
        let state = self.state.borrow();
        if state.places.is_empty() {
            return Vec::new();
        }
        let blocks: Vec<String> =
            state.nodes.iter().map(|node| format!("{} blocks on {}", node.pairs, node.name)).collect();
        let mut warnings = vec![format!(
            "trials ran on the nodes of a swarm ({}): what is recorded about this machine (CPU, disk, load) is about none of them",
            blocks.join(", ")
        )];
        for node in &state.nodes {
            match &node.lost {
                Some(reason) if node.pairs == 0 => {
                    warnings.push(format!("node `{}` of the swarm was not used: {reason}", node.name));
                }
                Some(reason) => warnings.push(format!(
                    "node `{}` of the swarm was lost after it was given {} blocks: {reason}",
                    node.name, node.pairs
                )),
                None => {}
            }
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(lost: &[bool]) -> State {
        let node = |(index, &lost): (usize, &bool)| Node::for_tests(&format!("n{index}"), lost);
        State { nodes: lost.iter().enumerate().map(node).collect(), ..State::default() }
    }

    #[test]
    fn a_pair_stays_where_it_is_and_fails_with_its_node() {
        let mut state = state(&[false, false]);
        state.places.insert("a".to_owned(), 1);
        assert_eq!(state.place("a").unwrap(), 1);
        state.nodes[1].lost = Some("gone".to_owned());
        let error = state.place("a").unwrap_err().to_string();
        assert!(error.contains("`n1` is lost (gone)"), "{error}");
    }

    #[test]
    fn a_swarm_without_nodes_left_says_so() {
        let error = state(&[true, true]).place("a").unwrap_err().to_string();
        assert!(error.contains("every node of the swarm was lost"), "{error}");
    }
}
