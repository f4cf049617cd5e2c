//! The rules that the answers of an agent obey; each function returns those that are broken.

use std::{collections::BTreeSet, time::Duration};

use uplift_model::{
    Durability,
    description::{DescribedTarget, Description, REASONS_MAX},
    protocol::{AgentHello, PROTOCOL_VERSION, Problem, Ready, TurnLength, TurnRequest},
    trial::{IDLE_CPU_SHARE_MAX, Measured, Resources, TurnRecord},
};

/// What is broken, of rules with the sentence that says so.
fn broken(rules: impl IntoIterator<Item = (bool, String)>) -> Vec<String> {
    rules.into_iter().filter(|(holds, _)| !holds).map(|(_, rule)| rule).collect()
}

pub fn hello(hello: &AgentHello) -> Vec<String> {
    let names: BTreeSet<&String> = hello.targets.iter().collect();
    broken([
        (hello.protocol == PROTOCOL_VERSION, format!("`protocol` must be {PROTOCOL_VERSION}, got {}", hello.protocol)),
        (!hello.targets.is_empty(), "`targets` must name at least one".to_owned()),
        (names.len() == hello.targets.len(), "`targets` must not name one twice".to_owned()),
        (!hello.debug_assertions, "it was built with debug assertions: its figures mean nothing".to_owned()),
    ])
}

pub fn described(targets: &[DescribedTarget], hello: &AgentHello) -> Vec<String> {
    let names: Vec<&String> = targets.iter().map(|target| &target.name).collect();
    let same = names.iter().eq(&hello.targets.iter().collect::<Vec<_>>());
    let mut found = broken([(same, format!("must describe the targets of the hello in order, got {names:?}"))]);
    for DescribedTarget { name, about, description } in targets {
        let Description { operations, write_kinds, no_op_reasons, failure_categories, .. } = description;
        let undeclared: Vec<_> = write_kinds.iter().filter(|kind| !operations.contains(kind)).collect();
        let (reasons, categories) = (no_op_reasons.len(), failure_categories.len());
        found.extend(broken([
            (!about.trim().is_empty(), format!("`{name}`: `about` must be a line")),
            ((1..=255).contains(&operations.len()), format!("`{name}`: `operations` must hold 1 to 255 kinds")),
            (undeclared.is_empty(), format!("`{name}`: `write_kinds` must be among `operations`, not {undeclared:?}")),
            (reasons <= REASONS_MAX, format!("`{name}`: at most {REASONS_MAX} `no_op_reasons`, got {reasons}")),
            (
                categories <= REASONS_MAX,
                format!("`{name}`: at most {REASONS_MAX} `failure_categories`, got {categories}"),
            ),
            (description.workload_schema.is_object(), format!("`{name}`: `workload_schema` must be a JSON Schema")),
            (description.settings_schema.is_object(), format!("`{name}`: `settings_schema` must be a JSON Schema")),
        ]));
    }
    found
}

/// A setting that nobody knows must be refused, under its name.
pub fn unknown_key(problem: Option<Problem>, key: &str) -> Result<String, String> {
    match problem {
        None => {
            Err(format!("it accepts the setting `{key}`: a mistyped key would have no effect, and nobody would know"))
        }
        Some(problem) if problem.keys.last().is_some_and(|last| last == key) => Ok(problem.message),
        Some(problem) => Err(format!("`keys` must end in `{key}`, got {:?}: {}", problem.keys, problem.message)),
    }
}

pub fn turn(request: &TurnRequest, record: &TurnRecord, elapsed: Duration, before: Option<&TurnRecord>) -> Vec<String> {
    let TurnRecord { index, start_ns, wall_ns, attempts, ok, nothing, failed, .. } = *record;
    let elapsed_ns = elapsed.as_nanos() as u64;
    let over = before.map_or(0, |before| before.start_ns + before.wall_ns);
    let mut rules = vec![
        (index == request.index, format!("`index` must be {}, got {index}", request.index)),
        (
            attempts == ok + nothing + failed,
            format!("`attempts` must be ok + nothing + failed = {}, got {attempts}", ok + nothing + failed),
        ),
        (
            (wall_ns > 0 || attempts == 0) && wall_ns <= elapsed_ns,
            format!("`wall_ns` is {wall_ns}, and the answer came after {elapsed_ns}"),
        ),
        (start_ns >= over, format!("`start_ns` is {start_ns}, before the end of the last turn at {over}")),
        (
            record.response_p50_ns <= record.response_max_ns,
            "`response_p50_ns` must not be above `response_max_ns`".to_owned(),
        ),
        (
            record.response_max_ns.is_none_or(|longest| longest <= wall_ns + wall_ns / 1000 + 1),
            "`response_max_ns` must not be longer than `wall_ns`: times are in nanoseconds".to_owned(),
        ),
    ];
    match request.length {
        TurnLength::Nanoseconds(ns) => {
            let rule =
                format!("a turn of {ns} ns in a closed loop must last as long, and was answered after {elapsed_ns}");
            rules.push((elapsed_ns >= ns, rule));
        }
        // Within a time nothing need succeed: a busy machine may give the agent none of it.
        TurnLength::Operations(calls) => {
            rules.push((ok > 0, "no operation succeeded".to_owned()));
            rules.push((
                attempts >= calls,
                format!("a turn of {calls} calls over all clients, got {attempts} attempts"),
            ));
        }
    }
    broken(rules)
}

