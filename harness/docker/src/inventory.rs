//! Everything that an Engine holds, whoever made it: what tests count before and after.

use std::collections::BTreeSet;

use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, ListNetworksOptions, ListServicesOptions,
    ListVolumesOptions,
};

use crate::{
    engine::Engine,
    error::DockerError,
    prune::{self, Unknown},
};

/// What is there now and was not `before`, but for what belongs to other runs that live, and for images that a prune
/// removes: those stay for the next run, so they are pruned here.
///
/// # Errors
/// What the Engine said.
pub fn left_since(engine: &Engine, before: &BTreeSet<String>) -> Result<Vec<String>, DockerError> {
    let mut found = prune::find(engine, Unknown::Keep)?;
    let mut images: Vec<_> = found.extract_if(.., |leftover| leftover.kind == "image").collect();
    prune::prune(engine, &mut images)?;
    found.extend(images);
    let own = std::process::id();
    let others: Vec<String> = found
        .into_iter()
        .filter(|leftover| leftover.kept.is_some() && leftover.process != Some(own))
        .map(|leftover| leftover.name)
        .collect();
    let is_ours = |thing: &&String| !others.iter().any(|name| thing.contains(name.as_str()));
    Ok(everything(engine)?.difference(before).filter(is_ours).cloned().collect())
}

/// Names of all containers, volumes, networks, images (those between layers included) and services, as `kind name`.
///
/// # Errors
/// What the Engine said.
pub fn everything(engine: &Engine) -> Result<BTreeSet<String>, DockerError> {
    let client = engine.client();
    let mut all = BTreeSet::new();
    let options = ListContainersOptionsBuilder::default().all(true).build();
    for container in engine.wait("listing containers", client.list_containers(Some(options)))? {
        let names = container.names.unwrap_or_default().join(" ");
        all.insert(format!("container {}{names}", container.id.unwrap_or_default()));
    }
    let volumes = engine.wait("listing volumes", client.list_volumes(None::<ListVolumesOptions>))?;
    all.extend(volumes.volumes.unwrap_or_default().into_iter().map(|volume| format!("volume {}", volume.name)));
    for network in engine.wait("listing networks", client.list_networks(None::<ListNetworksOptions>))? {
        all.insert(format!("network {}", network.name.unwrap_or_default()));
    }
    let options = ListImagesOptionsBuilder::default().all(true).build();
    for image in engine.wait("listing images", client.list_images(Some(options)))? {
        all.insert(format!("image {} {}", image.id, image.repo_tags.join(" ")));
    }
    if engine.facts().swarm.as_ref().is_some_and(|swarm| swarm.manager) {
        for service in engine.wait("listing services", client.list_services(None::<ListServicesOptions>))? {
            let name = service.spec.and_then(|spec| spec.name).or(service.id);
            all.insert(format!("service {}", name.unwrap_or_default()));
        }
    }
    Ok(all)
}
