//! One metric of two variants: its values by block, the evidence, the verdict and its reason.

use std::collections::BTreeMap;

use uplift_model::{
    Better, MetricClass, MetricSpec,
    run::PlannedScenario,
    scenario::Comparison,
    trial::TurnRecord,
    verdict::{Distribution, Estimate, MetricVerdict, Position, Verdict},
};

use super::stalls;
use crate::{
    BLOCKS_MIN, DEFAULT_MARGIN, FAMILY_ALPHA,
    correction::Corrected,
    deterministic_counter::SPREAD_MAX,
    estimate::{Location, mean, median, median_interval},
    evidence::{Evidence, Outcome},
    metrics,
    pairing::{Pair, kept, rounds, total_log_ratio, total_rate, typical_log_ratio, typical_log_ratio_of},
    power::{BLOCKS_MOST, Rule},
    proportion::{self, Count, Failures},
};

/// The power of the minimum detectable effect.
const POWER: f64 = 0.8;
/// The level of the interval that is shown beside each variant's median.
pub(crate) const MEDIAN_LEVEL: f64 = 0.95;
/// The margin of a proportion in points, for each per cent of a ratio's margin: success rates are near 1.
const POINTS: f64 = 0.1;
/// The failure rate that a scenario may have which does not say otherwise.
const ERROR_BUDGET: f64 = DEFAULT_MARGIN * POINTS;
/// A failure rate that is known to be within this factor of the other has not changed.
const FAILURE_FACTOR: f64 = 1.25;
/// The smallest change that a metric without a margin is thought to be asked about.
const CHANGE_MIN: f64 = 0.005;

/// A metric of both trials of a block, or why it is not available.
type BlockValues = (Result<f64, String>, Result<f64, String>);

/// What a difference of two values is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    /// ln(candidate / baseline).
    Log,
    /// (candidate − baseline) / the baseline's mean, where a value is 0 and has no logarithm.
    Relative,
    /// candidate − baseline: of proportions, and where the baseline has nothing that a change could be relative to.
    Difference,
}

