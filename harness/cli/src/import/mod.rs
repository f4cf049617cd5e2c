//! What other tools measured, as records of a run.
//!
//! Such tools measure one thing after the other: nothing was interleaved. So an import is a run that was measured without
//! a comparison, and its first warning says so.

pub mod formats;

use std::{
    collections::BTreeMap,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use toml::{Table, Value};
use uplift_engine::store::RunStore;
use uplift_model::{
    Better, Durability, Histogram, MetricClass, MetricSpec, Trial, Unit,
    metric::{Derivation, DerivedMetric},
    run::{Intent, PlannedScenario, RUN_SCHEMA, Run, RunState},
    trial::{
        Check, Drain, Idle, Measured, OperationRecord, Resources, Sentinels, SyncRecord, TRIAL_SCHEMA, TrialOutcome,
        TurnRecord,
    },
};
use uplift_sdk::TargetFactory;

use self::formats::{Imported, Sample};
use crate::{ad_hoc::names, catalogue, error::CliError};

/// The target that imported programs belong to: each has a command that measures it again.
const TARGET: &str = "command";
/// Values that some tools give beside the time, each of one operation.
const EXTRAS: [(&str, &str, Unit); 2] = [
    ("allocated_bytes", "bytes that one operation allocated", Unit::Bytes),
    ("allocations", "allocations of one operation", Unit::Count),
];

/// Makes a run of what was read from `file` and stores it in `out`; its trials too.
pub fn store(
    imported: &Imported,
    file: &Path,
    variant: Option<&str>,
    out: &Path,
    targets: &[&'static dyn TargetFactory],
) -> Result<(RunStore, Run, Vec<Trial>), CliError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (mut scenarios, mut trials) = (Vec::new(), Vec::new());
    for group in &imported.groups {
        let commands: Vec<String> = group.arms.iter().map(|arm| arm.command.clone()).collect();
        let names = match (variant, commands.len()) {
            (Some(name), 1) => vec![name.to_owned()],
            (None, 1) => vec!["imported".to_owned()],
            _ => names::of(&commands),
        };
        let planned = planned(&group.name, &names, &commands, imported.tool, targets)?;
        for (name, arm) in names.iter().zip(&group.arms) {
            let of_arm = arm.samples.iter().zip(0..);
            trials
                .extend(of_arm.map(|(sample, index)| trial(&planned.scenario.name, name, &arm.command, sample, index)));
        }
        scenarios.push(planned);
    }
    let variants = scenarios.first().map(|planned| planned.variants.clone()).unwrap_or_default();
    let mut run = Run {
        schema: RUN_SCHEMA,
        id: format!("{}-import-{}", crate::session::utc(now.as_secs()), imported.tool),
        intent: Intent::Run { variants },
        state: RunState::Complete,
        started_unix_s: now.as_secs(),
        command: std::env::args().collect(),
        seed: 0,
        budget_ns: 0,
        environment: Default::default(),
        scenarios,
        warnings: vec![format!(
            "imported from `{}` of {}: nothing was interleaved, so that what differs between two of its programs may be \
             the machine's; compare them by `uplift compare --cmd … --cmd …`",
            file.display(),
            imported.tool
        )],
    };
    let mut store = RunStore::create(out, &mut run)?;
    for trial in &trials {
        store.append(trial)?;
    }
    Ok((store, run, trials))
}

fn planned(
    name: &str,
    names: &[String],
    commands: &[String],
    tool: &str,
    targets: &[&'static dyn TargetFactory],
) -> Result<PlannedScenario, CliError> {
    let text = |text: &str| Value::String(text.to_owned());
    let variants: Table = names
        .iter()
        .zip(commands)
        .map(|(name, command)| (name.clone(), Value::Table(Table::from_iter([("command".to_owned(), text(command))]))))
        .collect();
    let file: Table = [
        ("schema", Value::Integer(1)),
        ("target", text(TARGET)),
        ("title", text(&format!("{name}, as {tool} measured it"))),
        ("primary", text("run_time")),
        // Whatever stands in the commands is the shell's to read.
        ("workload", Value::Table(Table::from_iter([("shell".to_owned(), text("sh"))]))),
        ("variants", Value::Table(variants)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into_iter()
    .collect();
    let file = toml::to_string(&file).map_err(|error| CliError::usage(format!("`{name}`: {error}"), ""))?;
    let entry = catalogue::parse(&format!("{TARGET}/{name}"), "the imported file", &file, &[], targets)?;
    let mut metrics = vec![DerivedMetric {
        spec: MetricSpec::new("run_time", Unit::Nanoseconds, Better::Lower, MetricClass::Time, "time of one operation"),
        source: "run_time".into(),
        derivation: Derivation::Per("runs".into()),
    }];
    metrics.extend(EXTRAS.map(|(name, about, unit)| DerivedMetric {
        spec: MetricSpec::new(name, unit, Better::Lower, MetricClass::Counter, about),
        source: name.into(),
        derivation: Derivation::Per("runs".into()),
    }));
    Ok(PlannedScenario {
        scenario: entry.scenario,
        variants: names.to_vec(),
        unit_of_work: "run".to_owned(),
        write_kinds: Vec::new(),
        metrics,
        skipped: None,
        blocks: None,
        blocks_max: None,
        stopped: Some(format!("measured by {tool}")),
        decided_early: false,
        agent: None,
        binaries: BTreeMap::new(),
        calibration: None,
        launchers: BTreeMap::new(),
    })
}

fn trial(scenario: &str, variant: &str, command: &str, sample: &Sample, index: u32) -> Trial {
    let absent = "the file does not say";
    let total_ns = sample.total_ns;
    let each_ns = total_ns / sample.runs.max(1.0);
    let mut response = Histogram::new();
    response.record_n(each_ns as u64, 1);
    let mut counters = BTreeMap::from([("runs".to_owned(), sample.runs), ("run_time".to_owned(), total_ns)]);
    counters.extend(sample.extras.iter().map(|(name, each)| ((*name).to_owned(), each * sample.runs)));
    let missing =
        ["cpu", "storage_written_bytes", "storage_read_bytes", "written_bytes", "write_calls", "rss_peak_bytes"];
    let turn = TurnRecord {
        index: 0,
        start_ns: 0,
        wall_ns: total_ns as u64,
        attempts: sample.runs as u64,
        ok: sample.runs as u64,
        nothing: 0,
        failed: 0,
        unsent: 0,
        response_p50_ns: Some(each_ns as u64),
        response_max_ns: None,
        cpu_ns: 0,
        sync_calls: 0,
        busy_ns: None,
        clients: None,
        window_ns: None,
        steal_ns: None,
        quiesce_ns: 0,
        ratios: BTreeMap::from([("run_time".to_owned(), each_ns)]),
    };
    let operation = OperationRecord {
        kind: "run".to_owned(),
        group: None,
        ok: sample.runs as u64,
        nothing: BTreeMap::new(),
        failed: BTreeMap::new(),
        response,
        service: None,
        failed_response: None,
    };
    Trial {
        schema: TRIAL_SCHEMA,
        scenario: scenario.to_owned(),
        variant: variant.to_owned(),
        block: index,
        position: 0,
        started_unix_ns: 0,
        place: None,
        seed: 0,
        outcome: TrialOutcome::Ok,
        sentinels: Sentinels::default(),
        measured: Some(Measured {
            effective: BTreeMap::from([("command".to_owned(), command.to_owned())]),
            durability: Durability::ProcessCrash,
            ceiling: None,
            setup_ns: 0,
            turns: vec![turn],
            dropped_turns: 0,
            operations: vec![operation],
            resources: Resources {
                wall_ns: total_ns as u64,
                cores: 1,
                missing: missing.map(|field| (field.to_owned(), absent.to_owned())).into(),
                ..Resources::default()
            },
            syncs: SyncRecord { missing: Some(absent.to_owned()), ..SyncRecord::default() },
            disk: None,
            counters,
            gauges: BTreeMap::new(),
            distributions: BTreeMap::new(),
            slices: Vec::new(),
            stages: Vec::new(),
            events: Vec::new(),
            sampled: None,
            idle: Idle::default(),
            drain: Drain { owed: Some(0), ..Drain::default() },
            check: Check { passed: true, checked: 0, detail: absent.to_owned() },
            result: None,
            load_agents: Vec::new(),
            system_cpus: Vec::new(),
        }),
    }
}
