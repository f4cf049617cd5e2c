//! `uplift crossover SCENARIO --between A B --over KEY=LOW..HIGH`: where does the better variant change?
//!
//! Each point is a comparison of its own, with its records and its report, in the folder of the search.

mod found;

use std::time::SystemTime;

use uplift_analysis::crossover::{self, ALPHA, Point};
use uplift_model::{Better, Unit, duration::HumanDuration, run::Intent};
use uplift_sdk::TargetFactory;

use self::found::{Found, measured_point};
pub use self::found::{RECORD_FILE, rebuild};
use crate::{
    args::{CrossoverArgs, Format, SelectionArgs, TrialArgs},
    catalogue::{Catalogue, Entry},
    error::{CliError, suggestion},
    exit,
    output::Terminal,
    overrides,
    session::{Profiling, Session, utc},
};

/// Points at the beginning, evenly spaced on a logarithmic scale.
const FIRST_POINTS: usize = 5;

/// Searches, and prints what was found.
pub fn run(args: &CrossoverArgs, targets: &[&'static dyn TargetFactory], terminal: &Terminal) -> Result<u8, CliError> {
    let over: Over = args.over.parse().map_err(|(message, help): (String, &str)| CliError::usage(message, help))?;
    let entry = chosen(args, targets)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let folder = args.setup.out.join(format!("{}-crossover-{}", utc(now.as_secs()), over.key));
    let mut trials = TrialArgs { budget: None, quick: false, blocks: Some(args.blocks), setup: args.setup.clone() };
    trials.setup.out.clone_from(&folder);
    let search = Search { args, targets, entry, over, trials, terminal };
    let (points, unit, better) = match search.points()? {
        Ok(found) => found,
        Err(code) => return Ok(code),
    };
    let found = Found {
        scenario: search.entry.scenario.name.clone(),
        metric: search.entry.scenario.primary.clone(),
        between: [args.between[0].clone(), args.between[1].clone()],
        over: search.over,
        points,
        unit,
        better,
    };
    let pages = found.pages();
    let page = pages.write(&folder)?;
    match args.format {
        Format::Json => terminal.print(&pages.json),
        format => terminal.show(&pages.document, format, false),
    }
    terminal.say_report(&page);
    Ok(exit::OK)
}

fn chosen(args: &CrossoverArgs, targets: &[&'static dyn TargetFactory]) -> Result<Entry, CliError> {
    let selection = SelectionArgs { scenarios: vec![args.scenario.clone()], place: args.place.clone() };
    let mut entries = Catalogue::read(&selection, targets)?.entries;
    if entries.len() != 1 {
        return Err(CliError::usage(
            format!("`{}` means {} scenarios, and a search is of one", args.scenario, entries.len()),
            "name one as `target/name`",
        ));
    }
    let mut entry = entries.remove(0);
    let names = || entry.scenario.variants.iter().map(|variant| variant.name.as_str());
    for wanted in &args.between {
        if !names().any(|name| name == wanted) {
            return Err(CliError::usage(
                format!("`{}` has no variant `{wanted}`", entry.scenario.name),
                &suggestion(wanted, names()),
            ));
        }
    }
    if args.between[0] == args.between[1] {
        return Err(CliError::usage(
            "a variant does not change places with itself",
            "name two variants with --between",
        ));
    }
    entry.scenario.claims.clear();
    Ok(entry)
}

/// The condition that varies: its key, from where to where, and how its values are written.
struct Over {
    key: String,
    low: f64,
    high: f64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Nanoseconds, written as a duration.
    Duration,
    Whole,
    Number,
}

impl std::str::FromStr for Over {
    type Err = (String, &'static str);

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const HELP: &str = "write --over disk.sync=50us..20ms, or --over load.clients=1..64";
        let wrong = |why: &str| (format!("--over `{text}`: {why}"), HELP);
        let (key, range) = text.split_once('=').ok_or_else(|| wrong("there is no `=`"))?;
        let (low, high) = range.split_once("..").ok_or_else(|| wrong("a range is two values with `..` between"))?;
        if key.starts_with("trial.") {
            return Err((
                format!("--over {key}: how trials are run cannot vary between points"),
                "give it for all points with --set",
            ));
        }
        let (low, high) = (low.trim(), high.trim());
        let duration = |text: &str| text.parse::<HumanDuration>().ok().map(|duration| duration.as_nanos() as f64);
        let (kind, ends) = match (low.parse::<u64>(), high.parse::<u64>(), low.parse::<f64>(), high.parse::<f64>()) {
            (Ok(low), Ok(high), ..) => (Kind::Whole, [low as f64, high as f64]),
            (_, _, Ok(low), Ok(high)) => (Kind::Number, [low, high]),
            _ => match (duration(low), duration(high)) {
                (Some(low), Some(high)) => (Kind::Duration, [low, high]),
                _ => return Err(wrong("both ends are numbers, or both are durations")),
            },
        };
        let [low, high] = ends;
        if !(low > 0.0 && high > low && high.is_finite()) {
            return Err(wrong("the range begins above 0 and ends above its beginning"));
        }
        Ok(Self { key: key.trim().to_owned(), low, high, kind })
    }
}

impl Over {
    /// The value as a scenario writes it, rounded to three digits.
    fn word(&self, value: f64) -> String {
        let rounded = self.rounded(value);
        match self.kind {
            // One unit, so that it reads as people write it: 1.5ms would not be a duration of a scenario.
            Kind::Duration if rounded % 1e6 == 0.0 => format!("{}ms", rounded / 1e6),
            Kind::Duration if rounded % 1e3 == 0.0 => format!("{}us", rounded / 1e3),
            Kind::Duration => format!("{rounded}ns"),
            Kind::Whole | Kind::Number => format!("{rounded}"),
        }
    }

    fn rounded(&self, value: f64) -> f64 {
        let scale = 10f64.powf(2.0 - value.log10().floor());
        let rounded = (value * scale).round() / scale;
        if self.kind == Kind::Number { rounded } else { rounded.round().max(1.0) }
    }

    /// The first points: evenly spaced on a logarithmic scale, each once.
    fn first(&self) -> Vec<f64> {
        let mut values: Vec<f64> = (0..FIRST_POINTS)
            .map(|index| {
                let share = index as f64 / (FIRST_POINTS - 1) as f64;
                self.rounded((self.low.ln() + share * (self.high.ln() - self.low.ln())).exp())
            })
            .collect();
        values.dedup();
        values
    }
}

struct Search<'a> {
    args: &'a CrossoverArgs,
    targets: &'a [&'static dyn TargetFactory],
    entry: Entry,
    over: Over,
    trials: TrialArgs,
    terminal: &'a Terminal,
}

