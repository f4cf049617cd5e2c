//! From the records of a run to its verdicts.

mod block_time;
mod conditions;
mod idle;
mod metric;
pub mod screen;
mod stalls;

use uplift_model::{
    MetricClass, Trial, Verdicts,
    run::{Intent, PlannedScenario, Run, RunState},
    verdict::{MetricVerdict, Parity, ScenarioVerdict, Status, VERDICTS_SCHEMA, Verdict},
};

pub(crate) use self::metric::{MEDIAN_LEVEL, MetricTest, direction, tests};
use crate::{
    BLOCKS_MIN, FAMILY_ALPHA, claims,
    correction::{Corrected, holm},
    disturbance,
    evidence::FEW_BLOCKS,
    ledger::ledger,
    load_agents,
    pairing::pairs,
    spending::{is_look, share_at},
};

/// A change of which less than this part is left when it is corrected for an early stop is said.
const OVERSTATED: f64 = 0.95;

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
    let comparisons = run.scenarios.len();
    let mut drafts: Vec<Draft> =
        run.scenarios.iter().map(|planned| draft(run, planned, trials, [baseline, candidate], comparisons)).collect();

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
        let members: Vec<usize> = draft
            .tests
            .iter()
            .enumerate()
            .filter(|(_, test)| !test.primary && test.p.is_some() && test.spec.class != MetricClass::Info)
            .map(|(index, _)| index)
            .collect();
        draft.secondary_share = draft.look.share(members.len());
        let share = draft.secondary_share;
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
    let mut pairs = pairs(trials, &planned.scenario.name, baseline, candidate);
    let blocks = pairs.len() as u32;
    if pairs.len() < BLOCKS_MIN || !is_look(blocks, blocks_max) {
        return Decision::Open;
    }
    let look = Look::Sequential { blocks, blocks_max, last: false };
    let share = look.share(comparisons);
    disturbance::set_aside(&mut pairs);
    let Some(mut test) = tests(planned, &pairs).into_iter().find(|test| test.primary) else { return Decision::Open };
    let alpha = FAMILY_ALPHA / comparisons.max(1) as f64;
    let p = test.spent_p(share);
    test.corrected = Some(Corrected { p, alpha });
    match test.decide(share, [0.0; 2]).0 {
        verdict @ (Verdict::Improved | Verdict::Regressed | Verdict::Unchanged) => Decision::Decided(verdict),
        _ => Decision::Open,
    }
}

/// When the data were looked at.
#[derive(Clone, Copy)]
enum Look {
    /// Once, at the end of a fixed number of blocks.
    Once,
    /// At the planned numbers of blocks, and now.
    Sequential { blocks: u32, blocks_max: u32, last: bool },
}

impl Look {
    /// The share of the error that a decision may use now, of each of so many members of a family.
    fn share(self, members: usize) -> f64 {
        match self {
            Self::Once => 1.0,
            Self::Sequential { blocks, blocks_max, last } => {
                share_at(blocks, blocks_max, last, FAMILY_ALPHA / members.max(1) as f64)
            }
        }
    }
}

/// One scenario before correction.
struct Draft {
    verdict: ScenarioVerdict,
    tests: Vec<MetricTest>,
    look: Look,
    share: f64,
    secondary_share: f64,
    idle: Option<idle::NotIdle>,
    planned: PlannedScenario,
}

fn draft(
    run: &Run,
    planned: &PlannedScenario,
    trials: &[Trial],
    [baseline, candidate]: [&str; 2],
    comparisons: usize,
) -> Draft {
    let scenario = &planned.scenario;
    let mut pairs = pairs(trials, &scenario.name, baseline, candidate);
    let mut notes = Vec::new();
    let look = match (planned.blocks, planned.blocks_max) {
        (Some(_), _) | (_, None) => Look::Once,
        (None, Some(blocks_max)) => {
            if pairs.len() > blocks_max as usize {
                notes.push(format!(
                    "{} blocks came after the last planned look, at {blocks_max} blocks: nothing of the error was left for them, and they are not used",
                    pairs.len() - blocks_max as usize
                ));
                pairs.truncate(blocks_max as usize);
            }
            Look::Sequential { blocks: pairs.len() as u32, blocks_max, last: !planned.decided_early }
        }
    };
    notes.extend(disturbance::set_aside(&mut pairs));
    let blocks = pairs.len() as u32;
    let mut verdict = ScenarioVerdict {
        name: scenario.name.clone(),
        status: Status::Compared,
        reason: None,
        blocks,
        durability: Parity::Unknown,
        durability_reason: None,
        settings: Vec::new(),
        disk: None,
        load_generator: None,
        ceiling: None,
        metrics: Vec::new(),
        claims: Vec::new(),
        expectations: Vec::new(),
        ledger: None,
        stopped: planned.stopped.clone(),
        notes,
    };
    let compared = || {
        trials.iter().filter(|trial| {
            trial.scenario == scenario.name
                && [baseline, candidate].contains(&trial.variant.as_str())
                && trial.succeeded()
        })
    };
    verdict.notes.extend(load_agents::words(compared()));
    verdict.load_generator = load_agents::saturation(compared());
    conditions::describe(&mut verdict, run, planned, trials, &pairs, [baseline, candidate]);
    let share = look.share(comparisons);
    Draft {
        verdict,
        tests: tests(planned, &pairs),
        look,
        share,
        secondary_share: share,
        // Both run at once in a screen: nobody should have been idle.
        idle: if run.intent.is_screen() { None } else { idle::judge(planned, &pairs) },
        planned: planned.clone(),
    }
}

