//! The nodes of a swarm, and the Engine of each.

use std::{collections::HashMap, sync::Arc};

use bollard::{
    models::{Node as Described, NodeSpecAvailabilityEnum, NodeState},
    query_parameters::ListNodesOptions,
};

use crate::{
    engine::Engine,
    error::{DockerError, DockerErrorKind},
};

/// The label of a node that says where its Engine listens, as `DOCKER_HOST` would.
pub const ENGINE_LABEL: &str = "uplift.engine";

/// The Engine of a node, or why it cannot be reached.
pub type Reached = Result<Arc<Engine>, String>;

/// One node.
pub(super) struct Node {
    pub(super) id: String,
    /// Its host's name, with the beginning of its number where another node has that name too.
    pub(super) name: String,
    address: Option<String>,
    engine: Option<Arc<Engine>>,
    /// Pairs that it was given.
    pub(super) pairs: u32,
    /// Why nothing can be run on it.
    pub(super) lost: Option<String>,
}

impl Node {
    /// The Engine of the node.
    pub(super) fn engine(&mut self) -> Result<Arc<Engine>, DockerError> {
        if let Some(engine) = &self.engine {
            return Ok(Arc::clone(engine));
        }
        let Some(address) = &self.address else {
            return Err(DockerError::new(
                "connecting",
                DockerErrorKind::Broken(format!("it has no label {ENGINE_LABEL}")),
            ));
        };
        let engine = Arc::new(Engine::connect_to(address)?);
        if engine.facts().swarm.as_ref().is_none_or(|swarm| swarm.node != self.id) {
            return Err(DockerError::new(
                format!("connecting to `{address}`"),
                DockerErrorKind::Broken(format!("that engine is another node than the label {ENGINE_LABEL} says")),
            ));
        }
        self.engine = Some(Arc::clone(&engine));
        Ok(engine)
    }

    /// Whether its Engine answers at the moment; why not is noted.
    pub(super) fn answers(&mut self) -> bool {
        let asked = self.engine().and_then(|engine| engine.wait("asking", engine.client().ping()).map(drop));
        self.lost = asked.err().map(|error| error.to_string());
        self.lost.is_none()
    }

    #[cfg(test)]
    pub(super) fn for_tests(name: &str, lost: bool) -> Self {
        Self {
            id: name.to_owned(),
            name: name.to_owned(),
            address: None,
            engine: None,
            pairs: 0,
            lost: lost.then(|| "down".to_owned()),
        }
    }
}

/// The nodes that have all of these labels, `key=value`, by name. Those that cannot be used are there with the reason.
pub(super) fn find(manager: &Arc<Engine>, labels: &[String]) -> Result<Vec<Node>, DockerError> {
    let listed = list(manager)?;
    let own = manager.facts().swarm.as_ref().map(|swarm| swarm.node.clone());
    let mut names: HashMap<String, u32> = HashMap::new();
    for node in &listed {
        *names.entry(host_name(node)).or_default() += 1;
    }
    let mut nodes = Vec::new();
    for node in listed {
        let spec = node.spec.clone().unwrap_or_default();
        let node_labels = spec.labels.unwrap_or_default();
        let has = |label: &String| {
            let (key, value) = label.split_once('=').unwrap_or((label.as_str(), ""));
            node_labels.get(key).is_some_and(|found| found == value)
        };
        if !labels.iter().all(has) {
            continue;
        }
        let (Some(id), host) = (node.id.clone(), host_name(&node)) else { continue };
        let name = if names[&host] > 1 { format!("{host}-{}", id.chars().take(6).collect::<String>()) } else { host };
        let is_own = own.as_ref() == Some(&id);
        let address = node_labels.get(ENGINE_LABEL).cloned();
        let state = node.status.as_ref().and_then(|status| status.state);
        let lost = if state != Some(NodeState::READY) {
            Some(format!("the swarm says that it is {}", state.map_or("unknown".to_owned(), |state| state.to_string())))
        } else if spec.availability != Some(NodeSpecAvailabilityEnum::ACTIVE) {
            Some("its availability is not active".to_owned())
        } else if !is_own && address.is_none() {
            Some(format!("it has no label {ENGINE_LABEL}"))
        } else {
            None
        };
        let engine = is_own.then(|| Arc::clone(manager));
        let mut node = Node { id, name, address, engine, pairs: 0, lost };
        if node.lost.is_none() {
            node.answers();
        }
        nodes.push(node);
    }
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(nodes)
}

/// The Engines of the other nodes of the swarm that this one manages, with the names of their nodes; none where it
/// manages none. Nodes that cannot be reached are named with the reason.
///
/// # Errors
/// What the manager said.
pub fn engines(manager: &Arc<Engine>) -> Result<Vec<(String, Reached)>, DockerError> {
    let Some(swarm) = manager.facts().swarm.clone().filter(|swarm| swarm.manager) else { return Ok(Vec::new()) };
    let nodes = find(manager, &[])?;
    Ok(nodes
        .into_iter()
        .filter(|node| node.id != swarm.node)
        .map(|mut node| {
            let engine = match node.lost.take() {
                Some(reason) => Err(reason),
                None => node.engine().map_err(|error| error.to_string()),
            };
            (node.name, engine)
        })
        .collect())
}

fn list(manager: &Engine) -> Result<Vec<Described>, DockerError> {
    manager.wait("listing nodes", manager.client().list_nodes(None::<ListNodesOptions>))
}

fn host_name(node: &Described) -> String {
    node.description.as_ref().and_then(|description| description.hostname.clone()).unwrap_or_else(|| "node".to_owned())
}
