//! Removes what runs left behind that died before they could clean up.

use std::collections::HashMap;

use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, ListServicesOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder, RemoveVolumeOptionsBuilder,
};

use crate::{
    engine::Engine,
    error::DockerError,
    image::IMAGE_LABEL,
    owner::{Liveness, OWNER_LABEL, Owner, RUN_LABEL},
};

/// What is done with the things of runs of which it cannot be told whether they live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// They stay.
    Keep,
    /// They go.
    Remove,
}

/// A thing that carries a label of uplift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// "service", "container", "volume", "image".
    pub kind: &'static str,
    /// As the Engine lists it, without the leading slash.
    pub name: String,
    /// The run that it belongs to; images belong to none.
    pub run: Option<String>,
    /// The process that made it, by its number on the machine of that process.
    pub process: Option<u32>,
    /// Why it stays; `None`: it goes.
    pub kept: Option<String>,
    id: String,
}

/// Everything on the Engine that carries a label of uplift, and what is to become of it.
///
/// # Errors
/// What the Engine said.
pub fn find(engine: &Engine, unknown: Unknown) -> Result<Vec<Leftover>, DockerError> {
    // Images before whatever may need them: a run that begins now makes what holds its image after this look.
    let mut images = images(engine)?;
    // Of the others a service first: it would replace a container that it misses.
    let mut found = services(engine, unknown)?;
    found.extend(containers(engine, unknown)?);
    found.extend(volumes(engine, unknown)?);
    // An image is nobody's: a run that lives may need it for its next container. Where it has none at the moment, it
    // has a volume that says so (`hold.rs`).
    if found.iter().any(|leftover| leftover.kept.is_some()) {
        for image in &mut images {
            image.kept = Some("a run is alive and may need it".to_owned());
        }
    }
    found.extend(images);
    Ok(found)
}

/// Removes what does not stay. Things that are gone already are no error, and an image that a container began to use
/// meanwhile stays.
///
/// # Errors
/// What the Engine said.
pub fn prune(engine: &Engine, leftovers: &mut [Leftover]) -> Result<(), DockerError> {
    let client = engine.client();
    for leftover in leftovers.iter_mut().filter(|leftover| leftover.kept.is_none()) {
        let context = format!("removing the {} `{}`", leftover.kind, leftover.name);
        let answer = match leftover.kind {
            "service" => engine.wait(context, client.delete_service(&leftover.id)),
            "container" => {
                let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
                engine.wait(context, client.remove_container(&leftover.id, Some(options)))
            }
            "volume" => {
                let options = RemoveVolumeOptionsBuilder::default().force(true).build();
                engine.wait(context, client.remove_volume(&leftover.id, Some(options)))
            }
            _ => {
                let options = RemoveImageOptionsBuilder::default().force(true).build();
                engine.wait(context, client.remove_image(&leftover.id, Some(options), None)).map(drop)
            }
        };
        match answer {
            Err(error) if leftover.kind == "image" && error.status() == Some(409) => {
                leftover.kept = Some("a container uses it".to_owned());
            }
            Err(error) if error.status() != Some(404) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn with_label(label: &str) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![label.to_owned()])])
}

/// Why something of this owner stays.
fn kept(labels: &HashMap<String, String>, unknown: Unknown) -> Option<String> {
    let label = labels.get(OWNER_LABEL).map(String::as_str).unwrap_or_default();
    match Owner::parse(label).map(|owner| (owner.life(), owner.process)) {
        Some((Liveness::Alive, process)) => Some(format!("its run is alive (process {process})")),
        Some((Liveness::Dead, _)) => None,
        Some((Liveness::Unknown(reason), _)) => (unknown == Unknown::Keep).then_some(reason),
        None => (unknown == Unknown::Keep).then(|| "its label names no process".to_owned()),
    }
}

fn process(labels: &HashMap<String, String>) -> Option<u32> {
    Owner::parse(labels.get(OWNER_LABEL)?).map(|owner| owner.process)
}

/// Only a manager knows of services.
fn services(engine: &Engine, unknown: Unknown) -> Result<Vec<Leftover>, DockerError> {
    if !engine.facts().swarm.as_ref().is_some_and(|swarm| swarm.manager) {
        return Ok(Vec::new());
    }
    let options = ListServicesOptionsBuilder::default().filters(&with_label(OWNER_LABEL)).build();
    let listed = engine.wait("listing services", engine.client().list_services(Some(options)))?;
    Ok(listed
        .into_iter()
        .filter_map(|service| {
            let spec = service.spec?;
            let labels = spec.labels.unwrap_or_default();
            let id = service.id?;
            Some(Leftover {
                kind: "service",
                name: spec.name.unwrap_or_else(|| id.clone()),
                run: labels.get(RUN_LABEL).cloned(),
                process: process(&labels),
                kept: kept(&labels, unknown),
                id,
            })
        })
        .collect())
}

fn containers(engine: &Engine, unknown: Unknown) -> Result<Vec<Leftover>, DockerError> {
    let options = ListContainersOptionsBuilder::default().all(true).filters(&with_label(OWNER_LABEL)).build();
    let listed = engine.wait("listing containers", engine.client().list_containers(Some(options)))?;
    Ok(listed
        .into_iter()
        .filter_map(|container| {
            let labels = container.labels.unwrap_or_default();
            let id = container.id?;
            let name = container.names.and_then(|names| names.into_iter().next()).unwrap_or_else(|| id.clone());
            Some(Leftover {
                kind: "container",
                name: name.trim_start_matches('/').to_owned(),
                run: labels.get(RUN_LABEL).cloned(),
                process: process(&labels),
                kept: kept(&labels, unknown),
                id,
            })
        })
        .collect())
}

fn volumes(engine: &Engine, unknown: Unknown) -> Result<Vec<Leftover>, DockerError> {
    let options = ListVolumesOptionsBuilder::default().filters(&with_label(OWNER_LABEL)).build();
    let listed = engine.wait("listing volumes", engine.client().list_volumes(Some(options)))?;
    Ok(listed
        .volumes
        .unwrap_or_default()
        .into_iter()
        .map(|volume| Leftover {
            kind: "volume",
            run: volume.labels.get(RUN_LABEL).cloned(),
            process: process(&volume.labels),
            kept: kept(&volume.labels, unknown),
            id: volume.name.clone(),
            name: volume.name,
        })
        .collect())
}

fn images(engine: &Engine) -> Result<Vec<Leftover>, DockerError> {
    let options = ListImagesOptionsBuilder::default().filters(&with_label(IMAGE_LABEL)).build();
    let listed = engine.wait("listing images", engine.client().list_images(Some(options)))?;
    Ok(listed
        .into_iter()
        .map(|image| Leftover {
            kind: "image",
            name: image.repo_tags.first().cloned().unwrap_or_else(|| image.id.clone()),
            run: None,
            process: None,
            kept: None,
            id: image.id,
        })
        .collect())
}
