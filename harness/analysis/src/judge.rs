//! From the records of a run to its verdicts.

use std::collections::BTreeMap;

use uplift_model::{
    Better, Histogram, MetricSpec, Tier, Trial, Verdicts,
    run::{Intent, PlannedScenario, Run, RunState},
    scenario::Interleave,
    trial::{FailureKind, TrialOutcome},
    verdict::{
        Estimate, ExpectationVerdict, MetricVerdict, Parity, ScenarioVerdict, SettingRow, SettingValue, Status,
        VERDICTS_SCHEMA, Verdict,
    },
};

use crate::{
    BLOCKS_MIN, DEFAULT_MARGIN, FAMILY_ALPHA, claims,
    correction::{Corrected, holm},
    estimate::{mean, median, median_interval},
    evidence::Evidence,
    ledger::ledger,
    metrics,
    pairing::{Pair, pairs, throughput_log_ratio},
    proportion,
    rank::hodges_lehmann,
    settings,
    spending::{is_look, share_at},
    strict::{self, Strict},
};

/// The power of the minimum detectable effect.
const POWER: f64 = 0.8;
/// The level of the interval that is shown beside each variant's median.
pub(crate) const MEDIAN_LEVEL: f64 = 0.95;
/// A difference between the ratio of totals and the median over rounds above which it is said.
const STALL_GAP: f64 = 0.05;

/// The verdicts of a run; `None` where it compares nothing. Those of a ledger are of its last step against its first.
pub fn judge(run: &Run, trials: &[Trial]) -> Option<Verdicts> {
    match &run.intent {
        Intent::Compare { baseline, candidate } => Some(judge_pair(run, trials, baseline, candidate)),
        Intent::Calibrate { variant } => Some(judge_pair(run, trials, variant, variant)),
        Intent::Ledger { steps } => {
            let (first, last) = (steps.first()?, steps.last()?);
            let mut verdicts = judge_pair(run, trials, first, last);
            for (verdict, planned) in verdicts.scenarios.iter_mut().zip(&run.scenarios) {
                verdict.ledger = ledger(planned, trials);
            }
            Some(verdicts)
        }
        _ => None,
    }
}

/// The verdicts of one pair of variants over all scenarios of a run.
pub fn judge_pair(run: &Run, trials: &[Trial], baseline: &str, candidate: &str) -> Verdicts {
    let mut drafts: Vec<Draft> =
        run.scenarios.iter().map(|planned| draft(run, planned, trials, baseline, candidate)).collect();

    // Primary metrics of the whole report are one family.
    let primaries: Vec<(usize, usize)> = drafts
        .iter()
        .enumerate()
        .flat_map(|(s, draft)| {
            draft
                .tests
                .iter()
                .enumerate()
                .filter(|(_, test)| test.primary && test.p.is_some())
                .map(move |(t, _)| (s, t))
        })
        .collect();
    let p: Vec<f64> = primaries.iter().map(|&(s, t)| drafts[s].tests[t].spent_p(drafts[s].share)).collect();
    for (&(s, t), corrected) in primaries.iter().zip(holm(&p, FAMILY_ALPHA)) {
        drafts[s].tests[t].corrected = Some(corrected);
    }
    // Secondary metrics are a family of their own in each scenario.
    for draft in &mut drafts {
        let share = draft.share;
        let members: Vec<usize> = draft
            .tests
            .iter()
            .enumerate()
            .filter(|(_, test)| !test.primary && test.p.is_some() && test.spec.tier != Tier::Info)
            .map(|(index, _)| index)
            .collect();
        let p: Vec<f64> = members.iter().map(|&index| draft.tests[index].spent_p(share)).collect();
        for (&index, corrected) in members.iter().zip(holm(&p, FAMILY_ALPHA)) {
            draft.tests[index].corrected = Some(corrected);
        }
    }

    let mut notes = Vec::new();
    if run.state == RunState::Interrupted {
        notes.push("the run was interrupted: this is what was measured until then".to_owned());
    }
    notes.extend(run.warnings.iter().cloned());
    Verdicts {
        schema: VERDICTS_SCHEMA,
        baseline: baseline.to_owned(),
        candidate: candidate.to_owned(),
        scenarios: drafts.into_iter().map(|draft| draft.finish(baseline, candidate)).collect(),
        notes,
    }
}

