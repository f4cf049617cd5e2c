//! A provider that died under load, opened again and checked against what its callers were told.

use uplift_sdk::{
    Audit, OpenContext, Recovered, TargetError,
    crash_ledger::{Ledger, State},
};

use crate::{
    engine::{Engine, Stored},
    open,
    settings::{Settings, Workload},
    target::{instance, prefix, tokio_runtime},
    workload,
};

/// What is left of a provider.
pub struct RecoveredStore {
    engine: Box<dyn Engine>,
    tokio: tokio::runtime::Runtime,
    expected: String,
    prefix: String,
}

impl RecoveredStore {
    /// Opens what is in the data directory, without a runtime that would go on with what was under way.
    pub fn open(workload: &Workload, settings: &Settings, context: &OpenContext) -> Result<Self, TargetError> {
        let tokio = tokio_runtime()?;
        let engine = tokio.block_on(open::open(settings, &context.data_dir))?;
        Ok(Self { engine, tokio, expected: workload::expected_output(workload), prefix: prefix(context.seed) })
    }
}

impl Recovered for RecoveredStore {
    fn audit(&self, ledger: &Ledger) -> Result<Audit, TargetError> {
        let mut entries: Vec<_> = ledger.clients.iter().flatten().collect();
        entries.sort_by_key(|entry| instance(&self.prefix, entry.key));
        let instances: Vec<String> = entries.iter().map(|entry| instance(&self.prefix, entry.key)).collect();
        let stored = match self.tokio.block_on(self.engine.completed(&instances)) {
            Ok(stored) => stored,
            Err(error) => {
                // It opened, and what is there cannot be read.
                let mut audit = Audit { acknowledged: ledger.acknowledged(), wrong: 1, ..Audit::default() };
                audit.note(|| error.to_string());
                return Ok(audit);
            }
        };
        let mut audit = Audit::default();
        for (entry, instance) in entries.iter().zip(&instances) {
            let acknowledged = match entry.state {
                State::Acknowledged(ns) => Some(ns),
                State::Open => None,
            };
            audit.acknowledged += u64::from(acknowledged.is_some());
            audit.in_flight += u64::from(acknowledged.is_none());
            match (stored.get(instance), acknowledged) {
                (None, None) => {}
                (None, Some(ns)) => {
                    audit.note(|| format!("orchestration `{instance}` was acknowledged and is not completed"));
                    audit.note_lost(ns, ledger.cut_ns);
                }
                (Some(Stored { output, .. }), _) if *output != self.expected => {
                    audit.wrong += 1;
                    audit.note(|| format!("orchestration `{instance}` has the output `{output}`"));
                }
                (Some(Stored { completions: 1, .. }), _) => {}
                (Some(Stored { completions, .. }), _) => {
                    audit.twice += 1;
                    audit.note(|| format!("orchestration `{instance}` was completed {completions} times"));
                }
            }
        }
        Ok(audit)
    }
}

impl Drop for RecoveredStore {
    fn drop(&mut self) {
        self.tokio.block_on(self.engine.close());
    }
}
