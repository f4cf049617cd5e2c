//! One metric of two variants: its values by block, the evidence, the verdict and its reason.

use std::collections::BTreeMap;

use uplift_model::{
    Better, MetricClass, MetricSpec,
    run::PlannedScenario,
    verdict::{Estimate, MetricVerdict, Verdict},
};

use crate::{
    BLOCKS_MIN, DEFAULT_MARGIN, FAMILY_ALPHA,
    correction::Corrected,
    deterministic_counter::{self, Strict},
    estimate::{mean, median, median_interval},
    evidence::Evidence,
    metrics,
    pairing::{Pair, kept, ratio_log_ratio, throughput_log_ratio},
    proportion,
    rank::hodges_lehmann,
};

/// The power of the minimum detectable effect.
const POWER: f64 = 0.8;
/// The level of the interval that is shown beside each variant's median.
pub(crate) const MEDIAN_LEVEL: f64 = 0.95;
/// The margin of a proportion in points, for each per cent of a ratio's margin: success rates are near 1.
const POINTS: f64 = 0.1;
/// The smallest change that a metric without a margin is thought to be asked about, and that of a proportion in points.
const CHANGE_MIN: f64 = 0.005;
const POINTS_MIN: f64 = 0.0005;

/// A metric of both trials of a block, or why it is not available.
type BlockValues = (Result<f64, String>, Result<f64, String>);

/// Failed and attempted operations of both variants.
#[derive(Clone, Copy)]
struct Attempts {
    failed: u64,
    baseline: u64,
    candidate: u64,
}