pub fn measured(measured: &Measured, ready: &Ready, turns: &[TurnRecord], description: &Description) -> Vec<String> {
    let kept = turns.last().map_or(0, |turn| turn.attempts);
    let sum: u64 = measured.operations.iter().map(|operation| operation.attempts()).sum();
    let calls = measured.syncs.calls();
    let turn_calls = turns.last().map_or(0, |turn| turn.sync_calls);
    let writes: u64 = measured
        .operations
        .iter()
        .filter(|operation| description.write_kinds.iter().any(|kind| kind.as_ref() == operation.kind))
        .map(|operation| operation.ok)
        .sum();
    let mut rules = vec![
        (
            measured.turns.as_slice() == turns.get(1..).unwrap_or_default(),
            "`turns` must be the measured turns as they were answered, dropped ones too, without the warm-up"
                .to_owned(),
        ),
        (measured.dropped_turns == 1, format!("`dropped_turns` must be 1, got {}", measured.dropped_turns)),
        (
            sum == kept,
            format!("`operations` must add up to the {kept} attempts of the turns that were not dropped, got {sum}"),
        ),
        (measured.effective == ready.effective, "`effective` must be that of `ready`".to_owned()),
        (measured.durability == ready.durability, "`durability` must be that of `ready`".to_owned()),
        (
            calls.is_some() || measured.syncs.missing.as_deref().is_some_and(|why| !why.is_empty()),
            "`syncs`: without a `collector` it must say in `missing` why nothing was counted".to_owned(),
        ),
        (
            calls.is_none_or(|calls| calls == turn_calls),
            format!("`syncs` must hold the {turn_calls} calls of the turn that was not dropped, got {calls:?}"),
        ),
        (
            !(ready.durability == Durability::PowerLoss && writes > 0 && calls == Some(0)),
            format!("{writes} writes survive a power loss, it says, without one sync call"),
        ),
        (
            measured.idle.cpu_share().is_none_or(|share| share <= IDLE_CPU_SHARE_MAX),
            format!(
                "between turns it must be quiet, and used {:.1} % of a core",
                measured.idle.cpu_share().unwrap_or(0.0) * 100.0
            ),
        ),
        (measured.idle.wall_ns > 0, "`idle.wall_ns` must hold the time between measured turns".to_owned()),
        (!measured.idle.synced(), "between turns it must make no sync call".to_owned()),
        (measured.check.checked > 0, "`check.checked` is 0: a check of nothing is not a check".to_owned()),
        (measured.check.passed, format!("its check failed: {}", measured.check.detail)),
        (measured.resources.cores > 0, "`resources.cores` must be the CPUs that it may use".to_owned()),
    ];
    for operation in &measured.operations {
        let kind = &operation.kind;
        let answered = operation.ok + operation.nothing.values().sum::<u64>();
        let counted = operation.response.count();
        let declared = description.operations.iter().any(|known| known == kind);
        rules.push((declared, format!("`operations`: `{kind}` is not among those that it describes")));
        rules.push((
            (answered == 0) == (counted == 0) && counted <= answered,
            format!("`{kind}`: {counted} response times of {answered} attempts that did not fail"),
        ));
    }
    for metric in &description.metrics {
        let (name, source) = (&metric.spec.name, metric.source.as_ref());
        let told = measured.counters.contains_key(source)
            || measured.gauges.contains_key(source)
            || measured.distributions.contains_key(source)
            || measured.resources.missing.contains_key(source);
        rules.push((
            told,
            format!("the metric `{name}` is described, and `{source}` is never told nor said to be missing"),
        ));
    }
    let mut found = broken(rules);
    found.extend(unexplained(&measured.resources));
    found
}

/// What is absent without a reason.
fn unexplained(resources: &Resources) -> Vec<String> {
    let Resources { storage_written_bytes, storage_read_bytes, written_bytes, write_calls, rss_peak_bytes, .. } =
        resources;
    [
        ("storage_written_bytes", storage_written_bytes),
        ("storage_read_bytes", storage_read_bytes),
        ("written_bytes", written_bytes),
        ("write_calls", write_calls),
        ("rss_peak_bytes", rss_peak_bytes),
    ]
    .into_iter()
    .filter(|(name, value)| value.is_none() && !resources.missing.contains_key(*name))
    .map(|(name, _)| format!("`resources.{name}` is absent: say why in `resources.missing`"))
    .collect()
}
