//! What a run came to, and the exit code that follows.

use std::{env, path::PathBuf};

use uplift_model::{
    ProfileTrial, Trial, Verdicts,
    run::{Run, RunState},
    verdict::Status,
};

use crate::exit;

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
        let required = env::var("UPLIFT_REQUIRE").unwrap_or_default();
        let missing = self
            .run
            .scenarios
            .iter()
            .filter_map(|planned| planned.skipped.as_deref())
            .any(|reason| was_required(&required, reason));
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
        } else if screens.is_some_and(|screens| screens.scenarios.iter().any(|screen| screen.incomparable)) {
            exit::INCOMPARABLE
        } else if statuses.contains(&Status::Incomparable) {
            exit::INCOMPARABLE
        } else {
            exit::OK
        }
    }
}

/// Whether a variant was skipped because a service is missing that `UPLIFT_REQUIRE` lists: what is missing stands before the first
/// semicolon of the reason, the fixes after it. The list has words for tests as well (`browser`, `go`), which no scenario
/// can lack.
fn was_required(required: &str, reason: &str) -> bool {
    let missing = reason.split(';').next().unwrap_or_default().to_lowercase();
    required
        .split(',')
        .map(|word| word.trim().to_lowercase())
        .any(|word| ["docker", "postgres", "redis"].contains(&word.as_str()) && missing.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_services_that_were_asked_for_are_required() {
        assert!(was_required("browser, Postgres", "PostgreSQL: no server on this machine"));
        assert!(was_required("docker", "docker: connecting to unix:///nowhere/docker.sock"));
        assert!(!was_required("", "docker: no engine"));
        assert!(!was_required("postgres,go", "build it in with `cargo run --features sql`"), "`go` is for a test");
        let remedies =
            "built without the crate duroxide-pg; build it; a server is reached with --docker-arg=volume=/postgresql";
        assert!(!was_required("docker,postgres", remedies));
    }
}
