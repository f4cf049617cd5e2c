//! Every published figure against the stored runs that can check it.
//!
//! A run is taken for a claim where it measured both variants of it in the same blocks: a comparison of that pair is
//! judged as its own report judges it, and a pair out of a run of many variants by itself. Of several runs the one with
//! the most blocks speaks.

use uplift_model::{
    MetricClass, ProfileTrial, Scenario, Trial, Unit,
    disk::DiskModel,
    run::{Intent, PlannedScenario, Run, RunState},
    scenario::Claim,
    verdict::{ClaimOutcome, ClaimVerdict, Estimate, Status},
};

use crate::{
    claims,
    estimate::{median, median_interval},
    judge::judge_pair,
    metrics,
    pairing::pairs,
    profile::{Category, Profile, Share, by_variant, categories, syscall_share},
};

/// All CPU time within system calls, whatever it is for.
const SYSTEM_CALLS: &str = "system calls";
/// The level of the interval of a value.
const LEVEL: f64 = 0.95;
const CATEGORIES: [Category; 12] = [
    Category::Application,
    Category::Sync,
    Category::FileIo,
    Category::Sqlite,
    Category::Serialization,
    Category::Memory,
    Category::Locks,
    Category::Network,
    Category::Scheduler,
    Category::OtherKernel,
    Category::Nameless,
    Category::Harness,
];

/// The names that a claim may give as `profile`.
pub fn category_names() -> impl Iterator<Item = &'static str> {
    CATEGORIES.into_iter().map(Category::name).chain([SYSTEM_CALLS])
}

/// Whether a claim may name it.
pub fn knows_category(name: &str) -> bool {
    category_names().any(|known| known == name)
}

/// A stored run.
#[derive(Clone, Copy, Debug)]
pub struct StoredRun<'a> {
    /// Its record.
    pub run: &'a Run,
    /// Its trials.
    pub trials: &'a [Trial],
    /// Its profile trials.
    pub profiles: &'a [ProfileTrial],
}

/// A published figure with ours beside it.
#[derive(Clone, Debug)]
pub struct Row {
    /// The scenario that checks it.
    pub scenario: String,
    /// The figure.
    pub claim: Claim,
    /// What became of it.
    pub verdict: ClaimVerdict,
    /// Our value of the variant that it is against.
    pub baseline: Option<Estimate>,
    /// Our value of the variant that it is about.
    pub candidate: Option<Estimate>,
    /// How the metric is written; `None` where nothing was measured.
    pub kind: Option<(Unit, MetricClass)>,
    /// The run that spoke.
    pub run: Option<String>,
    /// The same on the disk that the source had, as the scenario estimates it; `None`: no stored run measured that.
    pub on_its_disk: Option<Box<Self>>,
    /// Whether another row is about the same figure and counts for it: a scenario may try a figure on ground that its
    /// source did not have.
    pub echo: bool,
}

/// What becomes of every figure that `scenarios` carry, in their order.
pub fn replicate(scenarios: &[Scenario], runs: &[StoredRun<'_>]) -> Vec<Row> {
    scenarios
        .iter()
        .flat_map(|scenario| scenario.claims.iter().map(move |claim| (scenario, claim)))
        .map(|(scenario, claim)| {
            let here = on_disk(runs, scenario, scenario.disk.as_ref());
            let there = scenario.claims_disk.as_ref().map(|disk| on_disk(runs, scenario, Some(disk)));
            let on_its_disk = there.map(|runs| row(&scenario.name, claim, &runs)).filter(|row| row.run.is_some());
            Row {
                echo: is_echo(scenarios, claim),
                on_its_disk: on_its_disk.map(Box::new),
                ..row(&scenario.name, claim, &here)
            }
        })
        .collect()
}

/// The runs that measured `scenario` on `disk`, or did not measure it at all.
fn on_disk<'a>(runs: &[StoredRun<'a>], scenario: &Scenario, disk: Option<&DiskModel>) -> Vec<StoredRun<'a>> {
    let is_on = |found: Option<&DiskModel>| match (found, disk) {
        (Some(found), Some(disk)) => found.holds_as(disk),
        (found, disk) => found.is_none() && disk.is_none(),
    };
    let fits = |stored: &&StoredRun<'a>| {
        planned(stored, &scenario.name).is_none_or(|planned| is_on(planned.scenario.disk.as_ref()))
    };
    // What two variants read beside each other is no measurement of either.
    runs.iter().filter(|stored| !stored.run.intent.is_screen()).filter(fits).copied().collect()
}