/// One metric before correction.
pub(crate) struct MetricTest {
    pub(crate) spec: MetricSpec,
    pub(crate) primary: bool,
    baseline: Vec<f64>,
    candidate: Vec<f64>,
    absent: Option<String>,
    evidence: Option<Evidence>,
    typical: Option<Location>,
    distribution: Option<Distribution>,
    pub(crate) p: Option<f64>,
    margin: f64,
    scale: Scale,
    pub(crate) corrected: Option<Corrected>,
    failures: Option<Failures>,
    budget: f64,
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
            let both = set_aside_rate(&value.spec, pair).unwrap_or_else(|| (value.value.clone(), other));
            values.entry(value.spec.name.to_string()).or_default().push(both);
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

/// The throughput of a block of which rounds are set aside: what is shown is of the same rounds as its change.
fn set_aside_rate(spec: &MetricSpec, pair: &Pair<'_>) -> Option<BlockValues> {
    if spec.name != "throughput" || !pair.sets_aside {
        return None;
    }
    let rounds = rounds(pair);
    let none = || "every round was set aside".to_owned();
    let of = |rate: Option<f64>| rate.map(|rate| rate * 1e9).ok_or_else(none);
    Some((of(total_rate(rounds.iter().map(|round| round.0))), of(total_rate(rounds.iter().map(|round| round.1)))))
}

fn test(planned: &PlannedScenario, pairs: &[Pair<'_>], spec: MetricSpec, blocks: &[BlockValues]) -> MetricTest {
    // A tail is absent where a block has too few operations, which are those in which a variant was slow: to judge the others
    // would choose among the data.
    let has_gaps = blocks.iter().any(|(a, b)| a.is_err() || b.is_err());
    let withheld = has_gaps && ["_p99", "_p999"].iter().any(|tail| spec.name.ends_with(tail));
    let of_both = |(a, b): &BlockValues| Some((*a.as_ref().ok()?, *b.as_ref().ok()?)).filter(|_| !withheld);
    let both: Vec<(f64, f64)> = blocks.iter().filter_map(of_both).collect();
    let absent = blocks.iter().find_map(|(a, b)| a.as_ref().err().or(b.as_ref().err())).cloned();
    let is_throughput = spec.name == "throughput";
    let center = mean(&both.iter().map(|(a, _)| *a).collect::<Vec<_>>()).unwrap_or(0.0);
    // Leaving out blocks in which a value is 0 would choose among the data.
    let scale = if spec.class == MetricClass::Proportion || center <= 0.0 {
        Scale::Difference
    } else if both.iter().any(|(a, b)| *a <= 0.0 || *b <= 0.0) {
        Scale::Relative
    } else {
        Scale::Log
    };
    // The change of each block, and whether the candidate was started first in it.
    let ordered: Vec<(f64, bool)> = blocks
        .iter()
        .zip(pairs)
        .filter_map(|(block, pair)| {
            let (a, b) = of_both(block)?;
            let change = match scale {
                Scale::Log if is_throughput => total_log_ratio(pair)?,
                Scale::Log => (b / a).ln(),
                Scale::Relative => (b - a) / center,
                Scale::Difference => b - a,
            };
            Some((change, pair.candidate.position < pair.baseline.position))
        })
        .collect();
    let (changes, first): (Vec<f64>, Vec<bool>) = ordered.into_iter().unzip();
    let evidence = Evidence::of_ordered(&changes, &first);
    let failures = (spec.name == "success_rate").then(|| Failures::of(&counts(pairs)));
    let typical = (spec.class == MetricClass::Time && scale == Scale::Log).then(|| {
        let by_round: Vec<f64> = if is_throughput {
            pairs.iter().filter_map(typical_log_ratio).collect()
        } else {
            pairs.iter().filter_map(|pair| typical_log_ratio_of(pair, &spec.name)).collect()
        };
        // What no round has by itself is typical over blocks only.
        Location::typical(if by_round.len() == changes.len() { &by_round } else { &changes })
    });
    let p = match &failures {
        Some(failures) if blocks.len() >= BLOCKS_MIN => Some(failures.p()),
        Some(_) => None,
        // Where nothing is nothing in every block there is nothing to be tested, and no place of a family to be taken.
        None if both.iter().all(|(a, b)| *a == 0.0 && *b == 0.0) => None,
        None => evidence.as_ref().filter(|evidence| evidence.n() >= BLOCKS_MIN).map(Evidence::p),
    };
    // What only one side has cannot be compared, but it can be shown.
    let of_side = |pair: fn(&(f64, f64)) -> f64, alone: fn(&BlockValues) -> Option<f64>| -> Vec<f64> {
        if both.is_empty() { blocks.iter().filter_map(alone).collect() } else { both.iter().map(pair).collect() }
    };
    let budget = planned.scenario.expect.get("success_rate").filter(|bound| {
        !bound.relative
            && bound.limit < 1.0
            && matches!(bound.comparison, Comparison::GreaterOrEqual | Comparison::Greater)
    });
    MetricTest {
        primary: spec.name == planned.scenario.primary,
        baseline: of_side(|pair| pair.0, |block| block.0.clone().ok()),
        candidate: of_side(|pair| pair.1, |block| block.1.clone().ok()),
        absent: if both.is_empty() { absent } else { None },
        p,
        evidence,
        typical: typical.flatten(),
        distribution: if is_throughput { stalls::distribution(pairs) } else { None },
        margin: if spec.class == MetricClass::Counter { 0.0 } else { DEFAULT_MARGIN },
        scale,
        corrected: None,
        failures,
        budget: budget.map_or(ERROR_BUDGET, |bound| 1.0 - bound.limit),
        spec,
    }
}

/// Failed and attempted operations of each block.
fn counts(pairs: &[Pair<'_>]) -> Vec<[Count; 2]> {
    let of = |turns: &[TurnRecord]| {
        turns.iter().fold(Count::default(), |sum, turn| Count {
            failed: sum.failed + turn.failed,
            attempts: sum.attempts + turn.attempts,
        })
    };
    pairs.iter().map(|pair| [of(kept(pair.baseline)), of(kept(pair.candidate))]).collect()
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

    /// A change on the scale in which it is shown. No quantity here can fall by more than all of it.
    fn shown(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Log => value.exp_m1(),
            Scale::Relative => value.max(-1.0),
            Scale::Difference => value,
        }
    }

    /// Whether there is a change that can be shown: none from nothing to something.
    fn has_change(&self) -> bool {
        self.scale != Scale::Difference
            || self.spec.class == MetricClass::Proportion
            || self.baseline.iter().chain(&self.candidate).all(|value| *value == 0.0)
    }

    /// The verdict and its reason. `slack` is by how much the truth may lie below and above what was measured, beside
    /// chance.
    pub(super) fn decide(&self, share: f64, slack: [f64; 2]) -> (Verdict, String) {
        if let Some(reason) = &self.absent {
            return (Verdict::Inconclusive, format!("not available: {reason}"));
        }
        if self.spec.class == MetricClass::Info {
            return (Verdict::Inconclusive, "described, not judged".to_owned());
        }
        let blocks = self.baseline.len();
        if blocks < BLOCKS_MIN {
            return (
                Verdict::Inconclusive,
                format!("{blocks} blocks are fewer than the {BLOCKS_MIN} that a verdict needs"),
            );
        }
        let alpha = self.interval_alpha(share);
        if let Some(failures) = &self.failures {
            return self.decide_failures(failures, alpha);
        }
        let Some(evidence) = &self.evidence else {
            return (Verdict::Inconclusive, "the values have no ratio".to_owned());
        };
        if evidence.n() < BLOCKS_MIN {
            return (Verdict::Inconclusive, format!("only {} blocks have a ratio", evidence.n()));
        }
        if self.spec.class == MetricClass::Counter
            && self.baseline.iter().chain(&self.candidate).all(|value| *value == self.baseline[0])
        {
            return (Verdict::Unchanged, "equal in every block".to_owned());
        }
        // A counter has no margin for a change; that there is none is shown within the spread of a deterministic one.
        let margin = self.margin();
        let same = if self.spec.class == MetricClass::Counter { SPREAD_MAX } else { margin };
        let level = level_words(evidence.usable(alpha));
        match evidence.outcome(alpha, margin, same, slack) {
            Outcome::Changed { up, at_least_margin } => {
                let reason = match (margin > 0.0, at_least_margin) {
                    (true, true) => format!("the {level} interval lies beyond {}", self.margin_words()),
                    (true, false) => {
                        format!("the {level} interval excludes no change, not one of less than {}", self.margin_words())
                    }
                    (false, _) => format!("the {level} interval excludes no change"),
                };
                return (direction(self.spec.better, up), reason);
            }
            Outcome::Within => {
                let within = format!("the {level} interval lies within {}", self.words(same));
                return match self.typical.map(|typical| typical.interval(evidence.usable(alpha))) {
                    Some([low, high]) if low < -same || same < high => (
                        Verdict::Inconclusive,
                        format!("{within}, that of the typical change does not: the one may hide the other"),
                    ),
                    _ => (Verdict::Unchanged, within),
                };
            }
            Outcome::Open => {}
        }
        (Verdict::Inconclusive, self.remedy(evidence, alpha, share))
    }

    fn decide_failures(&self, failures: &Failures, alpha: f64) -> (Verdict, String) {
        let [baseline, candidate] = failures.totals;
        let tried = baseline.attempts.min(candidate.attempts);
        let budget = format!("{} % of attempts", short(self.budget * 100.0));
        if failures.failed() == 0 {
            let most = proportion::none_below(tried, alpha);
            let seen = format!(
                "0 of {} operations failed; the failure rate of either is below {most:.1e}",
                baseline.attempts + candidate.attempts
            );
            return if most <= self.budget {
                (Verdict::Unchanged, format!("{seen}, within the budget of {budget}"))
            } else {
                let wanted = proportion::tries_for(self.budget, alpha);
                (
                    Verdict::Inconclusive,
                    format!(
                        "{seen}, which is not within the budget of {budget}: {wanted} attempts of each would show it"
                    ),
                )
            };
        }
        let [low, high] = failures.ratio_interval(alpha);
        let [a, b] = failures.rates();
        let times =
            |ratio: f64| if ratio.is_finite() { format!("×{}", short(ratio)) } else { "any factor".to_owned() };
        let seen = format!(
            "{} of {} and {} of {} operations failed ({} interval of the ratio: {} to {})",
            baseline.failed,
            baseline.attempts,
            candidate.failed,
            candidate.attempts,
            level_words(alpha),
            times(low),
            times(high)
        );
        let within = |side| failures.at_most(side, alpha) <= self.budget;
        if (low > 1.0 && b > a * FAILURE_FACTOR) || (high < 1.0 && a > b * FAILURE_FACTOR) {
            (direction(self.spec.better, b < a), seen)
        } else if high <= FAILURE_FACTOR && low >= 1.0 / FAILURE_FACTOR {
            (Verdict::Unchanged, format!("{seen}, within ×{FAILURE_FACTOR}"))
        } else if within(0) && within(1) {
            (Verdict::Unchanged, format!("{seen}; both are within the budget of {budget}"))
        } else {
            (Verdict::Inconclusive, format!("{seen}: neither told apart nor both within the budget of {budget}"))
        }
    }

    /// The margin on the scale of the evidence.
    fn margin(&self) -> f64 {
        match (self.spec.class, self.scale) {
            (MetricClass::Proportion, _) => self.margin * POINTS,
            (_, Scale::Log) => self.margin.ln_1p(),
            // From nothing to something is a change of any size.
            (_, Scale::Difference) => 0.0,
            (_, Scale::Relative) => self.margin,
        }
    }

    fn margin_words(&self) -> String {
        if self.spec.class == MetricClass::Proportion {
            format!("±{:.2} points", self.margin * POINTS * 100.0)
        } else {
            self.words(self.margin)
        }
    }

    fn words(&self, margin: f64) -> String {
        match self.spec.class {
            MetricClass::Counter => format!("±{:.1} %", margin * 100.0),
            _ => format!("±{:.1} %", self.margin * 100.0),
        }
    }

    /// The rule that a number of blocks is checked against: without the share of this look, since a longer plan has its own.
    fn rule(&self, evidence: &Evidence, alpha: f64, share: f64) -> Rule {
        Rule { deviation: evidence.deviation(), alpha: alpha / share.max(f64::MIN_POSITIVE), margin: self.margin() }
    }

    /// Why it is open, and what would decide it.
    fn remedy(&self, evidence: &Evidence, alpha: f64, share: f64) -> String {
        let margin = self.margin();
        let why = match (evidence.excludes_zero(alpha), margin > 0.0) {
            (true, _) => {
                format!("something changed, but the interval does not say whether by more than {}", self.margin_words())
            }
            (false, true) => format!("the interval includes both 0 and changes larger than {}", self.margin_words()),
            (false, false) => "the interval includes 0, and a counter has no margin".to_owned(),
        };
        if self.scale == Scale::Difference {
            return why;
        }
        let rule = self.rule(evidence, alpha, share);
        let wanted = (2.0 * margin).max(CHANGE_MIN);
        let finds = rule.blocks(evidence.n(), POWER, |rule, n| rule.finds(n, wanted));
        let shows = rule.blocks(evidence.n(), POWER, Rule::shows_none).filter(|_| margin > 0.0);
        let size = format!("±{:.1} %", wanted.exp_m1() * 100.0);
        match (finds, shows) {
            (Some(blocks), None) => format!("{why}; about {blocks} blocks would find a change of {size} 8 times in 10"),
            (Some(blocks), Some(none)) => {
                format!(
                    "{why}; about {blocks} blocks would find a change of {size} 8 times in 10, about {none} would show that there is none"
                )
            }
            (None, _) => format!("{why}; it would need more than {BLOCKS_MOST} blocks"),
        }
    }

    /// The typical change beside the total, where both part by more than the margin: in words.
    fn parting(&self, center: f64) -> Option<String> {
        let typical = self.typical?;
        if (typical.center - center).abs() <= self.margin() || self.spec.class != MetricClass::Time {
            return None;
        }
        // From a doubling on as a factor, as everywhere.
        let percent = |value: f64| match value.exp() {
            factor if factor >= 2.0 => format!("×{factor:.2}"),
            factor => format!("{:+.1} %", (factor - 1.0) * 100.0),
        };
        let cause = match &self.distribution {
            Some(distribution) => stalls::cause(distribution, self.baseline.len(), center < typical.center),
            None => "a few blocks differ from the others".to_owned(),
        };
        Some(format!("typical {}, total {}: {cause}", percent(typical.center), percent(center)))
    }

    /// The verdict on it; `weaker` says how its durability is weaker, where it is.
    pub(crate) fn finish(&self, share: f64, weaker: Option<&str>) -> MetricVerdict {
        let (mut verdict, mut reason) = self.decide(share, [0.0; 2]);
        if verdict == Verdict::Improved
            && self.spec.class != MetricClass::Proportion
            && let Some(weaker) = weaker
        {
            verdict = Verdict::Incomparable;
            reason = format!("faster by weakening durability: {weaker}");
        }
        let alpha = self.interval_alpha(share);
        let evidence = self.evidence.as_ref().filter(|evidence| evidence.n() >= 2 && self.has_change());
        let enough = evidence.filter(|evidence| evidence.n() >= BLOCKS_MIN);
        let estimate = |values: &[f64]| {
            Some(Estimate {
                median: median(values)?,
                ci: median_interval(values, MEDIAN_LEVEL),
                n: u32::try_from(values.len()).unwrap_or(u32::MAX),
            })
        };
        let judged = enough.filter(|_| self.spec.class != MetricClass::Info);
        let typical = self.typical.filter(|_| judged.is_some());
        let position =
            judged.filter(|_| self.primary && self.scale == Scale::Log).and_then(|evidence| evidence.position);
        MetricVerdict {
            metric: self.spec.name.to_string(),
            unit: self.spec.unit,
            better: self.spec.better,
            class: self.spec.class,
            primary: self.primary,
            about: self.spec.about.to_string(),
            baseline: estimate(&self.baseline),
            candidate: estimate(&self.candidate),
            change: match &self.failures {
                Some(failures) if !self.baseline.is_empty() => Some(failures.rates()[0] - failures.rates()[1]),
                _ => evidence.map(|evidence| self.shown(evidence.location.center)),
            },
            ci: enough.map(|evidence| match &self.failures {
                Some(failures) => failures.difference_interval(alpha),
                None => evidence.interval(alpha).map(|end| self.shown(end)),
            }),
            p: self.p,
            minimum_detectable: judged
                .filter(|evidence| self.failures.is_none() && evidence.deviation() > 0.0)
                .map(|evidence| self.shown(self.rule(evidence, alpha, share).minimum_detectable(evidence.n(), POWER))),
            typical: typical.map(|typical| typical.center.exp_m1()),
            typical_ci: typical
                .zip(judged)
                .map(|(typical, evidence)| typical.interval(evidence.usable(alpha)).map(f64::exp_m1)),
            parting: judged.and_then(|evidence| self.parting(evidence.location.center)),
            distribution: self.distribution.clone().filter(|_| judged.is_some()),
            position: position.zip(judged).map(|(position, evidence)| Position {
                change: position.center.exp_m1(),
                ci: position.interval(evidence.usable(alpha)).map(f64::exp_m1),
            }),
            corrected_for_stop: None,
            verdict,
            reason,
        }
    }

    /// The change corrected for a stop at the look that found it.
    pub(crate) fn corrected_for_stop(&self, share: f64) -> Option<f64> {
        let evidence = self.evidence.as_ref().filter(|_| self.scale == Scale::Log && self.failures.is_none())?;
        Some(self.shown(evidence.corrected_for_stop(self.interval_alpha(share), self.margin())))
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

/// Three significant digits at most.
fn short(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 1.0 {
        1
    } else {
        3
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
