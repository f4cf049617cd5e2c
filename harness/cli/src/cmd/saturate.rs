//! `uplift saturate SCENARIO --variant V`: the highest rate at which response times do not grow.
//!
//! Each rate is a run of its own, with its records and its report, in the folder of the search. A rate counts as
//! sustained where most of its trials sustained it. On the way up a single trial is enough to go on; both ends of the
//! interval are decided by all of them.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use serde_json::json;
use uplift_analysis::{
    metrics,
    saturation::{Finding, SLICES_MIN, Search, examine},
};
use uplift_engine::store::write_whole;
use uplift_model::{
    Trial, Unit,
    duration::HumanDuration,
    run::{Intent, PlannedScenario},
    scenario::{Interleave, Load},
    trial::{Event, Slice},
};
use uplift_report::number::with_unit;
use uplift_target::TargetFactory;

use crate::{
    args::{SaturateArgs, TrialArgs},
    catalogue::{Catalogue, Entry},
    error::{CliError, suggestion},
    exit,
    output::Terminal,
    session::{Finished, Profiling, Session, utc},
};

/// The most rates of one search.
const STEPS_MAX: u32 = 24;
/// Trials of each rate, where `--blocks` does not say.
const TRIALS: u32 = 3;
/// What set-up, drain and check of a trial are thought to take, for the time that is shown.
const OVERHEAD: Duration = Duration::from_secs(2);
/// The percentiles that are shown of every rate.
const SHOWN: [&str; 5] = ["throughput", "response_p50", "response_p99", "response_max", "service_p99"];

/// Searches, and prints what was found.
pub fn run(args: &SaturateArgs, targets: &[&'static dyn TargetFactory], terminal: &Terminal) -> Result<u8, CliError> {
    if args.trials.budget.is_some() {
        return Err(CliError::usage(
            "a search takes as many steps as it needs, whatever the budget".to_owned(),
            "leave --budget out; --blocks sets the trials of each rate, --precision how far the search goes",
        ));
    }
    let mut entry = chosen(args, targets)?;
    let start = match &entry.scenario.load {
        Load::Open { rate, .. } => args.from.unwrap_or(*rate),
        Load::Closed { .. } => {
            return Err(CliError::usage(
                format!("`{}` has a closed load, which never asks for more than is answered", entry.scenario.name),
                "name a scenario with `mode = \"open\"` in its [load]",
            ));
        }
    };
    entry.scenario.trial.interleave = Interleave::Trials;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let folder = args.trials.out.join(format!("{}-saturate-{}", utc(now.as_secs()), args.variant));
    let trials = TrialArgs { out: folder.clone(), ..args.trials.clone() };
    let searching = Searching { args, entry, terminal, trials, begun: Instant::now() };

    let mut search = Search::new(start, args.precision / 100.0, STEPS_MAX);
    let mut steps = Vec::new();
    while let Some(rate) = search.next_rate() {
        match searching.look(rate, &search, &mut steps)? {
            Ok(sustained) => search.tell(sustained),
            Err(code) => return Ok(code),
        }
        if search.next_rate().is_none()
            && let Err(code) = searching.confirm(&mut search, &mut steps)?
        {
            return Ok(code);
        }
        searching.say_time_left(&search, &steps);
    }
    let (sustained, diverged) = search.interval();
    let half = match sustained {
        None => None,
        Some(rate) => match searching.step(rate / 2.0, searching.deciding())? {
            Ok(step) => Some(step),
            Err(code) => return Ok(code),
        },
    };
    let found =
        Found { scenario: &searching.entry.scenario.name, variant: &args.variant, sustained, diverged, steps, half };
    write(&folder.join("saturation.json"), &found.json())?;
    let text = found.markdown();
    write(&folder.join("saturation.md"), &text)?;
    terminal.print(&text);
    terminal.say(&format!("records: {}", folder.display()));
    Ok(if sustained.is_some() { exit::OK } else { exit::FAILED })
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .map_err(|error| CliError::environment(format!("`{}` cannot be made: {error}", folder.display()), ""))?;
    }
    write_whole(path, text.as_bytes())
        .map_err(|error| CliError::environment(format!("`{}` cannot be written: {error}", path.display()), ""))
}

