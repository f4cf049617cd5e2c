//! From folded stacks to where the time went and what moved.
//!
//! Shares come with their sampling error: a sample is a draw, and a share of `n` draws is known as well as a binomial
//! proportion is. Samples of one thread are not quite independent of each other, and trials differ; the intervals cover
//! neither.

pub mod allocations;
pub mod category;
pub mod differential;
pub mod folded;
pub mod functions;
pub mod reading;
pub mod stages;
pub mod tail;

use std::collections::BTreeMap;

use uplift_model::{
    ProfileTrial,
    protocol::{OTHER_STACKS, Profiled},
};

pub use self::{
    allocations::{Allocated, allocations_by_variant},
    category::{Category, CategoryShare, categories, kernel_share, syscall_share},
    differential::{CategoryMove, FunctionMove, category_moves, function_moves},
    folded::{FoldedError, Stack},
    functions::{FunctionShare, top_functions},
    reading::reading,
};

/// The samples of one variant of one scenario, all its profile trials added up.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Each stack once, in the order of its text.
    pub stacks: Vec<Stack>,
    /// Sum of their counts.
    pub samples: u64,
    /// Nanoseconds of CPU time that one sample stands for.
    pub sample_ns: f64,
    /// Successful operations while it was sampled.
    pub operations: u64,
    /// How long it was sampled.
    pub duration_ns: u64,
}

impl Profile {
    /// The on-CPU samples of some profile trials together.
    ///
    /// # Errors
    /// The line that is no folded stack.
    pub fn on_cpu(profiled: &[&Profiled]) -> Result<Self, FoldedError> {
        let texts: Vec<_> = profiled.iter().map(|one| one.plain(&one.folded)).collect();
        let stacks = folded::merge(texts.iter().map(|text| &**text))?;
        let samples = stacks.iter().map(|stack| stack.count).sum();
        // Trials of one variant are sampled alike; where the sampler could not keep its rate they are weighted.
        let counts: Vec<(u64, f64)> = profiled
            .iter()
            .map(|one| Ok((folded::total(&one.folded)?, one.sample_ns)))
            .collect::<Result<_, FoldedError>>()?;
        let total_ns: f64 = counts.iter().map(|(count, sample_ns)| *count as f64 * sample_ns).sum();
        Ok(Self {
            stacks,
            samples,
            sample_ns: if samples == 0 { 0.0 } else { total_ns / samples as f64 },
            operations: profiled.iter().map(|one| one.operations).sum(),
            duration_ns: profiled.iter().map(|one| one.duration_ns).sum(),
        })
    }

    /// The stacks of waiting threads, in microseconds; `None` where any trial has none.
    ///
    /// # Errors
    /// The line that is no folded stack.
    pub fn off_cpu(profiled: &[&Profiled]) -> Result<Option<Vec<Stack>>, FoldedError> {
        let texts: Option<Vec<_>> =
            profiled.iter().map(|one| one.folded_off_cpu.as_deref().map(|text| one.plain(text))).collect();
        match texts {
            Some(texts) if !texts.is_empty() => folded::merge(texts.iter().map(|text| &**text)).map(Some),
            _ => Ok(None),
        }
    }

    /// Nanoseconds of CPU time for each operation that this many samples stand for; `None` where no operation
    /// succeeded.
    pub fn ns_per_operation(&self, samples: u64) -> Option<f64> {
        (self.operations > 0).then(|| samples as f64 * self.sample_ns / self.operations as f64)
    }

    /// Samples of stacks that were too many to be told apart.
    pub fn other_stacks(&self) -> Share {
        let others = self.stacks.iter().filter(|stack| stack.frames.last().is_some_and(|leaf| leaf == OTHER_STACKS));
        Share::of(others.map(|stack| stack.count).sum(), self.samples)
    }

    /// How many CPUs were busy on average.
    pub fn cores_used(&self) -> f64 {
        if self.duration_ns == 0 { 0.0 } else { self.samples as f64 * self.sample_ns / self.duration_ns as f64 }
    }
}

/// The successful profile trials of a scenario by variant, each in the order of its repetitions; those whose stacks hold
/// time.
pub fn by_variant<'a>(profiles: &'a [ProfileTrial], scenario: &str) -> BTreeMap<&'a str, Vec<&'a Profiled>> {
    by_variant_of(profiles, scenario, false)
}

fn by_variant_of<'a>(
    profiles: &'a [ProfileTrial],
    scenario: &str,
    of_allocations: bool,
) -> BTreeMap<&'a str, Vec<&'a Profiled>> {
    let mut sorted: Vec<&ProfileTrial> = profiles.iter().filter(|profile| profile.trial.scenario == scenario).collect();
    sorted.sort_by_key(|profile| profile.trial.block);
    let mut variants: BTreeMap<&str, Vec<&Profiled>> = BTreeMap::new();
    for profile in sorted {
        if let (true, Some(profiled)) = (profile.trial.succeeded(), &profile.profiled)
            && profiled.allocations.is_some() == of_allocations
        {
            variants.entry(&profile.trial.variant).or_default().push(profiled);
        }
    }
    variants
}

/// A share with its 95 % interval (Wilson 1927).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Samples.
    pub samples: u64,
    /// Of all.
    pub share: f64,
    /// Where the true share lies.
    pub ci: [f64; 2],
}

impl Share {
    /// `samples` of `total`.
    pub fn of(samples: u64, total: u64) -> Self {
        if total == 0 {
            return Self { samples, share: 0.0, ci: [0.0, 1.0] };
        }
        const Z: f64 = 1.959_964;
        let (n, share) = (total as f64, samples as f64 / total as f64);
        let spread = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
        let (center, scale) = (share + Z * Z / (2.0 * n), 1.0 + Z * Z / n);
        Self { samples, share, ci: [((center - spread) / scale).max(0.0), ((center + spread) / scale).min(1.0)] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_wilsons_interval() {
        // scipy.stats.binomtest(70, 100).proportion_ci(method="wilson")
        let share = Share::of(70, 100);
        assert!((share.ci[0] - 0.604_155).abs() < 1e-5 && (share.ci[1] - 0.781_054).abs() < 1e-5, "{share:?}");
        assert_eq!(Share::of(0, 0).ci, [0.0, 1.0]);
        let [low, high] = Share::of(0, 50).ci;
        assert!(low == 0.0 && high > 0.0 && high < 0.1);
    }
}