/// What a look at a scenario under way shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Nobody looks at this number of blocks, or it is not decided.
    Open,
    /// The primary metric is decided.
    Decided(Verdict),
}

/// Looks at a scenario after a block. `comparisons` is how many primary metrics the report will have; until the end
/// each may use no more than its equal part of the error, so that Holm's procedure can only agree.
pub fn decided(
    planned: &PlannedScenario,
    trials: &[Trial],
    baseline: &str,
    candidate: &str,
    blocks_max: u32,
    comparisons: usize,
) -> Decision {
    let pairs = pairs(trials, &planned.scenario.name, baseline, candidate);
    let blocks = pairs.len() as u32;
    if pairs.len() < BLOCKS_MIN || !is_look(blocks, blocks_max) {
        return Decision::Open;
    }
    let share = share_at(blocks, blocks_max, false);
    let Some(mut test) = tests(planned, &pairs).into_iter().find(|test| test.primary) else { return Decision::Open };
    let alpha = FAMILY_ALPHA / comparisons.max(1) as f64;
    let p = test.spent_p(share);
    test.corrected = Some(Corrected { p, alpha });
    match test.decide(share).0 {
        verdict @ (Verdict::Improved | Verdict::Regressed | Verdict::Unchanged) => Decision::Decided(verdict),
        _ => Decision::Open,
    }
}

/// One scenario before correction.
struct Draft {
    verdict: ScenarioVerdict,
    tests: Vec<Test>,
    share: f64,
    planned: PlannedScenario,
}

/// A metric of both trials of a block, or why it could not be had.
type BlockValues = (Result<f64, String>, Result<f64, String>);

/// One metric before correction.
pub(crate) struct Test {
    spec: MetricSpec,
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
    failures: Option<(u64, u64)>,
}

fn draft(run: &Run, planned: &PlannedScenario, trials: &[Trial], baseline: &str, candidate: &str) -> Draft {
    let scenario = &planned.scenario;
    let pairs = pairs(trials, &scenario.name, baseline, candidate);
    let blocks = pairs.len() as u32;
    // A run with a fixed number of blocks looks once, at its end.
    let share = match (planned.blocks, planned.blocks_max) {
        (Some(_), _) | (_, None) => 1.0,
        (None, Some(blocks_max)) => share_at(blocks, blocks_max, !planned.decided_early),
    };
    let mut verdict = ScenarioVerdict {
        name: scenario.name.clone(),
        status: Status::Compared,
        reason: None,
        blocks,
        durability: Parity::Unknown,
        durability_reason: None,
        settings: Vec::new(),
        ceiling: None,
        metrics: Vec::new(),
        claims: Vec::new(),
        expectations: Vec::new(),
        ledger: None,
        stopped: planned.stopped.clone(),
        notes: Vec::new(),
    };
    describe_settings(&mut verdict, planned, trials, baseline, candidate);
    judge_status(&mut verdict, planned, trials, &pairs, [baseline, candidate]);
    note_calibration(&mut verdict, run, planned);
    note_conditions(&mut verdict, &pairs);
    verdict.expectations = expectations(planned, trials, [baseline, candidate]);
    Draft { verdict, tests: tests(planned, &pairs), share, planned: planned.clone() }
}

