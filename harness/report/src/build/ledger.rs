//! The ledger of a sprint: what each step changed, what it brought, and what all up to it brought.

use uplift_analysis::ledger::best_step;
use uplift_model::{
    Better,
    verdict::{Ledger, LedgerStep, MetricVerdict, ScenarioVerdict, SettingRow, SettingValue, Verdict},
};

use super::place;
use crate::{
    document::{Cell, Change, Column, Measured, Record, Section, Table, Text},
    number::{Scale, change, significant, with_unit},
    plots::{
        Plot,
        canvas::{Align, Canvas, Ink, fitting, sheet},
        chart::{TEXT, WIDTH},
    },
};

/// The whole way and its longest step in a sentence.
pub fn headline(ledger: &Ledger) -> String {
    let ends = ledger.steps.first().zip(ledger.steps.last());
    let whole = ends.and_then(|(first, last)| {
        let cumulative = last.cumulative.as_ref()?;
        let (from, to) = (first.value.as_ref()?.median, last.value.as_ref()?.median);
        Some(format!(
            "{} steps from `{}` to `{}`: {} {} → {}, {} ({})",
            ledger.steps.len() - 1,
            first.variant,
            last.variant,
            ledger.metric,
            with_unit(from, ledger.unit),
            with_unit(to, ledger.unit),
            effect(cumulative),
            Cell::verdict(cumulative).words(),
        ))
    });
    let Some(whole) = whole else {
        return format!("the way from the first step to the last is open: {} was not measured at both", ledger.metric);
    };
    let most = best_step(ledger).and_then(|step| {
        let marginal = step.marginal.as_ref()?;
        Some(format!("; `{}` brought most: {}", step.variant, effect(marginal)))
    });
    if let Some(why) = no_verdicts(ledger) {
        return format!("{whole}; no step has a verdict: {why}");
    }
    let nothing = ledger
        .steps
        .iter()
        .filter(|step| step.marginal.as_ref().is_some_and(|marginal| marginal.verdict != Verdict::Improved))
        .map(|step| format!("`{}`", step.variant))
        .collect::<Vec<_>>();
    let nothing = if nothing.is_empty() {
        String::new()
    } else {
        format!("; no improvement is shown for {}", nothing.join(", "))
    };
    format!("{whole}{}{nothing}", most.unwrap_or_default())
}

/// Why there is an interval for none of the steps, where one reason holds for all: there are too few blocks.
fn no_verdicts(ledger: &Ledger) -> Option<&str> {
    let mut marginal = ledger.steps.iter().filter_map(|step| step.marginal.as_ref());
    let first = marginal.next().filter(|first| first.ci.is_none())?;
    marginal.all(|other| other.ci.is_none() && other.reason == first.reason).then_some(first.reason.as_str())
}

/// A change, and from a doubling on the factor that it is.
fn effect(metric: &MetricVerdict) -> String {
    let shown = metric.change.map(|value| change(value, metric.class));
    match (shown, metric.change) {
        (Some(shown), Some(value)) if (1.0..10.0).contains(&value) && !shown.starts_with('×') => {
            format!("{shown} (×{})", significant(1.0 + value))
        }
        (shown, _) => shown.unwrap_or_else(|| "n/a".to_owned()),
    }
}

