//! Agents in containers: their data, their statistics, their names.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
};

use bollard::{
    models::ContainerCreateBody,
    query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptions, RemoveImageOptions},
};
use uplift_docker::{
    DockerLauncher, DockerOptions,
    image::{Recipe, image_id},
    launcher::container_name,
    libraries::own_binary,
    prune::{self, Unknown},
};
use uplift_engine::{
    Launch as _, LaunchOrder,
    launch::{Exit, Moment},
};

use crate::{
    bench::{Bench, wait_for},
    proxy,
};

#[test]
fn data_are_the_harnesss_and_nothing_is_left() {
    let Some(bench) = Bench::new("data") else { return };
    let launcher = DockerLauncher::new(bench.options("writer", &[]));
    let mut agent = bench.start(&launcher);
    assert_eq!(bench.left().len(), 1, "one container, while it is there");
    assert_eq!(agent.wait(), Exit::Code(0), "{}", agent.stderr_tail());
    drop(agent);
    let written = fs::metadata(bench.data.path().join("written")).unwrap();
    assert_eq!(written.len(), 4096);
    // SAFETY: geteuid has no preconditions.
    assert_eq!(written.uid(), unsafe { libc::geteuid() }, "the harness can remove it");
    assert_eq!(bench.left(), Vec::<String>::new());
}

/// An engine on another machine, or behind another root: the path of the data directory means nothing to it.
#[test]
fn an_engine_that_does_not_see_the_data_directory_gets_a_volume() {
    let Some(bench) = Bench::new("volume") else { return };
    let launcher = DockerLauncher::new(bench.options("writer", &[]));
    let mut order = bench.order("it");
    order.data_dir = bench.data.path().join("nowhere");
    let mut agent = launcher.start(&order).unwrap();
    assert_eq!(agent.wait(), Exit::Code(0), "{}", agent.stderr_tail());
    assert_eq!(bench.left().len(), 2, "a container and its volume: {:?}", bench.left());
    drop(agent);
    assert_eq!(bench.left(), Vec::<String>::new());
    assert!(launcher.warnings()[0].contains("on a volume of the engine"), "{:?}", launcher.warnings());
}

#[test]
fn an_engine_behind_a_port_is_taken_for_another_machines() {
    let Some(bench) = Bench::new("remote") else { return };
    let host = proxy::on_port(&bench.engine.facts().host);
    let launcher = DockerLauncher::new(DockerOptions { host: Some(host), ..bench.options("writer", &[]) });
    let mut agent = bench.start(&launcher);
    assert_eq!(agent.wait(), Exit::Code(0), "{}", agent.stderr_tail());
    assert!(!bench.data.path().join("written").exists(), "it was written to a volume");
    drop(agent);
    assert_eq!(bench.left(), Vec::<String>::new());
    assert!(launcher.warnings()[0].contains("another machine"), "{:?}", launcher.warnings());
}

/// The truth is 0.2 s of CPU time under a limit of a twentieth of a CPU: on a machine that is busy with other
/// things a container may never get as much as a generous limit allows, and is not stopped by it.
#[test]
fn processor_time_and_throttling_are_the_containers() {
    let Some(bench) = Bench::new("stats") else { return };
    let launcher = DockerLauncher::new(DockerOptions { cpus: Some(0.05), ..bench.options("busy", &[]) });
    let mut agent = bench.start(&launcher);
    agent.mark(Moment::FirstTurn);
    wait_for(agent.as_ref(), "done");
    agent.mark(Moment::LastTurn);
    let (gauges, missing) = agent.observations();
    let cpu_ns = gauges["container_cpu"];
    // Some of it was used before the first reading; loading the binary adds a little.
    assert!((50e6..400e6).contains(&cpu_ns), "{gauges:?}");
    assert!(gauges["container_throttled_share"] > 0.5, "{gauges:?}");
    assert!(gauges["container_throttled"] > 200e6, "{gauges:?}");
    assert!(gauges["container_start"] > 0.0, "{gauges:?}");
    for name in ["container_storage_written", "container_memory_peak"] {
        assert!(gauges.contains_key(name) != missing.contains_key(name), "{name} is there or absent with a reason");
    }
    let agents = agent.processes();
    assert!(bench.engine.facts().host.starts_with("tcp") || agents.len() == 1, "its process on this machine is known");
}