fn describe_settings(
    verdict: &mut ScenarioVerdict,
    planned: &PlannedScenario,
    trials: &[Trial],
    baseline: &str,
    candidate: &str,
) {
    let first = |variant: &str| {
        trials
            .iter()
            .filter(|trial| trial.scenario == planned.scenario.name && trial.variant == variant)
            .find_map(|trial| trial.measured.as_ref())
    };
    let (a, b) = (first(baseline), first(candidate));
    let empty = uplift_model::Table::new();
    let requested = |name: &str| planned.scenario.variant(name).map_or(&empty, |variant| &variant.settings);
    verdict.settings = settings::rows(
        [requested(baseline), requested(candidate)],
        [a.map(|measured| &measured.effective), b.map(|measured| &measured.effective)],
    );
    if !same_launch(planned) {
        let launcher = |name: &str| SettingValue { requested: None, effective: planned.launchers.get(name).cloned() };
        verdict.settings.push(SettingRow {
            key: "launcher".to_owned(),
            baseline: launcher(baseline),
            candidate: launcher(candidate),
        });
    }
    verdict.ceiling = a.and_then(|measured| measured.ceiling.clone()).or_else(|| b.and_then(|m| m.ceiling.clone()));
    if let (Some(a), Some(b)) = (a, b) {
        (verdict.durability, verdict.durability_reason) = settings::parity(a.durability, b.durability);
    }
}