impl Attempts {
    fn of(pairs: &[Pair<'_>]) -> Self {
        let mut attempts = Self { failed: 0, baseline: 0, candidate: 0 };
        for pair in pairs {
            for turn in kept(pair.baseline) {
                attempts.failed += turn.failed;
                attempts.baseline += turn.attempts;
            }
            for turn in kept(pair.candidate) {
                attempts.failed += turn.failed;
                attempts.candidate += turn.attempts;
            }
        }
        attempts
    }
}

/// One metric before correction.
pub(crate) struct MetricTest {
    pub(crate) spec: MetricSpec,
    pub(crate) primary: bool,
    baseline: Vec<f64>,
    candidate: Vec<f64>,
    absent: Option<String>,
    evidence: Option<Evidence>,
    check: Option<f64>,
    pub(crate) p: Option<f64>,
    margin: f64,
    linear: bool,
    pub(crate) corrected: Option<Corrected>,
    attempts: Option<Attempts>,
}

/// Every metric of the pairs, in the order of the records.
pub(crate) fn tests(planned: &PlannedScenario, pairs: &[Pair<'_>]) -> Vec<MetricTest> {
    let mut order: Vec<MetricSpec> = Vec::new();
    let mut values: BTreeMap<String, Vec<BlockValues>> = BTreeMap::new();
    for pair in pairs {
        let baseline = metrics::of_trial(pair.baseline, planned);
        let candidate = metrics::of_trial(pair.candidate, planned);
        for value in &baseline {
            let other = candidate
                .iter()
                .find(|other| other.spec.name == value.spec.name)
                .map_or_else(|| Err("the candidate has no such metric".to_owned()), |other| other.value.clone());
            if !order.iter().any(|spec| spec.name == value.spec.name) {
                order.push(value.spec.clone());
            }
            values.entry(value.spec.name.to_string()).or_default().push((value.value.clone(), other));
        }
    }
    order
        .into_iter()
        .map(|spec| {
            let blocks = values.remove(spec.name.as_ref()).unwrap_or_default();
            test(planned, pairs, spec, &blocks)
        })
        .collect()
}

fn test(planned: &PlannedScenario, pairs: &[Pair<'_>], spec: MetricSpec, blocks: &[BlockValues]) -> MetricTest {
    let both: Vec<(f64, f64)> =
        blocks.iter().filter_map(|(a, b)| Some((*a.as_ref().ok()?, *b.as_ref().ok()?))).collect();
    let absent = blocks.iter().find_map(|(a, b)| a.as_ref().err().or(b.as_ref().err())).cloned();
    let primary = spec.name == planned.scenario.primary;
    let known = planned.calibration.as_ref().and_then(|calibration| calibration.margin(&spec.name));
    let margin = match spec.class {
        MetricClass::Counter => 0.0,
        MetricClass::Proportion => DEFAULT_MARGIN,
        MetricClass::Time | MetricClass::Info => known.unwrap_or(DEFAULT_MARGIN),
    };
    let mut attempts = None;
    // Where a value is 0 the ratio has no logarithm, and leaving such blocks out would choose among the data: the
    // differences are then taken relative to the baseline's mean.
    let center = mean(&both.iter().map(|(a, _)| *a).collect::<Vec<_>>()).unwrap_or(0.0);
    let linear = spec.class == MetricClass::Proportion || both.iter().any(|(a, b)| *a <= 0.0 || *b <= 0.0);
    let (evidence, check) = if spec.class == MetricClass::Proportion {
        // Other proportions are not of attempts that failed.
        attempts = (spec.name == "success_rate").then(|| Attempts::of(pairs));
        (proportion::difference(&both).map(Evidence::of_mean), None)
    } else {
        let by_round: Vec<f64> = match spec.class {
            MetricClass::Time if !linear => pairs.iter().filter_map(|pair| ratio_log_ratio(pair, &spec.name)).collect(),
            _ => Vec::new(),
        };
        let changes: Vec<f64> = match (linear, spec.name == "throughput") {
            // A time that each round has by itself is paired within rounds, as throughput is.
            (false, false) if !by_round.is_empty() && by_round.len() == both.len() => by_round,
            (false, true) => pairs.iter().filter_map(throughput_log_ratio).collect(),
            (false, false) => both.iter().map(|(a, b)| (b / a).ln()).collect(),
            (true, _) if center > 0.0 => both.iter().map(|(a, b)| (b - a) / center).collect(),
            (true, _) => Vec::new(),
        };
        (Evidence::of(&changes), hodges_lehmann(&changes))
    };
    // What only one side has cannot be compared, but it can be shown.
    let of_side = |pair: fn(&(f64, f64)) -> f64, alone: fn(&BlockValues) -> Option<f64>| -> Vec<f64> {
        if both.is_empty() { blocks.iter().filter_map(alone).collect() } else { both.iter().map(pair).collect() }
    };
    MetricTest {
        primary,
        baseline: of_side(|pair| pair.0, |block| block.0.clone().ok()),
        candidate: of_side(|pair| pair.1, |block| block.1.clone().ok()),
        absent: if both.is_empty() { absent } else { None },
        p: evidence.as_ref().filter(|evidence| evidence.n() >= BLOCKS_MIN).map(Evidence::p),
        evidence,
        check,
        margin,
        linear,
        corrected: None,
        attempts,
        spec,
    }
}

impl MetricTest {
    /// The p value as if the whole error probability had been kept for this look.
    pub(crate) fn spent_p(&self, share: f64) -> f64 {
        self.p.map_or(1.0, |p| (p / share.max(f64::MIN_POSITIVE)).min(1.0))
    }

    /// The error probability at which the interval is shown.
    fn interval_alpha(&self, share: f64) -> f64 {
        self.corrected.map_or(FAMILY_ALPHA, |corrected| corrected.alpha) * share
    }

    fn is_ratio(&self) -> bool {
        self.spec.class != MetricClass::Proportion
    }

    /// A change on the scale in which it is shown. No quantity here can fall by more than all of it.
    fn shown(&self, value: f64) -> f64 {
        match (self.linear, self.is_ratio()) {
            (true, true) => value.max(-1.0),
            (true, false) => value,
            (false, _) => value.exp_m1(),
        }
    }

    /// The verdict and its reason.
    pub(super) fn decide(&self, share: f64) -> (Verdict, String) {
        if let Some(reason) = &self.absent {
            return (Verdict::Inconclusive, format!("not available: {reason}"));
        }
        if self.spec.class == MetricClass::Info {
            return (Verdict::Inconclusive, "described, not judged".to_owned());
        }
        if let Some(Attempts { failed: 0, baseline, candidate }) = self.attempts {
            let tried = baseline + candidate;
            return (
                Verdict::Unchanged,
                format!(
                    "0 of {tried} operations failed; the failure rate is below {:.1e} (rule of three)",
                    proportion::rule_of_three(tried)
                ),
            );
        }
        if self.baseline.len() < BLOCKS_MIN {
            return (
                Verdict::Inconclusive,
                format!("{} blocks are fewer than the {BLOCKS_MIN} that a verdict needs", self.baseline.len()),
            );
        }
        if self.spec.class == MetricClass::Counter {
            match deterministic_counter::compare(&self.baseline, &self.candidate) {
                Strict::Same => {
                    return (Verdict::Unchanged, "a near-deterministic counter with equal values".to_owned());
                }
                Strict::Differ(change) if self.is_beyond_chance(share) => {
                    let up = change.is_none_or(|change| change > 0.0);
                    return (
                        direction(self.spec.better, up),
                        "a near-deterministic counter with other values".to_owned(),
                    );
                }
                Strict::Differ(_) | Strict::NotStrict => {}
            }
        }
        let Some(evidence) = &self.evidence else {
            return (Verdict::Inconclusive, "the values have no ratio".to_owned());
        };
        if evidence.n() < BLOCKS_MIN {
            return (Verdict::Inconclusive, format!("only {} blocks have a ratio", evidence.n()));
        }
        let alpha = self.interval_alpha(share);
        let [low, high] = evidence.interval(alpha);
        let margin = self.margin();
        let center = evidence.location.center;
        if evidence.excludes_zero(alpha) && center.abs() > margin {
            if self.check.is_some_and(|check| check * center < 0.0) {
                return (
                    Verdict::Inconclusive,
                    "the trimmed mean and the Hodges–Lehmann estimate disagree in direction".to_owned(),
                );
            }
            let level = format!("the {} interval excludes no change", level_words(evidence.usable(alpha)));
            return (direction(self.spec.better, center > 0.0), level);
        }
        if -margin <= low && high <= margin && margin > 0.0 {
            let level = level_words(evidence.usable(alpha));
            return (Verdict::Unchanged, format!("the {level} interval lies within {}", self.margin_words()));
        }
        (Verdict::Inconclusive, self.remedy(evidence, alpha))
    }

    /// Whether values of a near-deterministic counter lie apart for a reason. Ranges of counters that vary at all lie
    /// apart by chance in one of 126 comparisons of five blocks, and there are several counters in a report; those that
    /// do not vary have an interval of no width.
    fn is_beyond_chance(&self, share: f64) -> bool {
        self.evidence.as_ref().is_none_or(|evidence| evidence.excludes_zero(self.interval_alpha(share)))
    }

    /// The margin on the scale of the evidence.
    fn margin(&self) -> f64 {
        match (self.is_ratio(), self.linear) {
            (true, false) => self.margin.ln_1p(),
            (true, true) => self.margin,
            (false, _) => self.margin * POINTS,
        }
    }

    fn margin_words(&self) -> String {
        if self.is_ratio() {
            format!("±{:.1} %", self.margin * 100.0)
        } else {
            format!("±{:.2} points", self.margin * POINTS * 100.0)
        }
    }

    /// Why it is open, and what would decide it.
    fn remedy(&self, evidence: &Evidence, alpha: f64) -> String {
        let margin = self.margin();
        let why = match (evidence.excludes_zero(alpha), margin > 0.0) {
            (true, _) => {
                format!("something changed, but the interval does not say whether by more than {}", self.margin_words())
            }
            (false, true) => format!("the interval includes both 0 and changes larger than {}", self.margin_words()),
            (false, false) => "the interval includes 0, and a counter has no margin".to_owned(),
        };
        let wanted = margin.max(if self.is_ratio() { CHANGE_MIN } else { POINTS_MIN });
        match evidence.blocks_to_detect(wanted, alpha, POWER) {
            Some(blocks) if blocks > evidence.n() => format!("{why}; about {blocks} blocks would decide it"),
            Some(_) => why,
            None => format!("{why}; it would need more than 10,000 blocks"),
        }
    }

    /// The verdict on it; `weaker` says how its durability is weaker, where it is.
    pub(crate) fn finish(&self, share: f64, weaker: Option<&str>) -> MetricVerdict {
        let (mut verdict, mut reason) = self.decide(share);
        if verdict == Verdict::Improved
            && self.spec.class != MetricClass::Proportion
            && let Some(weaker) = weaker
        {
            verdict = Verdict::Incomparable;
            reason = format!("faster by weakening durability: {weaker}");
        }
        let alpha = self.interval_alpha(share);
        let evidence = self.evidence.as_ref().filter(|evidence| evidence.n() >= 2);
        let estimate = |values: &[f64]| {
            Some(Estimate {
                median: median(values)?,
                ci: median_interval(values, MEDIAN_LEVEL),
                n: u32::try_from(values.len()).unwrap_or(u32::MAX),
            })
        };
        let zero_ratio = || {
            // Counters that are 0 have no logarithm: where nothing is nothing on both sides, nothing changed.
            let (a, b) = (mean(&self.baseline)?, mean(&self.candidate)?);
            (a == b && self.absent.is_none()).then_some(0.0)
        };
        MetricVerdict {
            metric: self.spec.name.to_string(),
            unit: self.spec.unit,
            better: self.spec.better,
            class: self.spec.class,
            primary: self.primary,
            about: self.spec.about.to_string(),
            baseline: estimate(&self.baseline),
            candidate: estimate(&self.candidate),
            change: evidence.map(|evidence| self.shown(evidence.location.center)).or_else(zero_ratio),
            ci: evidence.filter(|evidence| evidence.n() >= BLOCKS_MIN).map(|evidence| match self.attempts {
                // Values that are all 1 have no spread, but are no proof that nothing ever fails.
                Some(Attempts { failed: 0, baseline, candidate }) => {
                    [-proportion::none_below(candidate, alpha), proportion::none_below(baseline, alpha)]
                }
                _ => evidence.interval(alpha).map(|end| self.shown(end)),
            }),
            p: self.p,
            minimum_detectable: evidence
                .filter(|evidence| evidence.n() >= BLOCKS_MIN && self.spec.class != MetricClass::Info)
                .filter(|_| self.attempts.is_none_or(|attempts| attempts.failed > 0))
                .map(|evidence| self.shown(evidence.location.minimum_detectable(evidence.usable(alpha), POWER))),
            verdict,
            reason,
        }
    }
}

pub(crate) fn direction(better: Better, up: bool) -> Verdict {
    match (better, up) {
        (Better::Higher, true) | (Better::Lower, false) => Verdict::Improved,
        (Better::Higher, false) | (Better::Lower, true) => Verdict::Regressed,
        (Better::Neither, _) => Verdict::Inconclusive,
    }
}

fn level_words(alpha: f64) -> String {
    let level = (1.0 - alpha) * 100.0;
    if level > 99.99 { ">99.99 %".to_owned() } else { format!("{level:.2} %") }
}
