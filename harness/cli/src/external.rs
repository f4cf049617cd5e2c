//! Targets of another program: an agent that was named with `--agent`, in any language.
//!
//! The program is asked what its targets are and whether it accepts a scenario; it then serves the trials itself.

use std::{
    env,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use uplift_engine::{Interrupt, Launch as _, LaunchOrder, ProcessLauncher, agent_connection::AgentConnection};
use uplift_model::{
    Table,
    description::{DescribedTarget, Description},
    metric::DerivedMetric,
    protocol::Validated,
    trial::Failure,
};
use uplift_sdk::{OpenContext, SettingsError, Target, TargetError, TargetFactory};

use crate::error::CliError;

/// How long an agent may think about a question that sets nothing up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The one agent of this process, named before anything else happens.
static AGENT: OnceLock<PathBuf> = OnceLock::new();

/// The program that serves every trial whose variant has no binary of its own; `None`: this one.
pub fn agent() -> Option<&'static Path> {
    AGENT.get().map(PathBuf::as_path)
}

/// Takes the program at `path` as the agent of this process, and returns its targets. They live as long as the process.
pub fn take(path: &Path) -> Result<Vec<&'static dyn TargetFactory>, CliError> {
    let path = find(path)?;
    let interrupt =
        Interrupt::install().map_err(|error| CliError::environment(format!("could not catch Ctrl-C: {error}"), ""))?;
    let ask = Ask { path: path.clone(), interrupt };
    let described = ask.ask(AgentConnection::describe).map_err(|failure| {
        CliError::environment(
            format!("the agent `{}` does not say what its targets are: {}", path.display(), said(&failure)),
            "`uplift agent-check PROGRAM` goes through the whole conversation and says what is wrong",
        )
    })?;
    if described.is_empty() {
        return Err(CliError::environment(
            format!("the agent `{}` has no target", path.display()),
            "its answer to `describe` must list at least one",
        ));
    }
    let _ = AGENT.set(path);
    Ok(described.into_iter().map(|target| ask.clone().factory(target)).collect())
}

/// A program as a shell would find it, absolute: trials are started in folders of their own.
pub fn find(path: &Path) -> Result<PathBuf, CliError> {
    let named = path.components().count() > 1 || path.is_file();
    let found = if named {
        Some(path.to_owned())
    } else {
        let folders = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&folders).map(|folder| folder.join(path)).find(|place| place.is_file())
    };
    found.and_then(|place| place.canonicalize().ok()).ok_or_else(|| {
        CliError::usage(
            format!("there is no program `{}`", path.display()),
            "name the agent: a binary that speaks the protocol of `uplift agent`, docs/TARGETS.md says how",
        )
    })
}

/// What an agent said of its failure, with its last words.
pub fn said(failure: &Failure) -> String {
    let tail = failure.stderr_tail.trim();
    if tail.is_empty() { failure.message.clone() } else { format!("{}; it wrote: {tail}", failure.message) }
}

/// Conversations of one question each.
#[derive(Clone)]
struct Ask {
    path: PathBuf,
    interrupt: Interrupt,
}

impl Ask {
    fn ask<T>(&self, question: impl FnOnce(&mut AgentConnection) -> Result<T, Failure>) -> Result<T, Failure> {
        let order = LaunchOrder {
            binary: Some(self.path.clone()),
            data_dir: env::temp_dir(),
            label: "describe".to_owned(),
            pair: "describe".to_owned(),
            memory_bytes_max: u64::MAX,
            counts_allocations: false,
        };
        let handle = ProcessLauncher::default().start(&order)?;
        // Dropping the connection ends the agent.
        question(&mut AgentConnection::open(handle, self.interrupt.clone(), u64::MAX, ANSWER_TIMEOUT)?)
    }

    fn factory(self, target: DescribedTarget) -> &'static dyn TargetFactory {
        let DescribedTarget { name, about, description } = target;
        Box::leak(Box::new(External { ask: self, name: name.leak(), about: about.leak(), description }))
    }
}

/// A target that another program drives.
struct External {
    ask: Ask,
    name: &'static str,
    about: &'static str,
    description: Description,
}

impl External {
    fn validated(&self, workload: &Table, settings: &Table) -> Result<Validated, Failure> {
        self.ask.ask(|agent| agent.validate(self.name, workload, settings))
    }
}

impl TargetFactory for External {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn describe(&self) -> Description {
        self.description.clone()
    }

    fn workload_metrics(&self, workload: &Table) -> Vec<DerivedMetric> {
        // A workload that is refused was complained about by `validate`.
        self.validated(workload, &Table::new()).map(|validated| validated.metrics).unwrap_or_default()
    }

    fn validate(&self, workload: &Table, settings: &Table) -> Result<(), SettingsError> {
        match self.validated(workload, settings) {
            Ok(Validated { problem: None, .. }) => Ok(()),
            Ok(Validated { problem: Some(problem), .. }) => Err(problem.into()),
            Err(failure) => {
                let path = self.ask.path.display();
                let message = format!("the agent `{path}` does not say whether it accepts this: {}", said(&failure));
                Err(SettingsError { table: "settings", keys: Vec::new(), message })
            }
        }
    }

    fn can_be_shared(&self) -> bool {
        // Its keeper says so when it is set up.
        true
    }

    fn open(&self, _: OpenContext) -> Result<Box<dyn Target>, TargetError> {
        let path = self.ask.path.display();
        Err(TargetError::engine("opening a target of another program", format!("`{path}` serves it")))
    }
}