fn judge_status(
    verdict: &mut ScenarioVerdict,
    planned: &PlannedScenario,
    trials: &[Trial],
    pairs: &[Pair<'_>],
    variants: [&str; 2],
) {
    let mut failures: BTreeMap<(&str, FailureKind), (u32, &str)> = BTreeMap::new();
    let mut attempted = 0;
    for trial in trials.iter().filter(|trial| trial.scenario == planned.scenario.name) {
        attempted += 1;
        if let TrialOutcome::Failed(failure) = &trial.outcome
            // Why a scenario was skipped is its reason.
            && !matches!(failure.kind, FailureKind::Interrupted | FailureKind::Unavailable)
        {
            failures.entry((&trial.variant, failure.kind)).or_insert((0, &failure.message)).0 += 1;
        }
    }
    for ((variant, _), (count, message)) in &failures {
        verdict.notes.push(format!("{count} of {attempted} trials failed, with `{variant}`: {message}"));
    }
    let wrong = failures.iter().find(|((_, kind), _)| *kind == FailureKind::Check);
    if let Some(reason) = &planned.skipped {
        verdict.status = Status::Skipped;
        verdict.reason = Some(reason.clone());
    } else if let Some(((variant, _), (count, message))) = wrong {
        verdict.status = Status::Incomparable;
        verdict.reason = Some(format!("`{variant}` failed its correctness check in {count} trials: {message}"));
    } else if pairs.is_empty() {
        verdict.status = Status::Failed;
        verdict.reason = Some(failures.iter().next().map_or_else(
            || "no block was measured".to_owned(),
            |((variant, _), (_, message))| format!("`{variant}` failed: {message}"),
        ));
    } else if settings::differ_only_on_paper(&verdict.settings) && planned.binaries.is_empty() && same_launch(planned) {
        verdict.status = Status::Incomparable;
        verdict.reason = Some(format!(
            "`{}` and `{}` differ in nothing that is in force: what was asked for differently was ignored or has no effect; see the settings table, and ask for something that the target accepts",
            variants[0], variants[1]
        ));
    } else if planned.scenario.trial.interleave == Interleave::Turns
        && let Some(reason) = not_idle(pairs)
    {
        verdict.status = Status::Incomparable;
        verdict.reason = Some(reason);
    }
}

fn same_launch(planned: &PlannedScenario) -> bool {
    let mut names = planned.launchers.values();
    let first = names.next();
    names.all(|name| Some(name) == first)
}

/// Whether a resident variant worked while the other was measured, in most blocks.
fn not_idle(pairs: &[Pair<'_>]) -> Option<String> {
    for side in [|pair: &Pair<'_>| pair.baseline.clone(), |pair: &Pair<'_>| pair.candidate.clone()] {
        let trials: Vec<Trial> = pairs.iter().map(side).collect();
        let idle: Vec<_> =
            trials.iter().filter_map(|trial| trial.measured.as_ref().map(|measured| measured.idle)).collect();
        let shares: Vec<f64> = idle.iter().filter_map(uplift_model::trial::Idle::cpu_share).collect();
        let share = median(&shares).unwrap_or(0.0);
        let syncing = idle.iter().filter(|idle| idle.synced()).count();
        let remedy = "let the target's quiesce stop its background work, or measure with `interleave = \"trials\"`";
        if share >= uplift_model::trial::IDLE_CPU_SHARE_MAX {
            return Some(format!(
                "`{}` used {:.1} % of a core while it should have been idle (the rule: under 2 %), so it disturbed the other variant; {remedy}",
                trials[0].variant,
                share * 100.0
            ));
        }
        if 2 * syncing > idle.len() {
            return Some(format!(
                "`{}` made sync calls while it should have been idle, in {syncing} of {} blocks, so it disturbed the other variant; {remedy}",
                trials[0].variant,
                idle.len()
            ));
        }
    }
    None
}

/// What the margins are from, and how old that is.
fn note_calibration(verdict: &mut ScenarioVerdict, run: &Run, planned: &PlannedScenario) {
    let Some(calibration) = &planned.calibration else { return };
    let hours = run.started_unix_s.saturating_sub(calibration.measured_unix_s) as f64 / 3600.0;
    let age = if hours < 48.0 { format!("{hours:.1} hours") } else { format!("{:.0} days", hours / 24.0) };
    let Some(noise) = calibration.noise.get(&calibration.primary) else { return };
    verdict.notes.push(format!(
        "calibrated {age} before this run ({} blocks of `{}` against itself, run {}): copies differed by up to {:.1} % in {}, which sets its margin to {:.1} %; margins of other times follow in the same way",
        calibration.blocks,
        calibration.variant,
        calibration.run,
        noise.floor * 100.0,
        calibration.primary,
        calibration.margin(&calibration.primary).unwrap_or(DEFAULT_MARGIN) * 100.0,
    ));
}

fn note_conditions(verdict: &mut ScenarioVerdict, pairs: &[Pair<'_>]) {
    let totals = |pair: &Pair<'_>| -> Option<f64> {
        let rate = |trial: &Trial| {
            let turns = crate::pairing::kept(trial);
            let (ok, ns) = turns.iter().fold((0, 0), |(ok, ns), turn| (ok + turn.ok, ns + turn.wall_ns));
            (ok > 0 && ns > 0).then(|| ok as f64 / ns as f64)
        };
        Some((rate(pair.candidate)? / rate(pair.baseline)?).ln())
    };
    let rounds: Vec<f64> = pairs.iter().filter_map(throughput_log_ratio).collect();
    let whole: Vec<f64> = pairs.iter().filter_map(totals).collect();
    if let (Some(rounds), Some(whole)) = (median(&rounds), median(&whole))
        && (whole - rounds).abs() > STALL_GAP
    {
        verdict.notes.push(format!(
            "over whole blocks the throughput changed by {:+.1} %, in the median round by {:+.1} %: the variants stall differently",
            whole.exp_m1() * 100.0,
            rounds.exp_m1() * 100.0
        ));
    }
    let mut steal: Vec<f64> = pairs.iter().filter_map(|pair| pair.candidate.sentinels.steal_share).collect();
    let mut foreign: Vec<f64> = pairs.iter().filter_map(|pair| pair.candidate.sentinels.foreign_cpu_share).collect();
    for (shares, what) in [(&mut steal, "stolen by the hypervisor"), (&mut foreign, "used by other processes")] {
        let disturbed = shares.iter().filter(|share| **share > 0.1).count();
        if disturbed > 0 {
            verdict.notes.push(format!(
                "in {disturbed} of {} blocks more than 10 % of the machine's processor time was {what}",
                shares.len()
            ));
        }
    }
    let unsent: u64 = pairs
        .iter()
        .flat_map(|pair| [pair.baseline, pair.candidate])
        .flat_map(crate::pairing::kept)
        .map(|turn| turn.unsent)
        .sum();
    if unsent > 0 {
        verdict.notes.push(format!(
            "{unsent} arrivals of the open load could not be sent before their turn was given up: the rate is beyond what the system sustains"
        ));
    }
}

fn expectations(planned: &PlannedScenario, trials: &[Trial], variants: [&str; 2]) -> Vec<ExpectationVerdict> {
    let mut verdicts = Vec::new();
    if planned.skipped.is_some() {
        return verdicts;
    }
    for (metric, bound) in planned.scenario.expect.iter().filter(|(_, bound)| !bound.relative) {
        let mut seen = Vec::new();
        for variant in variants {
            if seen.contains(&variant) {
                continue;
            }
            seen.push(variant);
            let values: Vec<f64> = trials
                .iter()
                .filter(|trial| {
                    trial.scenario == planned.scenario.name && trial.variant == variant && trial.succeeded()
                })
                .filter_map(|trial| metrics::named(trial, planned, metric)?.value.ok())
                .collect();
            let value = median(&values);
            verdicts.push(ExpectationVerdict {
                metric: metric.clone(),
                rule: bound.to_string(),
                variant: variant.to_owned(),
                value,
                held: value.is_some_and(|value| bound.holds(value)),
            });
        }
    }
    verdicts
}

/// Every metric of the pairs, in the order of the records.
pub(crate) fn tests(planned: &PlannedScenario, pairs: &[Pair<'_>]) -> Vec<Test> {
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

fn test(planned: &PlannedScenario, pairs: &[Pair<'_>], spec: MetricSpec, blocks: &[BlockValues]) -> Test {
    let both: Vec<(f64, f64)> =
        blocks.iter().filter_map(|(a, b)| Some((*a.as_ref().ok()?, *b.as_ref().ok()?))).collect();
    let absent = blocks.iter().find_map(|(a, b)| a.as_ref().err().or(b.as_ref().err())).cloned();
    let primary = spec.name == planned.scenario.primary;
    let known = planned.calibration.as_ref().and_then(|calibration| calibration.margin(&spec.name));
    let margin = match spec.tier {
        Tier::Counter => 0.0,
        Tier::Proportion => DEFAULT_MARGIN,
        Tier::Time | Tier::Info => known.unwrap_or(DEFAULT_MARGIN),
    };
    let mut failures = None;
    // Where a value is 0 the ratio has no logarithm, and leaving such blocks out would choose among the data: the
    // differences are then taken relative to the baseline's mean.
    let center = mean(&both.iter().map(|(a, _)| *a).collect::<Vec<_>>()).unwrap_or(0.0);
    let linear = spec.tier == Tier::Proportion || both.iter().any(|(a, b)| *a <= 0.0 || *b <= 0.0);
    let (evidence, check) = if spec.tier == Tier::Proportion {
        let failed = |trial: &Trial| -> u64 { crate::pairing::kept(trial).iter().map(|turn| turn.failed).sum() };
        let tried = |trial: &Trial| -> u64 { crate::pairing::kept(trial).iter().map(|turn| turn.attempts).sum() };
        failures = Some(pairs.iter().fold((0, 0), |(f, n), pair| {
            (f + failed(pair.baseline) + failed(pair.candidate), n + tried(pair.baseline) + tried(pair.candidate))
        }));
        (proportion::difference(&both).map(Evidence::of_mean), None)
    } else {
        let changes: Vec<f64> = match (linear, spec.name == "throughput") {
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
    Test {
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
        failures,
        spec,
    }
}

impl Test {
    /// The p value as if the whole error probability had been kept for this look.
    pub(crate) fn spent_p(&self, share: f64) -> f64 {
        self.p.map_or(1.0, |p| (p / share.max(f64::MIN_POSITIVE)).min(1.0))
    }

    /// The error probability at which the interval is shown.
    fn interval_alpha(&self, share: f64) -> f64 {
        self.corrected.map_or(FAMILY_ALPHA, |corrected| corrected.alpha) * share
    }

    fn is_ratio(&self) -> bool {
        self.spec.tier != Tier::Proportion
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
    fn decide(&self, share: f64) -> (Verdict, String) {
        if let Some(reason) = &self.absent {
            return (Verdict::Inconclusive, format!("not available: {reason}"));
        }
        if self.spec.tier == Tier::Info {
            return (Verdict::Inconclusive, "described, not judged".to_owned());
        }
        if let Some((0, tried)) = self.failures {
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
        if self.spec.tier == Tier::Counter {
            match strict::compare(&self.baseline, &self.candidate) {
                Strict::Same => {
                    return (Verdict::Unchanged, "a near-deterministic counter with equal values".to_owned());
                }
                Strict::Differ(change) => {
                    let up = change.is_none_or(|change| change > 0.0);
                    return (
                        direction(self.spec.better, up),
                        "a near-deterministic counter with other values".to_owned(),
                    );
                }
                Strict::NotStrict => {}
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
        let margin = match (self.is_ratio(), self.linear) {
            (true, false) => self.margin.ln_1p(),
            (true, true) => self.margin,
            (false, _) => self.margin / 10.0,
        };
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
            return (
                Verdict::Unchanged,
                format!(
                    "the {} interval lies within ±{:.1} %",
                    level_words(evidence.usable(alpha)),
                    self.margin * 100.0
                ),
            );
        }
        (Verdict::Inconclusive, self.remedy(evidence, alpha, margin))
    }

    /// What would decide it.
    fn remedy(&self, evidence: &Evidence, alpha: f64, margin: f64) -> String {
        let location = &evidence.location;
        let detectable = location.minimum_detectable(evidence.usable(alpha), POWER);
        let wanted = margin.max(if self.is_ratio() { 0.005 } else { 0.0005 });
        let factor = (detectable / wanted).powi(2);
        let blocks = (location.n as f64 * factor).ceil();
        if blocks.is_finite() && blocks > location.n as f64 {
            format!(
                "the interval holds both no change and one beyond the margin; about {blocks:.0} blocks would decide it"
            )
        } else {
            "the interval holds no change, and the estimate is beyond the margin or the margin is 0".to_owned()
        }
    }

    /// The verdict on it; `weaker` says how its durability is weaker, where it is.
    pub(crate) fn finish(&self, share: f64, weaker: Option<&str>) -> MetricVerdict {
        let (mut verdict, mut reason) = self.decide(share);
        if verdict == Verdict::Improved
            && self.spec.tier != Tier::Proportion
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
            tier: self.spec.tier,
            primary: self.primary,
            about: self.spec.about.to_string(),
            baseline: estimate(&self.baseline),
            candidate: estimate(&self.candidate),
            change: evidence.map(|evidence| self.shown(evidence.location.center)).or_else(zero_ratio),
            ci: evidence.filter(|evidence| evidence.n() >= BLOCKS_MIN).map(|evidence| {
                let [low, high] = evidence.interval(alpha);
                [self.shown(low), self.shown(high)]
            }),
            p: self.p,
            minimum_detectable: evidence
                .filter(|evidence| evidence.n() >= BLOCKS_MIN && self.spec.tier != Tier::Info)
                .map(|evidence| self.shown(evidence.location.minimum_detectable(evidence.usable(alpha), POWER))),
            verdict,
            reason,
        }
    }
}

fn direction(better: Better, up: bool) -> Verdict {
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

impl Draft {
    fn finish(mut self, baseline: &str, candidate: &str) -> ScenarioVerdict {
        let weaker = match self.verdict.durability {
            Parity::Weaker => self.verdict.durability_reason.clone(),
            _ => None,
        };
        let mut metrics: Vec<MetricVerdict> =
            self.tests.iter().map(|test| test.finish(self.share, weaker.as_deref())).collect();
        if matches!(self.verdict.status, Status::Incomparable) {
            for metric in &mut metrics {
                metric.verdict = Verdict::Incomparable;
                metric.reason = self.verdict.reason.clone().unwrap_or_default();
            }
        }
        // The metric that decides comes first.
        metrics.sort_by_key(|metric| !metric.primary);
        self.verdict.claims = self
            .planned
            .scenario
            .claims
            .iter()
            .map(|claim| claims::outcome(claim, baseline, candidate, &metrics))
            .collect();
        self.verdict.metrics = metrics;
        self.verdict
    }
}

/// The merged response times of a variant over all its successful trials.
pub fn merged_response(trials: &[Trial], scenario: &str, variant: &str) -> Histogram {
    let mut merged = Histogram::new();
    for trial in
        trials.iter().filter(|trial| trial.scenario == scenario && trial.variant == variant && trial.succeeded())
    {
        for operation in trial.measured.iter().flat_map(|measured| &measured.operations) {
            merged.merge(&operation.response);
        }
    }
    merged
}
