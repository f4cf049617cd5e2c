//! Which launcher starts the agent of which variant.

use uplift_docker::{BoxArguments, DockerLauncher, DockerOptions};
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
        let mut names_docker = default == LaunchKind::Docker;
        for (scenario, variants) in scenarios {
            names_docker |= variants
                .iter()
                .filter_map(|name| scenario.variant(name))
                .any(|variant| variant.uplift.launch == Some(LaunchKind::Docker));
        }
        let limits = [
            ("--docker-base", args.docker_base.is_some()),
            ("--cpus", args.cpus.is_some()),
            ("--memory", args.memory.is_some()),
            ("--docker-arg", !args.docker_args.is_empty()),
        ];
        if let Some((option, _)) = limits.iter().find(|(_, given)| *given && !names_docker) {
            return Err(CliError::usage(
                format!("{option} is about containers, and no variant here runs in one"),
                "add --launch docker; for processes there is --memory-max",
            ));
        }
        let arguments = BoxArguments::parse(&args.docker_args)
            .map_err(|error| CliError::usage(format!("--docker-arg: {error}"), ""))?;
        let docker = DockerLauncher::new(DockerOptions {
            run: run.to_owned(),
            host: None,
            base: args.docker_base.clone(),
            cpus: args.cpus,
            memory_bytes: args.memory,
            arguments,
            profiling,
        });
        if default == LaunchKind::Docker {
            docker.engine().map_err(|error| CliError::environment(error.to_string(), "`uplift doctor` looks at it"))?;
        }
        Ok(Self { default, process: ProcessLauncher, docker })
    }

    /// The launcher of a variant.
    pub fn of(&self, variant: Option<&Variant>) -> &dyn Launch {
        match variant.and_then(|variant| variant.uplift.launch).unwrap_or(self.default) {
            LaunchKind::Process => &self.process,
            LaunchKind::Docker => &self.docker,
        }
    }

    /// What the reader of the run must know about all of them.
    pub fn warnings(&self) -> Vec<String> {
        [&self.process as &dyn Launch, &self.docker].iter().flat_map(|launcher| launcher.warnings()).collect()
    }
}
