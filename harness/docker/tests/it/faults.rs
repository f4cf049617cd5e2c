//! Engines and containers that misbehave: each is named, with what can be done.

use std::{os::unix::net::UnixListener, thread};

use bollard::{
    body_full,
    models::{ContainerState, ContainerStateStatusEnum},
    query_parameters::{
        CreateImageOptionsBuilder, InspectContainerOptions, KillContainerOptionsBuilder, ListContainersOptionsBuilder,
        RemoveImageOptions,
    },
};
use futures_util::TryStreamExt as _;
use uplift_docker::{DockerErrorKind, DockerLauncher, DockerOptions, Engine, image::Recipe, libraries::own_binary};
use uplift_engine::{Launch as _, launch::Exit};
use uplift_model::trial::FailureKind;

use crate::{
    bench::{Bench, wait_for},
    proxy,
};

#[test]
fn no_engine_is_said_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = format!("unix://{}/nobody.sock", folder.path().display());
    let error = Engine::connect_to(&nowhere).unwrap_err();
    assert!(matches!(error.kind, DockerErrorKind::NoEngine(_)), "{error:?}");
    assert!(error.to_string().contains("install and start Docker Engine"), "{error}");

    // A socket that nobody listens on any more: the engine was stopped.
    let path = folder.path().join("left.sock");
    drop(UnixListener::bind(&path).unwrap());
    let error = Engine::connect_to(&format!("unix://{}", path.display())).unwrap_err();
    assert!(matches!(error.kind, DockerErrorKind::NoEngine(_)), "{error:?}");

    let error = Engine::connect_to("npipe://somewhere").unwrap_err();
    assert!(error.to_string().contains("forward a socket"), "{error}");

    let launcher = DockerLauncher::new(DockerOptions { host: Some(nowhere), ..DockerOptions::default() });
    let order = uplift_engine::LaunchOrder {
        binary: None,
        data_dir: folder.path().to_owned(),
        label: "it".to_owned(),
        pair: "it".to_owned(),
        memory_bytes_max: 1 << 30,
        counts_allocations: false,
    };
    let failure = launcher.start(&order).err().unwrap();
    assert_eq!(failure.kind, FailureKind::Unavailable, "a scenario that asks for one is skipped");
}

#[test]
fn something_that_is_no_engine_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.sock");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut client, b"220 mail.example ESMTP\r\n");
        }
    });
    let error = Engine::connect_to(&format!("unix://{}", path.display())).unwrap_err();
    assert!(matches!(error.kind, DockerErrorKind::Broken(_)), "{error:?}");
}

#[test]
fn an_image_that_is_not_there_is_named() {
    let Some(bench) = Bench::new("nobase") else { return };
    let error = Recipe::new(&bench.engine, &own_binary(), Some("uplift-nowhere:1"), false).err().unwrap();
    assert!(error.to_string().contains("there is no image `uplift-nowhere:1`"), "{error}");
}

/// The base has an instruction for whoever builds on it, and that instruction cannot be carried out.
#[test]
fn an_image_that_cannot_be_built_is_said_in_the_engines_words() {
    let Some(bench) = Bench::new("build") else { return };
    let name = format!("uplift-test-{}", bench.run);
    let mut empty = tar::Builder::new(Vec::new());
    empty.append_data(&mut tar::Header::new_gnu(), "nothing", std::io::empty()).unwrap();
    let archive = empty.into_inner().unwrap();
    let options = CreateImageOptionsBuilder::default()
        .from_src("-")
        .repo(&name)
        .tag("1")
        .changes(vec!["ONBUILD RUN [\"/no/such/program\"]".to_owned()])
        .build();
    bench
        .ask(async |docker| {
            docker.create_image(Some(options), Some(body_full(archive.into())), None).try_collect::<Vec<_>>().await
        })
        .unwrap();
    let base = format!("{name}:1");
    let recipe = Recipe::new(&bench.engine, &own_binary(), Some(&base), false).unwrap();
    let error = recipe.build(&bench.engine).unwrap_err();
    assert!(matches!(error.kind, DockerErrorKind::Build(_)), "{error:?}");
    assert!(error.to_string().contains("/no/such/program"), "{error}");

    let launcher = DockerLauncher::new(DockerOptions { base: Some(base.clone()), ..bench.options("writer", &[]) });
    launcher.engine().unwrap();
    let failure = launcher.start(&bench.order("it")).err().unwrap();
    assert_eq!(failure.kind, FailureKind::Launch);
    assert_eq!(bench.left(), Vec::<String>::new());
    bench.ask(async |docker| docker.remove_image(&base, None::<RemoveImageOptions>, None).await).unwrap();
}

#[test]
fn a_container_that_ignores_sigterm_is_ended_all_the_same() {
    let Some(bench) = Bench::new("stubborn") else { return };
    let launcher = DockerLauncher::new(bench.options("stubborn", &[]));
    let mut agent = bench.start(&launcher);
    wait_for(agent.as_ref(), "ready");
    let state = || -> ContainerState {
        bench
            .ask(async |docker| {
                let filters = [("label".to_owned(), vec![format!("uplift.run={}", bench.run)])].into();
                let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
                let id = docker.list_containers(Some(options)).await?.remove(0).id.unwrap();
                let options = KillContainerOptionsBuilder::default().signal("SIGTERM").build();
                docker.kill_container(&id, Some(options)).await?;
                docker.inspect_container(&id, None::<InspectContainerOptions>).await
            })
            .unwrap()
            .state
            .unwrap()
    };
    for _ in 0..3 {
        assert_eq!(state().status, Some(ContainerStateStatusEnum::RUNNING), "it does not care");
    }
    agent.kill();
    assert_eq!(agent.wait(), Exit::Signal(9));
    drop(agent);
    assert_eq!(bench.left(), Vec::<String>::new());
}

/// An engine whose clock is ten years ahead: nothing that is measured is a difference to its clock.
#[test]
fn an_engine_with_another_clock_changes_nothing() {
    let Some(bench) = Bench::new("clock") else { return };
    let host = proxy::on_socket(&bench.data.path().join("late.sock"), &bench.engine.facts().host, |said| {
        // "202y-" of every date becomes "203y-".
        for place in 0..said.len().saturating_sub(4) {
            if said[place..].starts_with(b"\"202") && said[place + 5] == b'-' {
                said[place + 3] = b'3';
            }
        }
    });
    let launcher =
        DockerLauncher::new(DockerOptions { host: Some(host), cpus: Some(0.05), ..bench.options("busy", &[]) });
    let mut agent = bench.start(&launcher);
    agent.mark(uplift_engine::Moment::FirstTurn);
    wait_for(agent.as_ref(), "done");
    agent.mark(uplift_engine::Moment::LastTurn);
    let (gauges, _) = agent.observations();
    assert!((50e6..400e6).contains(&gauges["container_cpu"]), "{gauges:?}");
    assert!(gauges["container_start"] < 600e9, "{gauges:?}");
    drop(agent);
    assert_eq!(bench.left(), Vec::<String>::new());
}
