//! The slowest calls apart from all: table, flame graph, differential.

use uplift_analysis::profile::tail::{self, Tail};
use uplift_model::file_name;

use super::{
    Artifact, DrawError, Drawn, flamegraph,
    section::{named, per_operation},
};
use crate::{
    build::place,
    document::{Cell, Column, Section, Table, Text},
    number::{count, nanoseconds},
};

/// Rows of the table.
const ROWS: usize = 12;
/// Less than so much of the calls' time in the stacks is said to be too little.
const SEEN_SHARE_MIN: f64 = 0.9;

/// The slow calls of a variant; `None` where they were not asked for, or cannot be read.
fn of(drawn: &Drawn<'_>) -> Option<Tail> {
    tail::tail(&drawn.trials).ok().flatten()
}

/// `p99 (1.20 ms)`
fn threshold(tail: &Tail) -> String {
    let [low, high] = tail.threshold_ns;
    let range = if low == high {
        nanoseconds(low)
    } else {
        format!("{} … {} over the trials", nanoseconds(low), nanoseconds(high))
    };
    format!("p{} ({range})", tail.percentile)
}

/// What the samples of calls can say, and what not, each a sentence.
fn reach(tail: &Tail) -> Vec<String> {
    let mut said = vec![format!(
        "{} of {} calls took {} or longer, {} on average against {}; {:.1} % of their time is in the stacks",
        count(tail.slow.calls),
        count(tail.all.calls),
        threshold(tail),
        nanoseconds(tail.slow.mean_ns() as u64),
        nanoseconds(tail.all.mean_ns() as u64),
        tail.slow.seen_share() * 100.0,
    )];
    if !tail.slow.waiting {
        said.push(
            "only running threads were sampled: what slow calls wait for is not in it (`--mode full`)".to_owned(),
        );
    } else if tail.slow.seen_share() < SEEN_SHARE_MIN {
        said.push(
            "the rest was not seen: a thread that left its CPU before sampling began has no stack, and short calls \
             have few samples"
                .to_owned(),
        );
    }
    said.push(format!(
        "what other threads did for a call cannot be told from what they did for others, and shows as waiting: {:.1} % of \
         all on-CPU samples belong to no call",
        tail.elsewhere.share * 100.0
    ));
    if tail.missed > 0 {
        said.push(format!("{} calls beyond the room for them were not noted", count(tail.missed)));
    }
    said
}

/// What a row says its thread does.
fn doing(row: &tail::TailRow) -> String {
    match (row.waiting, row.preempted) {
        (_, true) => "waiting: a free CPU".to_owned(),
        (true, _) => format!("waiting: {}", row.category.name()),
        (false, _) => format!("running: {}", row.category.name()),
    }
}

/// `+1.20 ms`
fn more(row: &tail::TailRow) -> String {
    let difference = row.slow_ns - row.all_ns;
    format!("{}{}", if difference < 0.0 { "−" } else { "+" }, per_operation(Some(difference.abs())))
}

/// The section; empty where there is no tail.
pub fn section(drawn: &Drawn<'_>) -> Section {
    let title = Text::plain("The slowest calls of ").then(Text::code(drawn.variant));
    let id = place(drawn.scenario, &format!("tail-of-{}", file_name(&[drawn.variant])));
    let mut section = Section::new(id, title).brief();
    let Some(tail) = of(drawn) else { return section };
    for sentence in reach(&tail) {
        section.item(sentence).brief();
    }
    let columns = vec![
        Column::words("what"),
        Column::figures("a slow call"),
        Column::figures("a call"),
        Column::figures("more").dispensable(1),
        Column::words("in"),
    ];
    let mut table = Table::new(format!("The slowest calls of {}: {}", drawn.variant, drawn.scenario), columns).brief();
    for one in tail::rows(&tail, ROWS) {
        let function = if one.function.is_empty() { Cell::None } else { named(&one.function, false).into() };
        table.row(vec![
            doing(&one).into(),
            Cell::Figure(per_operation(Some(one.slow_ns))),
            Cell::Figure(per_operation(Some(one.all_ns))),
            Cell::Figure(more(&one)),
            function,
        ]);
    }
    section.table(table);
    section
}

/// As JSON; null where there is no tail.
pub fn json(drawn: &Drawn<'_>) -> serde_json::Value {
    let Some(tail) = of(drawn) else { return serde_json::Value::Null };
    let calls = |calls: &tail::Calls| {
        serde_json::json!({
            "calls": calls.calls, "mean_ns": calls.mean_ns(), "seen_share": calls.seen_share(), "waiting": calls.waiting,
        })
    };
    serde_json::json!({
        "percentile": tail.percentile,
        "threshold_ns": tail.threshold_ns,
        "slow": calls(&tail.slow),
        "all": calls(&tail.all),
        "calls_missed": tail.missed,
        "samples_elsewhere": tail.elsewhere.share,
        "rows": tail::rows(&tail, ROWS).iter().map(|row| serde_json::json!({
            "what": doing(row), "function": row.function, "slow_ns": row.slow_ns, "all_ns": row.all_ns,
        })).collect::<Vec<_>>(),
    })
}

/// The files of a variant's slow calls.
pub fn artifacts(drawn: &Drawn<'_>, files: &mut Vec<Artifact>) -> Result<(), DrawError> {
    let Some(tail) = tail::tail(&drawn.trials)? else { return Ok(()) };
    let stem = file_name(&[drawn.scenario, drawn.variant]);
    let mut add = |end: &str, bytes: Vec<u8>| files.push(Artifact { name: format!("{stem}.{end}"), bytes });
    let folded: String = tail.slow.stacks.iter().map(|stack| format!("{} {}\n", stack.line(), stack.count)).collect();
    add("tail.folded", folded.into_bytes());
    if tail.slow.stacks.is_empty() {
        return Ok(());
    }
    let what = format!("calls slower than {}: {}, {}", threshold(&tail), drawn.scenario, drawn.variant);
    let subtitle = format!(
        "{} calls, {} on average, {:.1} % of it seen; only what their own threads did; {}",
        tail.slow.calls,
        nanoseconds(tail.slow.mean_ns() as u64),
        tail.slow.seen_share() * 100.0,
        drawn.sampler()
    );
    add("tail.svg", flamegraph::times(&what, &subtitle, &tail.slow.stacks, 1e-3)?);
    if let Some(text) = tail::differential(&tail) {
        let subtitle =
            format!("time in a slow call against a call in general; red is more, blue is less; {}", drawn.sampler());
        add("tail-against-all.svg", flamegraph::differential(&what, &subtitle, &text)?);
    }
    Ok(())
}