fn chosen(args: &SaturateArgs, targets: &[&'static dyn TargetFactory]) -> Result<Entry, CliError> {
    let mut entries = Catalogue::read(&args.selection, targets)?.entries;
    if entries.len() != 1 || args.selection.scenarios.is_empty() {
        return Err(CliError::usage(
            "a search is for one scenario".to_owned(),
            "name it: uplift saturate dataflow/saturation --variant log",
        ));
    }
    let entry = entries.remove(0);
    let names = || entry.scenario.variants.iter().map(|variant| variant.name.as_str());
    if !names().any(|name| name == args.variant) {
        return Err(CliError::usage(
            format!("`{}` has no variant `{}`", entry.scenario.name, args.variant),
            &suggestion(&args.variant, names()),
        ));
    }
    Ok(entry)
}

struct Searching<'a> {
    args: &'a SaturateArgs,
    entry: Entry,
    terminal: &'a Terminal,
    trials: TrialArgs,
    begun: Instant,
}

impl Searching<'_> {
    /// How many trials decide whether a rate is sustained.
    fn deciding(&self) -> u32 {
        self.trials.blocks.unwrap_or(TRIALS)
    }

    /// Whether the rate is sustained; what was measured goes to `steps`. The inner error is an exit code.
    fn look(&self, rate: f64, search: &Search, steps: &mut Vec<Step>) -> Result<Result<bool, u8>, CliError> {
        // Far from the ends one trial tells; one that did not sustain the rate may have met a stall of the machine.
        let on_the_way_up = search.interval().1.is_none();
        let mut trials = if on_the_way_up { 1 } else { self.deciding() };
        loop {
            let step = match self.step(rate, trials)? {
                Ok(step) => step,
                Err(code) => return Ok(Err(code)),
            };
            let sustained = step.sustained;
            self.terminal.say(&step.line());
            steps.push(step);
            if sustained || trials == self.deciding() {
                return Ok(Ok(sustained));
            }
            trials = self.deciding();
        }
    }

    /// Lets all trials decide on the highest sustained rate, where it was on the way up and has had one.
    fn confirm(&self, search: &mut Search, steps: &mut Vec<Step>) -> Result<Result<(), u8>, CliError> {
        let Some(rate) = search.interval().0 else { return Ok(Ok(())) };
        let trials = steps.iter().filter(|step| step.rate == rate).map(|step| step.findings.len()).max();
        if trials.unwrap_or(0) >= self.deciding() as usize {
            return Ok(Ok(()));
        }
        let step = match self.step(rate, self.deciding())? {
            Ok(step) => step,
            Err(code) => return Ok(Err(code)),
        };
        self.terminal.say(&step.line());
        if !step.sustained {
            let below = steps.iter().filter(|step| step.sustained && step.rate < rate).map(|step| step.rate);
            search.retract(below.max_by(f64::total_cmp));
        }
        steps.push(step);
        Ok(Ok(()))
    }

    /// Says how long the search took and may take yet.
    fn say_time_left(&self, search: &Search, steps: &[Step]) {
        let elapsed_s = self.begun.elapsed().as_secs_f64();
        let left = match (search.steps_left_max(), steps.last()) {
            (Some(steps_left), Some(last)) => {
                let trial_s = last.took.as_secs_f64() / last.findings.len().max(1) as f64;
                // Half of the rate comes last.
                let left_s = f64::from(steps_left + 1) * f64::from(self.deciding()) * trial_s;
                format!("at most {steps_left} more, then half of the highest: about {left_s:.0} s left")
            }
            _ => "no bound on one side yet, so the time left is unknown".to_owned(),
        };
        self.terminal.say(&format!("{elapsed_s:.0} s so far; {left}"));
    }

    /// Measures one rate; the inner error is an exit code: the user's, or the target's.
    fn step(&self, wanted: f64, trials: u32) -> Result<Result<Step, u8>, CliError> {
        let begun = Instant::now();
        let mut entry = self.entry.clone();
        if let Load::Open { rate, .. } = &mut entry.scenario.load {
            *rate = wanted;
        }
        let trial = &entry.scenario.trial;
        // A rate that is not sustained goes on for as long again.
        let trial_max = trial.warmup.0 + 2 * trial.window.0 + OVERHEAD;
        let trial_args = TrialArgs { budget: Some(HumanDuration(trials * trial_max)), ..self.trials.clone() };
        let finished = Session {
            intent: Intent::Run { variants: vec![self.args.variant.clone()] },
            name: format!("rate-{wanted:.0}"),
            scenarios: vec![(entry, vec![self.args.variant.clone()])],
            trials: &trial_args,
            binaries: [None, None],
            blocks: Some(trials),
            // A step of a search is no measurement to compare later ones with.
            history: false,
            profiling: Profiling::Off,
            terminal: self.terminal,
        }
        .carry_out()?;
        let code = finished.exit();
        if code != exit::OK {
            self.terminal.say(&format!("the search ends here; records: {}", finished.directory.display()));
            return Ok(Err(code));
        }
        Step::of(wanted, &finished, begun.elapsed())
            .map(Ok)
            .map_err(|message| CliError::usage(message, &format!("write a window of at least {SLICES_MIN}00 ms")))
    }
}