/// Whether another claim states the same published pair of values and is the one that counts: that which repeats the
/// source's words, else the first. What the runs found has no say in it.
fn is_echo(scenarios: &[Scenario], claim: &Claim) -> bool {
    let (Some(_), Some(_)) = (claim.baseline, claim.candidate) else { return false };
    let figure = |claim: &Claim| (claim.source.clone(), claim.metric.clone(), claim.baseline, claim.candidate);
    let all = scenarios.iter().flat_map(|scenario| &scenario.claims);
    let counts = all.filter(|other| figure(other) == figure(claim)).min_by_key(|other| other.figure.is_empty());
    counts.is_some_and(|counts| !std::ptr::eq(counts, claim))
}

fn row(scenario: &str, claim: &Claim, runs: &[StoredRun<'_>]) -> Row {
    let mut row = Row {
        scenario: scenario.to_owned(),
        claim: claim.clone(),
        verdict: claims::blank(claim),
        baseline: None,
        candidate: None,
        kind: None,
        run: None,
        on_its_disk: None,
        echo: false,
    };
    // What cannot be compared has a value of ours beside it all the same, where there is one.
    if !claim.profile.is_empty() {
        of_profile(&mut row, runs);
    } else if claim.published_change().is_some() && claim.unchecked.is_empty() {
        of_pair(&mut row, runs);
    } else if !claim.metric.is_empty() {
        of_variant(&mut row, runs);
    }
    if !claim.unchecked.is_empty() {
        row.verdict.outcome = ClaimOutcome::NotComparable;
        row.verdict.reason.clone_from(&claim.unchecked);
    } else if row.run.is_none() && row.verdict.reason.is_empty() {
        row.verdict.reason = match skipped(scenario, runs) {
            Some(reason) => format!("the scenario was skipped: {reason}"),
            None => "no stored run measured it".to_owned(),
        };
    }
    row
}

fn skipped<'a>(scenario: &str, runs: &[StoredRun<'a>]) -> Option<&'a str> {
    runs.iter().find_map(|stored| planned(stored, scenario)?.skipped.as_deref())
}

fn planned<'a>(stored: &StoredRun<'a>, scenario: &str) -> Option<&'a PlannedScenario> {
    stored.run.scenarios.iter().find(|planned| planned.scenario.name == scenario)
}

/// The variant that the claim is against in this run; `None`: it says none, and the run compares nothing.
fn against<'a>(claim: &'a Claim, planned: &'a PlannedScenario, run: &'a Run) -> Option<&'a str> {
    planned.scenario.against(claim).or(match &run.intent {
        Intent::Compare { baseline, .. } => Some(baseline),
        _ => None,
    })
}

