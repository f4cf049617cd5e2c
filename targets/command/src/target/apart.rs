//! Runs of their own, in which is counted what would cost the timed runs too much.

use std::{fs, process::Command};

use uplift_sdk::{Samples, allocations::Log};

use super::{Commands, lock};
use crate::{
    callgrind,
    run::{Ended, Watch, ending, run},
    settings::Count,
    words::Placeholders,
};

/// What such runs counted, or why not.
pub struct Apart {
    instructions: Result<u64, String>,
    allocations: Result<[u64; 2], String>,
}

impl Default for Apart {
    fn default() -> Self {
        Self {
            instructions: Err("callgrind counts where it is asked to: --count instructions".to_owned()),
            allocations: Err("a preloaded library counts where it is asked to: --count allocations".to_owned()),
        }
    }
}

impl Apart {
    /// Adds what was counted to the metrics.
    pub fn sample(&self, samples: &mut Samples) {
        let mut gauge = |name: &'static str, value: Result<u64, &String>| match value {
            Ok(value) => samples.gauge(name, value as f64),
            Err(reason) => samples.absent(name, reason.clone()),
        };
        gauge("callgrind_instructions", self.instructions.as_ref().copied());
        gauge("allocations", self.allocations.as_ref().map(|counts| counts[0]));
        gauge("allocated_bytes", self.allocations.as_ref().map(|counts| counts[1]));
    }
}

impl Commands {
    /// Counts everything that was asked for.
    pub(super) fn count_apart(&self) {
        let mut apart = Apart::default();
        if self.workload.count.contains(&Count::Instructions) {
            apart.instructions = self.count_instructions();
        }
        if self.workload.count.contains(&Count::Allocations) {
            apart.allocations = self.count_allocations();
        }
        *lock(&self.apart) = apart;
    }

    /// One more run, under callgrind.
    fn count_instructions(&self) -> Result<u64, String> {
        callgrind::available()?;
        self.one_more("under callgrind", |plain, filled| {
            let mut command = callgrind::wrap(&plain, &self.data_root);
            self.redirect(&mut command, filled)?;
            Ok(command)
        })?;
        callgrind::collect(&self.data_root).map_err(|error| format!("the counts of callgrind cannot be read: {error}"))
    }

    /// One more run, with the library that counts calls and bytes.
    fn count_allocations(&self) -> Result<[u64; 2], String> {
        let log = Log::new(false)?;
        log.count(true);
        self.one_more("in which allocations are counted", |mut plain, _| {
            log.preload_into(&mut plain)?;
            Ok(plain)
        })?;
        let counts = log.counts();
        match counts.unseen() {
            Some(why) => Err(why.to_owned()),
            None => Ok([counts.calls, counts.bytes]),
        }
    }

    fn one_more(
        &self,
        how: &str,
        changed: impl FnOnce(Command, &Placeholders<'_>) -> Result<Command, String>,
    ) -> Result<Ended, String> {
        self.make_ready();
        let Some(number) = lock(&self.ready).prepared.take() else {
            return Err(lock(&self.outcomes).failure.clone().unwrap_or_default());
        };
        lock(&self.ready).dirty = Some(number);
        self.with_placeholders(number, |filled| {
            let plain = self.surroundings.command(&self.settings.command, filled, self.streams())?;
            let mut command = changed(plain, filled)?;
            let watch = Watch { timeout: self.workload.timeout.0, keeps_stdout: false };
            let program = command.get_program().to_string_lossy().into_owned();
            let ended = run(watch, || command.spawn())
                .map_err(|error| format!("`{program}` could not be started {how}: {error}"))?;
            let (code, words) = ending(ended.status);
            if !self.workload.expect.allows(code) && !self.workload.ignore_failure {
                return Err(format!("the run {how} ended with {words}: {}", ended.stderr.end()));
            }
            Ok(ended)
        })
    }

    /// Gives a wrapping command the streams of the wrapped one.
    fn redirect(&self, command: &mut Command, filled: &Placeholders<'_>) -> Result<(), String> {
        use std::process::Stdio;
        command.stdin(match &self.workload.input {
            None => Stdio::null(),
            Some(input) => {
                let input = filled.fill(input);
                fs::File::open(self.surroundings.here(&input))
                    .map_err(|error| format!("the input `{input}` cannot be opened: {error}"))?
                    .into()
            }
        });
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        Ok(())
    }
}