/// One rate.
struct Step {
    rate: f64,
    sustained: bool,
    findings: Vec<Finding>,
    /// Medians over the trials of what is shown.
    shown: Vec<(&'static str, Unit, f64)>,
    timeline: Timeline,
    took: Duration,
}

impl Step {
    fn of(rate: f64, finished: &Finished, took: Duration) -> Result<Self, String> {
        let planned = &finished.run.scenarios[0];
        let window_ns = planned.scenario.trial.window.as_nanos();
        let mut findings = Vec::new();
        for measured in finished.trials.iter().filter_map(|trial| trial.measured.as_ref()) {
            let Some(turn) = measured.turns.get(measured.dropped_turns as usize) else { continue };
            findings.push(examine(turn, &measured.slices, window_ns)?);
        }
        let sustained = 2 * findings.iter().filter(|finding| finding.is_sustained()).count() > findings.len();
        let shown = SHOWN.iter().filter_map(|name| median(name, &finished.trials, planned)).collect();
        let timeline = finished.trials.iter().find(|trial| trial.succeeded()).map(Timeline::of).unwrap_or_default();
        Ok(Self { rate, sustained, findings, shown, timeline, took })
    }

    fn verdict(&self) -> String {
        let count = self.findings.iter().filter(|finding| finding.is_sustained()).count();
        let why = self.findings.iter().find_map(|finding| match finding {
            Finding::Diverged(why) => Some(why.as_str()),
            Finding::Sustained => None,
        });
        let word = if self.sustained { "sustained" } else { "diverged" };
        let why = why.map_or_else(String::new, |why| format!("; {why}"));
        format!("{word} ({count} of {} trials sustained it{why})", self.findings.len())
    }

    /// A percentile, where it was measured.
    fn text(&self, name: &str) -> String {
        let value = self.shown.iter().find(|(shown, ..)| *shown == name);
        value.map_or("n/a".to_owned(), |(_, unit, value)| with_unit(*value, *unit))
    }

    fn line(&self) -> String {
        format!("{}: {}", with_unit(self.rate, Unit::OpsPerSecond), self.verdict())
    }

    fn row(&self) -> String {
        let mut row = format!("| {} |", with_unit(self.rate, Unit::OpsPerSecond));
        for name in SHOWN {
            let _ = write!(row, " {} |", self.text(name));
        }
        let _ = writeln!(row, " {} |", self.verdict());
        row
    }

    fn json(&self) -> serde_json::Value {
        let shown: serde_json::Map<String, serde_json::Value> =
            self.shown.iter().map(|(name, _, value)| ((*name).to_owned(), json!(value))).collect();
        let diverged: Vec<Option<&str>> = self
            .findings
            .iter()
            .map(|finding| match finding {
                Finding::Sustained => None,
                Finding::Diverged(why) => Some(why.as_str()),
            })
            .collect();
        json!({
            "rate": self.rate,
            "sustained": self.sustained,
            "trials_diverged": diverged,
            "medians": shown,
            "timeline": self.timeline.json(),
        })
    }
}

/// The median over the trials of one metric.
fn median(name: &'static str, trials: &[Trial], planned: &PlannedScenario) -> Option<(&'static str, Unit, f64)> {
    let values: Vec<_> = trials.iter().filter_map(|trial| metrics::named(trial, planned, name)).collect();
    let unit = values.first()?.spec.unit;
    let mut numbers: Vec<f64> = values.into_iter().filter_map(|value| value.value.ok()).collect();
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    let value = match numbers.len() {
        0 => return None,
        odd if odd % 2 == 1 => numbers[middle],
        _ => f64::midpoint(numbers[middle - 1], numbers[middle]),
    };
    Some((name, unit, value))
}

/// Throughput and events of one trial on one line of time.
#[derive(Default)]
struct Timeline {
    slices: Vec<Slice>,
    events: Vec<Event>,
}

impl Timeline {
    /// Of the window; what happened before and after it is left out.
    fn of(trial: &Trial) -> Self {
        let Some(measured) = &trial.measured else { return Self::default() };
        let slices = measured.slices.clone();
        let begin_ns = slices.first().map_or(0, |slice| slice.start_ns);
        let end_ns = slices.last().map_or(0, |slice| slice.start_ns + slice.duration_ns);
        let within = |event: &&Event| (begin_ns..end_ns).contains(&event.start_ns);
        Self { events: measured.events.iter().filter(within).cloned().collect(), slices }
    }