/// The steps, what each changed, and why each verdict is what it is.
pub fn section(ledger: &Ledger, scenario: &str) -> Section {
    let mut section = Section::new(place(scenario, "ledger"), "Sprint ledger").untitled().brief();
    section.prose(headline(ledger)).brief();
    let columns = vec![
        Column::words("step"),
        Column::words("variant"),
        Column::figures(ledger.metric.as_str()),
        Column::figures("n").dispensable(4),
        Column::figures("against the step before"),
        Column::figures("interval").dispensable(2),
        Column::words("verdict"),
        Column::figures("against the first").dispensable(1),
        Column::figures("interval").dispensable(3),
        Column::words("verdict").dispensable(1),
    ];
    let mut table = Table::new(format!("Sprint ledger: {scenario}"), columns).brief();
    for (index, step) in ledger.steps.iter().enumerate() {
        let value = step.value.as_ref().map_or(Cell::Missing, |value| {
            Cell::Value(Measured::of(value, ledger.unit, Scale::of([value.median], ledger.unit)))
        });
        let n = step.value.as_ref().map_or(0, |value| value.n).to_string();
        let mut cells = vec![Cell::Figure(index.to_string()), Text::code(&step.variant).into(), value, Cell::Figure(n)];
        cells.extend(against(step.marginal.as_ref(), index));
        cells.extend(against(step.cumulative.as_ref(), index));
        let improved = |metric: &MetricVerdict| metric.verdict == Verdict::Improved;
        table.row(cells).record(Record::scenario(scenario)).strong(step.marginal.as_ref().is_some_and(improved));
    }
    table.legend(
        "Medians over blocks with their 95 % interval; in each block every step ran once, in random order. Changes are paired by block; the intervals of all of them, marginal and cumulative, are corrected together. What a step adds depends on the steps before it: in another order it would add something else.",
    );
    section.table(table);
    section.part(what_changed(ledger, scenario));
    section.part(reasons(ledger, scenario));
    section
}

fn against(metric: Option<&MetricVerdict>, index: usize) -> [Cell; 3] {
    match metric {
        Some(metric) => {
            let change = Change { factor: true, ..Change::of(metric) };
            [Cell::Change(change), Cell::Interval(change), Cell::verdict(metric)]
        }
        None if index == 0 => [Cell::None, Cell::None, Cell::None],
        None => [Cell::Missing, Cell::Missing, Cell::Missing],
    }
}

fn what_changed(ledger: &Ledger, scenario: &str) -> Section {
    let mut section = Section::new(place(scenario, "steps"), "What each step changed").brief();
    for pair in ledger.steps.windows(2) {
        let [before, step] = pair else { continue };
        let settings: Vec<String> = step.changed.iter().map(setting).collect();
        let settings =
            if settings.is_empty() { "nothing that is asked for or read back".to_owned() } else { settings.join(", ") };
        let survives = match (before.durability, step.durability) {
            (Some(was), Some(is)) if was != is => {
                format!("; an acknowledged write now survives {} instead of {}", is.survives(), was.survives())
            }
            _ => String::new(),
        };
        section.item(format!("`{}`: {settings}{survives}", step.variant)).brief();
    }
    section
}

fn setting(changed: &SettingRow) -> String {
    let word = |value: &SettingValue| {
        value.effective.as_ref().or(value.requested.as_ref()).map_or_else(|| "–".to_owned(), |text| format!("`{text}`"))
    };
    format!("`{}` {} → {}", changed.key, word(&changed.baseline), word(&changed.candidate))
}

fn reasons(ledger: &Ledger, scenario: &str) -> Section {
    let mut section = Section::new(place(scenario, "ledger-reasons"), "Why each verdict").folded();
    // Where blocks are few, one reason holds for all steps: it is said once.
    let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
    for step in &ledger.steps {
        for (against, metric) in [("the step before", &step.marginal), ("the first", &step.cumulative)] {
            let Some(metric) = metric else { continue };
            let reason = format!("{}: {}", metric.verdict.word(), metric.reason);
            let change = format!("`{}` against {against}", step.variant);
            match reasons.iter_mut().find(|(other, _)| *other == reason) {
                Some((_, changes)) => changes.push(change),
                None => reasons.push((reason, vec![change])),
            }
        }
    }
    for (reason, changes) in &reasons {
        let changes = if reasons.len() == 1 { "every change".to_owned() } else { changes.join(", ") };
        section.item(format!("{changes}: {reason}"));
    }
    section
}

const ROW_HEIGHT: f64 = 30.0;
const NAMES: f64 = 130.0;
const WORDS: f64 = 150.0;
const TOP: f64 = 58.0;