impl Draft {
    fn finish(mut self, baseline: &str, candidate: &str) -> ScenarioVerdict {
        let weaker = match self.verdict.durability {
            Parity::Weaker => self.verdict.durability_reason.clone(),
            _ => None,
        };
        let share_of = |test: &MetricTest| if test.primary { self.share } else { self.secondary_share };
        let mut metrics: Vec<MetricVerdict> =
            self.tests.iter().map(|test| test.finish(share_of(test), weaker.as_deref())).collect();
        if let Some(idle) = &self.idle
            && self.verdict.status == Status::Compared
        {
            for (metric, test) in metrics.iter_mut().zip(&self.tests) {
                let robust = |verdict| test.decide(share_of(test), idle.slack(test.spec.better)).0 == verdict;
                if idle.could_change(metric, robust) {
                    metric.verdict = Verdict::Inconclusive;
                    metric.reason = idle.reason();
                    if metric.primary {
                        self.verdict.status = Status::Incomparable;
                        self.verdict.reason = Some(idle.reason());
                    }
                }
            }
            if self.verdict.status == Status::Compared {
                self.verdict.notes.push(idle.note());
            }
        }
        if matches!(self.verdict.status, Status::Incomparable | Status::Failed) {
            for metric in &mut metrics {
                metric.verdict = Verdict::Incomparable;
                metric.reason = self.verdict.reason.clone().unwrap_or_default();
            }
        }
        if self.planned.decided_early {
            for (metric, test) in metrics.iter_mut().zip(&self.tests) {
                if metric.primary && matches!(metric.verdict, Verdict::Improved | Verdict::Regressed) {
                    metric.corrected_for_stop = test.corrected_for_stop(share_of(test));
                    self.verdict.notes.extend(overstatement(metric));
                }
            }
        }
        if let Some(position) = metrics.iter().find_map(|metric| metric.position) {
            self.verdict.notes.push(format!(
                "the variant that was started first read {:+.1} % [{:+.1} %, {:+.1} %] of the primary metric; that is taken out of the change from {FEW_BLOCKS} blocks on",
                position.change * 100.0,
                position.ci[0] * 100.0,
                position.ci[1] * 100.0
            ));
        }
        // The metric that decides comes first.
        metrics.sort_by_key(|metric| !metric.primary);
        self.verdict.claims = self
            .planned
            .scenario
            .claims
            .iter()
            .map(|claim| {
                let outcome = claims::outcome(&self.planned.scenario, claim, baseline, candidate, &metrics);
                match (self.verdict.status, &self.verdict.reason) {
                    (Status::Incomparable | Status::Failed, Some(reason)) => claims::of_incomparable(outcome, reason),
                    _ => outcome,
                }
            })
            .collect();
        self.verdict.metrics = metrics;
        self.verdict
    }
}

/// What a stop at the first look that found a change overstates, where that is worth a sentence.
fn overstatement(metric: &MetricVerdict) -> Option<String> {
    let (read, corrected) = (metric.change?, metric.corrected_for_stop?);
    (corrected.ln_1p().abs() < OVERSTATED * read.ln_1p().abs()).then(|| {
        format!(
            "the run ended at the first look that found the change, and what is found so early reads too large: {:+.1} % was read, corrected for that it is about {:+.1} %; more blocks (--blocks) tell it more exactly",
            read * 100.0,
            corrected * 100.0
        )
    })
}
