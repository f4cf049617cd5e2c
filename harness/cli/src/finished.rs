//! What a run came to, and the exit code that follows.

use std::{env, path::PathBuf};

use uplift_model::{
    ProfileTrial, Trial, Verdicts,
    run::{Run, RunState},
    trial::FailureKind,
    verdict::Status,
};

use uplift_report::{ReportInput, build};

use crate::{exit, output::Terminal};

/// A run that was carried out.
pub struct Finished {
    /// Its folder.
    pub directory: PathBuf,
    /// Its record.
    pub run: Run,
    /// Its trials.
    pub trials: Vec<Trial>,
    /// Its profile trials.
    pub profiles: Vec<ProfileTrial>,
    /// What was decided.
    pub verdicts: Option<Verdicts>,
}

impl Finished {
    /// The exit code: interrupted before failed before incomparable before fine.
    pub fn exit(&self) -> u8 {
        if self.run.state == RunState::Interrupted {
            return exit::INTERRUPTED;
        }
        let missing = self.lacks_any_of(&env::var("UPLIFT_REQUIRE").unwrap_or_default());
        let statuses: Vec<Status> =
            self.verdicts.iter().flat_map(|verdicts| &verdicts.scenarios).map(|scenario| scenario.status).collect();
        let failed = match &self.verdicts {
            Some(_) => statuses.contains(&Status::Failed),
            // Each variant was asked for: one that never succeeded was not measured.
            None => self.run.scenarios.iter().filter(|planned| planned.skipped.is_none()).any(|planned| {
                let succeeded = |variant: &String| {
                    let trials = self.trials.iter().chain(self.profiles.iter().map(|profile| &profile.trial));
                    trials
                        .filter(|trial| trial.scenario == planned.scenario.name && &trial.variant == variant)
                        .any(Trial::succeeded)
                };
                !planned.variants.iter().all(succeeded)
            }),
        };
        let screens = uplift_analysis::screens(&self.run, &self.trials);
        if missing || failed {
            exit::FAILED
        } else if statuses.contains(&Status::Incomparable)
            || screens.is_some_and(|screens| screens.scenarios.iter().any(|screen| screen.incomparable))
        {
            exit::INCOMPARABLE
        } else {
            exit::OK
        }
    }

    /// Says what became of it, and where its report is.
    pub fn say_end(&self, terminal: &Terminal) {
        let (run, trials) = (&self.run, &self.trials);
        let input = ReportInput { run, trials, profiles: &self.profiles, verdicts: self.verdicts.as_ref() };
        if let Some(line) = build::closing(&input) {
            terminal.say(&line);
        }
        terminal.say_report(&self.directory.join("report.html"));
    }

    /// Whether a scenario was skipped for want of a service of the list.
    fn lacks_any_of(&self, required: &str) -> bool {
        let trials = self.trials.iter().chain(self.profiles.iter().map(|profile| &profile.trial));
        trials.filter_map(|trial| trial.outcome.failure()).any(|failure| {
            failure.kind == FailureKind::Unavailable
                && failure.problem.as_ref().is_some_and(|problem| problem.is_of(required))
        })
    }
}