/// A bar for each step: what the steps before it had come to, and what it added or took.
pub fn plot(verdict: &ScenarioVerdict) -> Option<Plot> {
    let ledger = verdict.ledger.as_ref()?;
    let ends = ledger.steps.iter().filter_map(|step| {
        let value = step.value.as_ref()?;
        Some(value.ci.map_or(value.median, |[_, high]| high))
    });
    let most = ends.fold(0.0f64, f64::max);
    if most <= 0.0 {
        return None;
    }
    let direction = match ledger.better {
        Better::Higher => "↑ higher is better",
        Better::Lower => "↓ lower is better",
        Better::Neither => "neither direction is better",
    };
    let bottom = TOP + ROW_HEIGHT * ledger.steps.len() as f64;
    let across = |value: f64| NAMES + (value / most).clamp(0.0, 1.0) * (WIDTH - WORDS - NAMES);
    let svg = sheet(WIDTH, bottom + 14.0, |canvas| {
        let title = fitting(&format!("Step by step: {}", verdict.name), 15.0, WIDTH - 24.0);
        canvas.bold(&title, (12.0, 16.0), 15.0, Align::Left, Ink::Text);
        let legend = format!("{}, median, 95 % interval · {direction} · right: each step's own", ledger.metric);
        canvas.text(&fitting(&legend, 12.0, WIDTH - 24.0), (12.0, 36.0), 12.0, Align::Left, Ink::Text);
        canvas.line(&[(NAMES, TOP), (NAMES, bottom)], Ink::Text, 1.0);
        let mut before = None;
        for (index, step) in ledger.steps.iter().enumerate() {
            bar(canvas, ledger, step, before, TOP + ROW_HEIGHT * (index as f64 + 0.5), &across);
            before = step.value.as_ref().map(|value| value.median).or(before);
        }
    });
    Some(Plot::new(&verdict.name, "ledger", svg, format!("Sprint ledger. {}.", headline(ledger).replace('`', ""))))
}

fn bar(
    canvas: &Canvas<'_>,
    ledger: &Ledger,
    step: &LedgerStep,
    before: Option<f64>,
    y: f64,
    across: &impl Fn(f64) -> f64,
) {
    canvas.text(&fitting(&step.variant, TEXT, NAMES - 16.0), (NAMES - 10.0, y), TEXT, Align::Right, Ink::Text);
    let Some(value) = &step.value else {
        canvas.text("not measured", (NAMES + 8.0, y), 12.0, Align::Left, Ink::Muted);
        return;
    };
    let ink = match step.marginal.as_ref().map(|marginal| marginal.verdict) {
        Some(Verdict::Improved) => Ink::Good,
        Some(Verdict::Regressed) => Ink::Bad,
        Some(Verdict::Incomparable) => Ink::Odd,
        _ => Ink::Muted,
    };
    let at = across(value.median);
    let from = before.map_or(NAMES, across);
    canvas.rectangle(NAMES, y - 8.0, at.min(from), y + 8.0, Ink::Muted, 0.35);
    if before.is_some() {
        canvas.rectangle(at.min(from), y - 8.0, at.max(from), y + 8.0, ink, 0.8);
    } else {
        canvas.rectangle(NAMES, y - 8.0, at, y + 8.0, Ink::Muted, 0.35);
    }
    if let Some([low, high]) = value.ci {
        let (low, high) = (across(low), across(high));
        canvas.line(&[(low, y), (high, y)], Ink::Text, 1.5);
        for end in [low, high] {
            canvas.line(&[(end, y - 4.0), (end, y + 4.0)], Ink::Text, 1.5);
        }
    }
    let amount = with_unit(value.median, ledger.unit);
    let words = match &step.marginal {
        Some(marginal) => {
            let gained = marginal.change.map_or_else(|| "n/a".to_owned(), |value| change(value, marginal.class));
            format!("{amount} · {gained}")
        }
        None => amount,
    };
    canvas.text(&fitting(&words, 12.0, WORDS - 18.0), (WIDTH - WORDS + 12.0, y), 12.0, Align::Left, Ink::Text);
}