#[test]
fn a_name_that_is_taken_is_not_the_end() {
    let Some(bench) = Bench::new("name") else { return };
    let launcher = DockerLauncher::new(bench.options("writer", &[]));
    // The image is there after the first.
    drop(bench.start(&launcher));
    let name = container_name(&bench.run, "it");
    let options = CreateContainerOptionsBuilder::default().name(&name).build();
    let image = Recipe::new(&bench.engine, &own_binary(), None, false).unwrap().name;
    let body = ContainerCreateBody { image: Some(image), ..ContainerCreateBody::default() };
    let squatter = bench.ask(async |docker| docker.create_container(Some(options), body).await).unwrap();
    let mut agent = bench.start(&launcher);
    assert!(bench.left()[0].ends_with("-2"), "{:?}", bench.left());
    assert_eq!(agent.wait(), Exit::Code(0), "{}", agent.stderr_tail());
    drop(agent);
    assert_eq!(bench.left(), Vec::<String>::new());
    bench.ask(async |docker| docker.remove_container(&squatter.id, None::<RemoveContainerOptions>).await).unwrap();
}

#[test]
fn an_image_that_was_removed_meanwhile_is_built_again() {
    let Some(bench) = Bench::new("rebuilt") else { return };
    // Another image than that of the tests beside this one: the same program with a byte more.
    let binary = bench.data.path().join("program");
    let mut bytes = fs::read(own_binary()).unwrap();
    bytes.extend_from_slice(bench.run.as_bytes());
    fs::write(&binary, bytes).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    let image = Recipe::new(&bench.engine, &binary, None, false).unwrap().name;
    let launcher = DockerLauncher::new(bench.options("writer", &[]));
    let order = LaunchOrder { binary: Some(binary), ..bench.order("it") };
    drop(launcher.start(&order).unwrap_or_else(|failure| panic!("{}", failure.message)));
    let remove =
        || bench.ask(async |docker| docker.remove_image(&image, None::<RemoveImageOptions>, None).await).unwrap();
    assert!(!remove().is_empty());
    let mut agent = launcher.start(&order).unwrap_or_else(|failure| panic!("{}", failure.message));
    assert_eq!(agent.wait(), Exit::Code(0), "{}", agent.stderr_tail());
    drop(agent);
    assert!(!remove().is_empty());
}

/// A run has no container between two trials: its image must be there for the next all the same.
#[test]
fn a_prune_beside_a_living_run_keeps_its_image() {
    let Some(bench) = Bench::new("held") else { return };
    let launcher = DockerLauncher::new(bench.options("writer", &[]));
    let mut agent = bench.start(&launcher);
    assert_eq!(agent.wait(), Exit::Code(0), "{}", agent.stderr_tail());
    drop(agent);
    assert_eq!(bench.left(), Vec::<String>::new(), "no container and no data");
    let of_run = || -> Vec<_> {
        let mut found = prune::find(&bench.engine, Unknown::Keep).unwrap();
        prune::prune(&bench.engine, &mut found).unwrap();
        found.into_iter().filter(|one| one.run.as_ref() == Some(&bench.run)).collect()
    };
    let held = of_run();
    assert!(held.len() == 1 && held[0].kind == "volume" && held[0].kept.is_some(), "{held:?}");
    let image = Recipe::new(&bench.engine, &own_binary(), None, false).unwrap().name;
    assert!(image_id(&bench.engine, &image).is_ok(), "the prune removed the image of a run that is alive");
    drop(launcher);
    assert_eq!(of_run(), Vec::new(), "the end of the run lets go");
}