fn of_pair(row: &mut Row, runs: &[StoredRun<'_>]) {
    let claim = &row.claim;
    let usable = runs.iter().filter_map(|stored| {
        let planned = planned(stored, &row.scenario)?;
        let baseline = against(claim, planned, stored.run)?;
        let blocks = pairs(stored.trials, &row.scenario, baseline, &claim.variant).len();
        (blocks > 0 && stored.run.state != RunState::Unfinished).then_some((blocks, stored, planned, baseline))
    });
    let Some((_, stored, planned, baseline)) = usable.max_by_key(|(blocks, ..)| *blocks) else { return };
    let own = Intent::Compare { baseline: baseline.to_owned(), candidate: claim.variant.clone() };
    let alone;
    let run = if stored.run.intent == own {
        stored.run
    } else {
        alone = Run { scenarios: vec![planned.clone()], ..stored.run.clone() };
        &alone
    };
    let verdicts = judge_pair(run, stored.trials, baseline, &claim.variant);
    let Some(scenario) = verdicts.scenarios.iter().find(|scenario| scenario.name == row.scenario) else { return };
    row.verdict = claims::outcome(&planned.scenario, claim, baseline, &claim.variant, &scenario.metrics);
    if let Some(metric) = scenario.metrics.iter().find(|metric| metric.metric == claim.metric) {
        row.baseline.clone_from(&metric.baseline);
        row.candidate.clone_from(&metric.candidate);
        row.kind = Some((metric.unit, metric.class));
    }
    match (scenario.status, &scenario.reason) {
        (Status::Incomparable, Some(reason)) => {
            row.verdict = claims::of_incomparable(std::mem::replace(&mut row.verdict, claims::blank(claim)), reason);
        }
        (_, Some(reason)) => row.verdict.reason = format!("{}; {reason}", row.verdict.reason),
        _ => {}
    }
    row.run = Some(stored.run.id.clone());
}

/// The values of a variant in the run that has the most of them.
fn of_variant(row: &mut Row, runs: &[StoredRun<'_>]) {
    let claim = &row.claim;
    let measured = runs.iter().filter_map(|stored| {
        let planned = planned(stored, &row.scenario)?;
        let own = stored
            .trials
            .iter()
            .filter(|trial| trial.scenario == row.scenario && trial.variant == claim.variant && trial.succeeded());
        let values: Vec<(f64, Unit, MetricClass)> = own
            .filter_map(|trial| {
                let value = metrics::named(trial, planned, &claim.metric)?;
                Some((value.value.ok()?, value.spec.unit, value.spec.class))
            })
            .collect();
        let kind = values.first().map(|(_, unit, class)| (*unit, *class))?;
        Some((values.into_iter().map(|(value, ..)| value).collect::<Vec<f64>>(), kind, stored))
    });
    let Some((values, kind, stored)) = measured.max_by_key(|(values, ..)| values.len()) else { return };
    row.candidate = median(&values).map(|center| Estimate {
        median: center,
        ci: median_interval(&values, LEVEL),
        n: u32::try_from(values.len()).unwrap_or(u32::MAX),
    });
    row.kind = Some(kind);
    row.run = Some(stored.run.id.clone());
    row.verdict = claims::of_value(claim, row.candidate.as_ref());
}

/// The share of some categories in the profile with the most samples.
fn of_profile(row: &mut Row, runs: &[StoredRun<'_>]) {
    let claim = &row.claim;
    let sampled = runs.iter().filter_map(|stored| {
        let trials = by_variant(stored.profiles, &row.scenario).remove(claim.variant.as_str())?;
        let profile = Profile::on_cpu(&trials).ok().filter(|profile| profile.samples > 0)?;
        Some((profile, stored))
    });
    let Some((profile, stored)) = sampled.max_by_key(|(profile, _)| profile.samples) else {
        row.verdict.reason = format!("no stored run has a profile of `{}`", claim.variant);
        return;
    };
    let share = if claim.profile.iter().any(|name| name == SYSTEM_CALLS) {
        syscall_share(&profile)
    } else {
        let meant =
            categories(&profile).into_iter().filter(|row| claim.profile.iter().any(|name| name == row.category.name()));
        Share::of(meant.map(|row| row.share.samples).sum(), profile.samples)
    };
    row.candidate = Some(Estimate {
        median: share.share,
        ci: Some(share.ci),
        n: u32::try_from(profile.samples).unwrap_or(u32::MAX),
    });
    row.kind = Some((Unit::Ratio, MetricClass::Info));
    row.run = Some(stored.run.id.clone());
    row.verdict = claims::of_value(claim, row.candidate.as_ref());
}
