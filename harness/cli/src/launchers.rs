//! Which launcher starts the agent of which variant.

use std::collections::BTreeMap;

use uplift_docker::{ContainerArgs, DockerError, DockerLauncher, DockerOptions, SwarmLauncher};
use uplift_engine::{Launch, ProcessLauncher};
use uplift_model::{
    Scenario,
    scenario::{LaunchKind, Variant},
};

use crate::{
    args::{LaunchArgs, Launcher},
    error::CliError,
};

/// The launchers of one run.
pub struct Launchers {
    default: LaunchKind,
    process: ProcessLauncher,
    docker: DockerLauncher,
    /// By the options of `docker run` that variants bring themselves.
    docker_of: BTreeMap<Vec<String>, DockerLauncher>,
    swarm: SwarmLauncher,
}

impl Launchers {
    /// Checks what was asked for. An engine is looked for only where the command line itself asks for containers:
    /// a variant that asks for one is skipped where there is none.
    pub fn resolve<'a>(
        args: &LaunchArgs,
        run: &str,
        profiling: bool,
        scenarios: impl Iterator<Item = (&'a Scenario, &'a [String])>,
    ) -> Result<Self, CliError> {
        let default = args.launch.unwrap_or(Launcher::Process).into();
        let variants: Vec<&Variant> =
            scenarios.flat_map(|(scenario, names)| names.iter().filter_map(|name| scenario.variant(name))).collect();
        let kinds: Vec<LaunchKind> =
            variants.iter().map(|variant| variant.uplift.launch.unwrap_or(default)).chain([default]).collect();
        check(args, &kinds)?;
        let options = |own: &[String]| -> Result<DockerOptions, CliError> {
            let arguments: Vec<String> = args.docker_args.iter().chain(own).cloned().collect();
            let whose = if own.is_empty() { "--docker-arg" } else { "docker_args of a variant" };
            Ok(DockerOptions {
                run: run.to_owned(),
                host: None,
                base: args.docker_base.clone(),
                cpus: args.cpus,
                memory_bytes: args.memory,
                arguments: ContainerArgs::parse(&arguments)
                    .map_err(|error| CliError::usage(format!("{whose}: {error}"), ""))?,
                profiling,
            })
        };
        let docker = DockerLauncher::new(options(&[])?);
        let mut docker_of = BTreeMap::new();
        for own in variants.iter().map(|variant| &variant.uplift.docker_args).filter(|own| !own.is_empty()) {
            docker_of.insert(own.clone(), DockerLauncher::new(options(own)?));
        }
        let swarm = SwarmLauncher::new(options(&[])?, args.swarm_labels.clone());
        let missing = |error: DockerError| CliError::environment(error.to_string(), "`uplift doctor` looks at it");
        match default {
            LaunchKind::Process => {}
            LaunchKind::Docker => drop(docker.engine().map_err(missing)?),
            LaunchKind::Swarm => drop(swarm.manager().map_err(missing)?),
        }
        Ok(Self { default, process: ProcessLauncher::default(), docker, docker_of, swarm })
    }

    /// The launcher of a variant.
    pub fn of(&self, variant: Option<&Variant>) -> &dyn Launch {
        match variant.and_then(|variant| variant.uplift.launch).unwrap_or(self.default) {
            LaunchKind::Process => &self.process,
            LaunchKind::Docker => {
                let own = variant.and_then(|variant| self.docker_of.get(&variant.uplift.docker_args));
                own.unwrap_or(&self.docker)
            }
            LaunchKind::Swarm => &self.swarm,
        }
    }

    /// What the reader of the run must know about all of them.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let docker = self.docker_of.values().chain([&self.docker]).map(|launcher| launcher as &dyn Launch);
        for warning in docker.chain([&self.process as &dyn Launch, &self.swarm]).flat_map(Launch::warnings) {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        warnings
    }
}

/// Options that would do nothing are mistakes.
fn check(args: &LaunchArgs, kinds: &[LaunchKind]) -> Result<(), CliError> {
    let boxed = kinds.iter().any(|kind| *kind != LaunchKind::Process);
    let (docker, swarm) = (kinds.contains(&LaunchKind::Docker), kinds.contains(&LaunchKind::Swarm));
    let limits = [
        ("--docker-base", args.docker_base.is_some()),
        ("--cpus", args.cpus.is_some()),
        ("--memory", args.memory.is_some()),
        ("--docker-arg", !args.docker_args.is_empty()),
    ];
    if let Some((option, _)) = limits.iter().find(|(_, given)| *given && !boxed) {
        return Err(CliError::usage(
            format!("{option} is about containers, and no variant here runs in one"),
            "add --launch docker; for processes there is --memory-max",
        ));
    }
    if !args.swarm_labels.is_empty() && !swarm {
        return Err(CliError::usage("--swarm-label is about the nodes of a swarm", "add --launch swarm"));
    }
    if !args.docker_args.is_empty() && swarm && !docker {
        return Err(CliError::usage(
            "--docker-arg is about `docker run`, and the jobs of a swarm know none of its options",
            "leave it out; --cpus, --memory and --docker-base hold for jobs too",
        ));
    }
    Ok(())
}