/// What was measured: the points, and the metric's unit and direction. The inner error is an exit code.
type Measured<T> = Result<Result<T, u8>, CliError>;

impl Search<'_> {
    fn points(&self) -> Measured<(Vec<Point>, Unit, Better)> {
        let mut points: Vec<Point> = Vec::new();
        let mut metric = None;
        let mut waiting = self.over.first();
        waiting.reverse();
        self.terminal.say(&format!(
            "{} points first, at most {}; {} blocks each",
            waiting.len(),
            self.args.points,
            self.args.blocks
        ));
        loop {
            let value = match waiting.pop() {
                Some(value) => value,
                None if points.len() >= self.args.points as usize => break,
                None => match crossover::next(&points, self.args.precision / 100.0).map(|next| self.over.rounded(next))
                {
                    // A whole number between two neighbours is one of them.
                    Some(next) if points.iter().all(|point| point.value != next) => next,
                    _ => break,
                },
            };
            let (point, unit, better) = match self.measure(value)? {
                Ok(found) => found,
                Err(code) => return Ok(Err(code)),
            };
            metric = Some((unit, better));
            let at = points.partition_point(|known| known.value < value);
            points.insert(at, point);
        }
        match metric {
            Some((unit, better)) => Ok(Ok((points, unit, better))),
            None => Ok(Err(exit::FAILED)),
        }
    }

    /// Measures one value of the condition.
    fn measure(&self, value: f64) -> Measured<(Point, Unit, Better)> {
        let mut entry = self.entry.clone();
        let set = format!("{}={}", self.over.key, self.over.word(value));
        overrides::apply(&mut entry.scenario, std::slice::from_ref(&set))?;
        if let Some(factory) = self.targets.iter().find(|factory| factory.name() == entry.scenario.target) {
            for variant in &entry.scenario.variants {
                factory.validate(&entry.scenario.workload, &variant.settings).map_err(|error| {
                    CliError::usage(
                        format!("--over {set}: {}", error.message),
                        "`uplift list --targets` says what every target accepts",
                    )
                })?;
            }
        }
        let [baseline, candidate] = [0, 1].map(|index| self.args.between[index].as_str());
        let finished = Session {
            intent: Intent::Compare { baseline: baseline.to_owned(), candidate: candidate.to_owned() },
            name: format!("at-{}", self.over.word(value)),
            scenarios: vec![(entry, vec![baseline.to_owned(), candidate.to_owned()])],
            trials: &self.trials,
            binaries: [None, None],
            blocks: Some(self.args.blocks),
            // A point of a search is no measurement to compare later ones with.
            history: false,
            profiling: Profiling::Off,
            terminal: self.terminal,
        }
        .execute()?;
        let code = finished.exit();
        if ![exit::OK, exit::INCOMPARABLE].contains(&code) {
            self.terminal.say(&format!("the search ends here; records: {}", finished.directory.display()));
            return Ok(Err(code));
        }
        let planned = finished.run.scenarios.first();
        let found = planned.and_then(|planned| measured_point(value, [baseline, candidate], planned, &finished.trials));
        let found = found.ok_or_else(|| {
            CliError::usage(
                format!("{set}: fewer than two blocks have `{}` of both variants", self.entry.scenario.primary),
                "measure more blocks with --blocks, or name another metric with --metric",
            )
        })?;
        let ahead = found.0.ahead.interval(ALPHA).map(|end| (end.exp() - 1.0) * 100.0);
        self.terminal.say(&format!("{set}: {candidate} ahead by [{:+.1} %, {:+.1} %]", ahead[0], ahead[1]));
        Ok(Ok(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(text: &str) -> Result<Over, String> {
        text.parse().map_err(|(message, _): (String, _)| message)
    }

    #[test]
    fn ranges_are_read_and_spaced_on_a_logarithmic_scale() {
        let words = |text: &str| {
            let over = over(text).unwrap();
            over.first().into_iter().map(|value| over.word(value)).collect::<Vec<_>>()
        };
        assert_eq!(words("disk.sync=100us..10ms"), ["100us", "316us", "1ms", "3160us", "10ms"]);
        assert_eq!(words("load.clients=1..16"), ["1", "2", "4", "8", "16"]);
        assert_eq!(words("load.clients=1..3"), ["1", "2", "3"]);
        assert_eq!(words("skew=0.5..2.0")[2], "1");
        for wrong in ["disk.sync", "disk.sync=4ms", "disk.sync=4ms..1ms", "a=0..3", "a=1..1ms", "trial.rounds=1..2"] {
            assert!(over(wrong).is_err(), "{wrong}");
        }
    }
}
