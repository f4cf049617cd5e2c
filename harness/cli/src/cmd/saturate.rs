//! `uplift saturate SCENARIO --variant V`: the highest rate at which response times do not grow; with `--slo` the highest that
//! holds an objective; with `--clients` how throughput grows with the clients.
//!
//! Each rate is a run of its own, with its records and its report, in the folder of the search. A rate counts as
//! sustained where every one of its trials sustained it: what holds most of the time does not hold. On the way up a
//! single trial is enough to go on; both ends of the interval are decided by several.

mod clients;
mod objective;
mod step;

use std::{
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use uplift_analysis::saturation::{SLICES_MIN, Search};
use uplift_model::{
    duration::HumanDuration,
    run::Intent,
    saturation::{RateStep, SATURATION_SCHEMA, Saturation},
    scenario::{Interleave, Load},
};
use uplift_report::build::saturation::line;
use uplift_sdk::TargetFactory;

pub use self::clients::parse as parse_clients;
use crate::{
    args::{SaturateArgs, TrialArgs},
    catalogue::{Catalogue, Entry},
    cmd::searches::{self, SearchRecord},
    error::{CliError, suggestion},
    exit,
    finished::Finished,
    output::Terminal,
    session::{Profiling, Session, utc},
};

/// The most rates of one search.
const STEPS_MAX: u32 = 24;
/// What set-up, drain and check of a trial are thought to take, for the time that is shown.
const OVERHEAD: Duration = Duration::from_secs(2);

/// Searches, and prints what was found.
pub fn run(args: &SaturateArgs, targets: &[&'static dyn TargetFactory], terminal: &Terminal) -> Result<u8, CliError> {
    let mut entry = chosen(args, targets)?;
    entry.scenario.trial.interleave = Interleave::Trials;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let folder = args.setup.out.join(format!("{}-saturate-{}", utc(now.as_secs()), args.variant));
    let mut trials = args.trials();
    trials.setup.out.clone_from(&folder);
    let load = entry.scenario.load.clone();
    let objective = args.slo.as_deref().map(|text| objective::parse(text, &entry)).transpose()?;
    let searching = Searching { args, entry, terminal, trials, begun: Instant::now() };
    let (record, ended) = match (&args.clients, &load) {
        (Some(numbers), Load::Closed { .. }) => {
            let (record, ended) = clients::sweep(&searching, numbers)?;
            (SearchRecord::Clients(record), ended)
        }
        (Some(_), Load::Open { .. }) => {
            return Err(CliError::usage(
                format!(
                    "`{}` has an open load, whose rate does not follow from its clients",
                    searching.entry.scenario.name
                ),
                "name a scenario with `mode = \"closed\"` in its [load], or leave --clients out",
            ));
        }
        (None, Load::Open { rate, .. }) => {
            let start = args.from.unwrap_or(*rate);
            let (record, ended) = match &objective {
                Some(objective) => objective::search(&searching, start, objective)?,
                None => searching.search(start)?,
            };
            (SearchRecord::Rates(Box::new(record)), ended)
        }
        (None, Load::Closed { .. }) => {
            return Err(CliError::usage(
                format!(
                    "`{}` has a closed load, which never asks for more than is answered",
                    searching.entry.scenario.name
                ),
                "name a scenario with `mode = \"open\"` in its [load], or sweep its clients with --clients 1..64",
            ));
        }
    };
    if record.is_empty() {
        // Nothing was measured: what stopped it was said.
        return Ok(ended.exit().unwrap_or(exit::FAILED));
    }
    searches::write(&folder, &record)?;
    searches::print(&record, args.format, terminal)?;
    terminal.say_report(&folder.join("report.html"));
    Ok(match (ended.exit(), record.has_answer()) {
        (Some(code), _) => code,
        (None, true) => exit::OK,
        (None, false) => exit::FAILED,
    })
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

/// Why a search ended before its end.
pub struct Stopped {
    /// In words.
    pub why: String,
    code: u8,
}

/// How a search ended.
pub enum Ended {
    /// It has what it wanted.
    Whole,
    /// The user, or the target, ended it; what was measured until then stands.
    Stopped(Stopped),
}

impl Ended {
    const fn exit(&self) -> Option<u8> {
        match self {
            Self::Whole => None,
            Self::Stopped(stopped) => Some(stopped.code),
        }
    }
}

/// One rate, and how long its trials took, set-up and all.
pub struct MeasuredRate {
    step: RateStep,
    took: Duration,
}

/// A search under way.
pub struct Searching<'a> {
    args: &'a SaturateArgs,
    entry: Entry,
    terminal: &'a Terminal,
    trials: TrialArgs,
    begun: Instant,
}

/// What was measured, or why nothing was.
type Outcome<T> = Result<Result<T, Stopped>, CliError>;

impl Searching<'_> {
    /// The width of the interval to stop at, as a ratio.
    fn precision(&self) -> f64 {
        self.args.precision / 100.0
    }

    /// How many trials decide whether a rate is sustained.
    fn deciding(&self) -> u32 {
        self.args.blocks
    }

    /// The highest rate that is sustained.
    fn search(&self, start: f64) -> Result<(Saturation, Ended), CliError> {
        let mut search = Search::new(start, self.precision(), STEPS_MAX);
        let mut steps: Vec<RateStep> = Vec::new();
        let mut ended = Ended::Whole;
        let mut took = Duration::ZERO;
        while let Some(rate) = search.next_rate() {
            if let Err(stopped) = self.look(rate, &mut search, &mut steps, &mut took)? {
                ended = Ended::Stopped(stopped);
                break;
            }
            self.say_time_left(&search, took);
        }
        let (sustained, diverged) = search.interval();
        let mut half = None;
        if let (Some(rate), Ended::Whole) = (sustained, &ended) {
            match self.step(rate / 2.0, self.deciding(), None)? {
                Ok(measured) => half = Some(measured.step),
                Err(stopped) => ended = Ended::Stopped(stopped),
            }
        }
        let cut_short = match &ended {
            Ended::Whole => None,
            Ended::Stopped(stopped) => Some(stopped.why.clone()),
        };
        let record = Saturation {
            schema: SATURATION_SCHEMA,
            scenario: self.entry.scenario.name.clone(),
            variant: self.args.variant.clone(),
            objective: None,
            sustained,
            diverged,
            interval: None,
            cut_short,
            steps,
            half,
        };
        Ok((record, ended))
    }

    /// Tells the search whether `rate` is sustained, and lets all trials decide on the highest where it ends there.
    fn look(&self, rate: f64, search: &mut Search, steps: &mut Vec<RateStep>, took: &mut Duration) -> Outcome<()> {
        // Far from the ends one trial tells; one that did not sustain the rate may have met a stall of the machine.
        let on_the_way_up = search.interval().1.is_none();
        let mut trials = if on_the_way_up { 1 } else { self.deciding() };
        let sustained = loop {
            let sustained = match self.step(rate, trials, None)? {
                Ok(measured) => self.note(measured, trials, steps, took),
                Err(stopped) => return Ok(Err(stopped)),
            };
            if sustained || trials == self.deciding() {
                break sustained;
            }
            trials = self.deciding();
        };
        search.tell(sustained);
        match (search.next_rate(), search.interval().0) {
            (None, Some(highest)) => self.confirm(highest, search, steps, took),
            _ => Ok(Ok(())),
        }
    }

    /// Lets all trials decide on the highest sustained rate, where it was on the way up and has had one.
    fn confirm(&self, rate: f64, search: &mut Search, steps: &mut Vec<RateStep>, took: &mut Duration) -> Outcome<()> {
        let trials = steps.iter().filter(|step| step.rate == rate).map(|step| step.trials_diverged.len()).max();
        if trials.unwrap_or(0) >= self.deciding() as usize {
            return Ok(Ok(()));
        }
        let sustained = match self.step(rate, self.deciding(), None)? {
            Ok(measured) => self.note(measured, self.deciding(), steps, took),
            Err(stopped) => return Ok(Err(stopped)),
        };
        if !sustained {
            let below = steps.iter().filter(|step| step.sustained && step.rate < rate).map(|step| step.rate);
            search.retract(below.max_by(f64::total_cmp));
        }
        Ok(Ok(()))
    }

    /// Keeps a step, says it, and whether it was sustained; `took` becomes the time of one trial.
    fn note(&self, measured: MeasuredRate, trials: u32, steps: &mut Vec<RateStep>, took: &mut Duration) -> bool {
        self.terminal.say(&line(&measured.step, None));
        *took = measured.took / trials.max(1);
        let sustained = measured.step.sustained;
        steps.push(measured.step);
        sustained
    }

    /// Says how long the search took and may take yet.
    fn say_time_left(&self, search: &Search, trial: Duration) {
        let left = match search.steps_left_max() {
            Some(steps_left) => {
                // Half of the rate comes last.
                let left_s = f64::from(steps_left + 1) * f64::from(self.deciding()) * trial.as_secs_f64();
                format!("at most {steps_left} more, then half of the highest: about {left_s:.0} s left")
            }
            None => "no bound on one side yet, so the time left is unknown".to_owned(),
        };
        self.say_elapsed(&left);
    }

    /// Says how long it took so far, and something.
    fn say_elapsed(&self, words: &str) {
        self.terminal.say(&format!("{:.0} s so far; {words}", self.begun.elapsed().as_secs_f64()));
    }

    /// Measures one rate.
    fn step(
        &self,
        wanted: f64,
        trials: u32,
        objective: Option<&uplift_model::objective::Objective>,
    ) -> Outcome<MeasuredRate> {
        let begun = Instant::now();
        let mut entry = self.entry.clone();
        if let Load::Open { rate, .. } = &mut entry.scenario.load {
            *rate = wanted;
        }
        let finished = match self.measure(entry, &format!("rate-{wanted:.0}"), trials)? {
            Ok(finished) => finished,
            Err(stopped) => return Ok(Err(stopped)),
        };
        step::of_rate(wanted, &finished, objective)
            .map(|step| Ok(MeasuredRate { step, took: begun.elapsed() }))
            .map_err(|message| {
                let help = format!("write a window of at least {SLICES_MIN}00 ms, and long enough for every metric of --slo, or begin at a higher rate with --from");
                CliError::usage(message, &help)
            })
    }

    /// Runs one point of the search.
    fn measure(&self, entry: Entry, name: &str, trials: u32) -> Outcome<Finished> {
        let trial = &entry.scenario.trial;
        // A rate that is not sustained goes on for as long again.
        let trial_max = trial.warmup.0 + 2 * trial.window.0 + OVERHEAD;
        let trial_args = TrialArgs { budget: Some(HumanDuration(trials * trial_max)), ..self.trials.clone() };
        let finished = Session {
            intent: Intent::Run { variants: vec![self.args.variant.clone()] },
            name: name.to_owned(),
            scenarios: vec![(entry, vec![self.args.variant.clone()])],
            trials: &trial_args,
            binaries: [None, None],
            blocks: Some(trials),
            // A step of a search is no measurement to compare later ones with.
            history: false,
            profiling: Profiling::Off,
            terminal: self.terminal,
        }
        .execute()?;
        let code = finished.exit();
        if code == exit::OK {
            return Ok(Ok(finished));
        }
        self.terminal.say(&format!("the search ends here; records: {}", finished.directory.display()));
        let place = file_name(&finished.directory);
        let why = match code {
            exit::INTERRUPTED => format!("it was interrupted in `{place}`"),
            _ => format!("`{place}` failed, and says why"),
        };
        Ok(Err(Stopped { why, code }))
    }
}

fn file_name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
