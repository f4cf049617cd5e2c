//! `uplift saturate SCENARIO --variant V`: the highest rate at which response times do not grow.
//!
//! Each rate is a run of its own, with its records and its report, in the folder of the search. A rate counts as
//! sustained where every one of its trials sustained it: what holds most of the time does not hold. On the way up a
//! single trial is enough to go on; both ends of the interval are decided by several.

mod found;

use std::{
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use uplift_analysis::saturation::{SLICES_MIN, Search};
use uplift_model::{
    duration::HumanDuration,
    run::Intent,
    scenario::{Interleave, Load},
};
use uplift_sdk::TargetFactory;

use self::found::{Found, Step};
use crate::{
    args::{Format, SaturateArgs, TrialArgs},
    catalogue::{Catalogue, Entry},
    error::{CliError, suggestion},
    exit,
    output::Terminal,
    search_pages::{SearchPages, lacking, read_record},
    session::{Profiling, Session, utc},
};

/// What a search leaves.
pub const RECORD_FILE: &str = "saturation.json";
/// The most rates of one search.
const STEPS_MAX: u32 = 24;
/// What set-up, drain and check of a trial are thought to take, for the time that is shown.
const OVERHEAD: Duration = Duration::from_secs(2);

/// Searches, and prints what was found.
pub fn run(args: &SaturateArgs, targets: &[&'static dyn TargetFactory], terminal: &Terminal) -> Result<u8, CliError> {
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
    let folder = args.setup.out.join(format!("{}-saturate-{}", utc(now.as_secs()), args.variant));
    let mut trials = args.trials();
    trials.setup.out.clone_from(&folder);
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
    let pages = pages(&found);
    let page = pages.write(&folder)?;
    match args.format {
        Format::Json => terminal.print(&pages.json),
        format => terminal.show(&pages.document, format, false),
    }
    terminal.say_report(&page);
    Ok(if sustained.is_some() { exit::OK } else { exit::FAILED })
}

fn pages(found: &Found<'_>) -> SearchPages {
    SearchPages {
        stem: "saturation",
        json: found.json(),
        document: found.document(),
        plots: Vec::new(),
        about: "a search for the highest rate that is sustained",
    }
}

/// The pages of a search whose folder this is.
pub fn rebuild(folder: &Path) -> Result<SearchPages, CliError> {
    let record = read_record(folder, RECORD_FILE)?;
    let lacking = |what: &str| lacking(folder, RECORD_FILE, what);
    let steps = record["steps"].as_array().ok_or_else(|| lacking("the rates that were tried"))?;
    let steps: Result<Vec<Step>, String> = steps.iter().map(Step::stored).collect();
    let half = Some(&record["half"]).filter(|half| !half.is_null()).map(Step::stored).transpose();
    Ok(pages(&Found {
        scenario: record["scenario"].as_str().ok_or_else(|| lacking("the scenario"))?,
        variant: record["variant"].as_str().ok_or_else(|| lacking("the variant"))?,
        sustained: record["sustained"].as_f64(),
        diverged: record["diverged"].as_f64(),
        steps: steps.map_err(|what| lacking(&what))?,
        half: half.map_err(|what| lacking(&what))?,
    }))
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
        self.args.blocks
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
        .execute()?;
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
