//! How well a modelled disk was kept to: what its model asked for against what callers saw.

use uplift_model::{Histogram, trial::Trial};

/// A deviation of the median beyond this is said with its reason.
const DEVIATION_MAX: f64 = 0.1;

/// The modelled disk over several trials.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelledDisk {
    /// Syncs that were held back.
    pub calls: u64,
    /// Median latency that the model asked for, waiting for earlier syncs included, in nanoseconds.
    pub modelled_p50_ns: u64,
    /// Median latency that callers saw, in nanoseconds.
    pub observed_p50_ns: u64,
    /// Share of syncs that the real disk finished later than the model would have.
    pub slower_than_model: f64,
}

/// The modelled disk of `trials`; `None` where there was none, or no sync call.
pub fn of<'a>(trials: impl IntoIterator<Item = &'a Trial>) -> Option<ModelledDisk> {
    let (mut modelled, mut observed) = (Histogram::new(), Histogram::new());
    let (mut calls, mut slower) = (0, 0);
    for disk in trials.into_iter().filter_map(|trial| trial.measured.as_ref()?.disk.as_ref()) {
        modelled.merge(&disk.modelled);
        observed.merge(&disk.observed);
        calls += disk.calls;
        slower += disk.slower_than_model;
    }
    Some(ModelledDisk {
        calls,
        modelled_p50_ns: modelled.quantile(0.5)?,
        observed_p50_ns: observed.quantile(0.5)?,
        slower_than_model: slower as f64 / calls as f64,
    })
}

impl ModelledDisk {
    /// Relative deviation of the observed median from the model's.
    pub fn deviation(&self) -> f64 {
        self.observed_p50_ns as f64 / self.modelled_p50_ns as f64 - 1.0
    }

    /// What was in force, in a sentence.
    pub fn words(&self) -> String {
        let deviation = self.deviation();
        let mut words = format!(
            "the median sync took {:.3} ms where the model says {:.3} ms ({:+.1} %, {} calls)",
            self.observed_p50_ns as f64 / 1e6,
            self.modelled_p50_ns as f64 / 1e6,
            deviation * 100.0,
            self.calls
        );
        if deviation > DEVIATION_MAX {
            words.push_str(if self.slower_than_model > 0.5 {
                "; the disk that is there is slower than the model, which can only hold calls back"
            } else {
                "; this machine wakes sleeping threads that much late, so a slower disk can be modelled better than this one"
            });
        }
        words
    }
}