    /// A row for each slice.
    fn markdown(&self) -> String {
        let mut text = String::from("| from | op/s | longest response | events that began |\n|---:|---:|---:|---|\n");
        let origin_ns = self.slices.first().map_or(0, |slice| slice.start_ns);
        for slice in &self.slices {
            let rate = slice.ok as f64 / (slice.duration_ns as f64 / 1e9);
            let end_ns = slice.start_ns + slice.duration_ns;
            let began = self.events.iter().filter(|event| (slice.start_ns..end_ns).contains(&event.start_ns));
            let events: Vec<String> = began
                .map(|event| {
                    let took = with_unit(event.duration_ns as f64, Unit::Nanoseconds);
                    format!("{} {took} ({})", event.name, event.detail)
                })
                .collect();
            let _ = writeln!(
                text,
                "| {:.1} s | {} | {} | {} |",
                (slice.start_ns - origin_ns) as f64 / 1e9,
                with_unit(rate, Unit::OpsPerSecond),
                with_unit(slice.response_max_ns as f64, Unit::Nanoseconds),
                events.join("; ")
            );
        }
        text
    }

    fn json(&self) -> serde_json::Value {
        json!({ "slices": self.slices, "events": self.events })
    }
}

const TABLE_HEAD: &str = "| rate | throughput | response p50 | response p99 | longest response | service p99 | |
|---:|---:|---:|---:|---:|---:|---|
";

/// What a search found.
struct Found<'a> {
    scenario: &'a str,
    variant: &'a str,
    sustained: Option<f64>,
    diverged: Option<f64>,
    steps: Vec<Step>,
    half: Option<Step>,
}

impl Found<'_> {
    fn headline(&self) -> String {
        let rate = |rate: f64| with_unit(rate, Unit::OpsPerSecond);
        match (self.sustained, self.diverged) {
            (Some(low), Some(high)) => {
                format!("{} is sustained, {} is not: saturation lies between", rate(low), rate(high))
            }
            (Some(low), None) => format!("{} is sustained; no higher rate was tried", rate(low)),
            (None, Some(high)) => format!("{} is not sustained, and no lower rate was tried", rate(high)),
            (None, None) => "no rate was tried".to_owned(),
        }
    }

    fn markdown(&self) -> String {
        let mut text =
            format!("# Saturation of `{}`, variant `{}`\n\n{}.\n", self.scenario, self.variant, self.headline());
        if let Some(half) = &self.half {
            let _ = writeln!(
                text,
                "At half of the highest sustained rate a response took {} at the median and {} at the 99th percentile, \
                 the longest {}.",
                half.text("response_p50"),
                half.text("response_p99"),
                half.text("response_max")
            );
        }
        text.push_str(
            "\nA response runs from the intended start (the sojourn), a service time from the sending. Percentiles are \
             medians over the trials of a rate; nothing is clamped.\n\n",
        );
        let mut steps: Vec<&Step> = self.steps.iter().collect();
        steps.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        text.push_str(TABLE_HEAD);
        steps.iter().for_each(|step| text.push_str(&step.row()));
        let highest = steps.into_iter().rfind(|step| Some(step.rate) == self.sustained);
        if let Some(half) = &self.half {
            let _ = write!(text, "\nAt half of the highest sustained rate:\n\n{TABLE_HEAD}{}", half.row());
        }
        for step in self.half.iter().chain(highest) {
            let rate = with_unit(step.rate, Unit::OpsPerSecond);
            let _ = write!(text, "\nThe first trial at {rate}:\n\n{}", step.timeline.markdown());
        }
        text
    }

    fn json(&self) -> String {
        let found = json!({
            "schema": 1,
            "scenario": self.scenario,
            "variant": self.variant,
            "sustained": self.sustained,
            "diverged": self.diverged,
            "steps": self.steps.iter().map(Step::json).collect::<Vec<_>>(),
            "half": self.half.as_ref().map(Step::json),
        });
        format!("{found:#}\n")
    }
}
