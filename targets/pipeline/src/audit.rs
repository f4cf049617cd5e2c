//! A pipeline that died in a run, opened again: what had arrived, and whether the run can be brought to its end.

use pipeline_engine::{Fault, Settings, Workload, checksum::Checksum, expected, job, run::Job};
use uplift_sdk::{Audit, OpenContext, Recovered, TargetError, crash_ledger::Ledger};

use crate::target::failed;

/// What is left of a pipeline.
pub struct RecoveredJob {
    job: Job,
    expected: Checksum,
}

impl RecoveredJob {
    /// Opens what is in the data directory.
    pub fn open(workload: Workload, settings: Settings, context: &OpenContext) -> Result<Self, TargetError> {
        let job = job(workload, settings, &context.data_dir, context.seed, None).map_err(failed)?;
        // What was committed must be readable before anything goes on.
        job.store.positions().map_err(failed)?;
        let expected = expected(&job.generator, &job.workload).map_err(failed)?.checksum;
        Ok(Self { job, expected })
    }
}

impl Recovered for RecoveredJob {
    /// A run that was acknowledged has all of its rows there. One that was not goes on from its checkpoints to its end, and
    /// then each row is there once.
    fn audit(&self, ledger: &Ledger) -> Result<Audit, TargetError> {
        let run = ledger.clients.first().and_then(|entries| entries.first());
        let told = run.and_then(|run| run.acknowledged_ns());
        let mut audit = Audit::default();
        let rows = self.expected.rows;
        match told {
            Some(_) => audit.acknowledged = rows,
            None => audit.in_flight = run.map_or(0, |_| rows),
        }
        if !self.job.store.goes_on() && told.is_none() {
            // What was cut starts again from the beginning, as its documentation says.
            if let Err(error) = self.job.store.reset() {
                audit.wrong += 1;
                audit.note(|| error.to_string());
                return Ok(audit);
            }
        }
        let before = match self.job.store.read_back() {
            Ok(before) => before,
            Err(error) => {
                // It opened, and what is there cannot be read.
                audit.wrong += 1;
                audit.note(|| error.to_string());
                return Ok(audit);
            }
        };
        if let Some(acknowledged_ns) = told
            && before.rows < rows
        {
            audit.note(|| format!("{rows} rows were acknowledged, {} are there", before.rows));
            audit.note_lost(acknowledged_ns, ledger.cut_ns);
            audit.lost = rows - before.rows;
        }
        let is_through = told.is_some() && !self.job.store.goes_on();
        if is_through && audit.lost > 0 {
            return Ok(audit);
        }
        if !is_through && let Err(error) = self.job.run(Fault::None) {
            audit.wrong += 1;
            audit.note(|| format!("the run cannot be brought to its end: {error}"));
            return Ok(audit);
        }
        let after = match self.job.store.read_back() {
            Ok(after) => after,
            Err(error) => {
                audit.wrong += 1;
                audit.note(|| format!("once the run was at its end: {error}"));
                return Ok(audit);
            }
        };
        if after.rows > rows {
            audit.twice = after.rows - rows;
            audit.note(|| format!("once the run was at its end there were {} rows instead of {rows}", after.rows));
        } else if after != self.expected {
            audit.wrong += (rows - after.rows).max(1);
            audit.note(|| {
                format!(
                    "once the run was at its end there were {} rows with checksum {:016x}, {rows} with {:016x} belong there",
                    after.rows, after.sum, self.expected.sum
                )
            });
        }
        Ok(audit)
    }
}
