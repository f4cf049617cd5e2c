//! One trial as the agent serves it: turns, what they used, and the record in the end.

use std::collections::BTreeMap;

use uplift_model::{
    Histogram,
    metric::{Derivation, DerivedMetric},
    protocol::{Prepare, Ready, Reply, Request, Sent, TurnLength, TurnRequest},
    scenario::Load,
    trial::{Failure, FailureKind, Idle, Measured, OperationRecord, Slice, TurnRecord},
};

use uplift_instrument::{
    allocations, clock, disk_model,
    external_processes::{ExternalProcesses, ExternalSyncs},
    latency_counts::SparseCounts,
    resources,
    sampler::{RunningSampler, SamplerOptions, StackSampler, Work},
    sync_probe,
    timeline::EventLog,
};
use uplift_sdk::{Description, REASONS_MAX, Samples, Target};

use crate::{
    load::Pool,
    part::{Begin, Part, Sending},
    recorder::{Cell, Recorder},
    serve::{HarnessConnection, failure, target_failure},
};

/// One trial under way.
pub(crate) struct Session<'a> {
    target: &'a dyn Target,
    pool: &'a Pool,
    description: &'a Description,
    groups: &'a [String],
    ready: Ready,
    origin_ns: u64,
    slice_ns: u64,
    events: &'a EventLog,
    turns: Vec<KeptTurn>,
    idle: Idle,
    quiet_since: Option<Quiet>,
    external: ExternalProcesses,
    separate_service: bool,
    load: Load,
    part: &'a Part,
    sending: Sending,
}

/// The moment since which the variant should have been idle.
struct Quiet {
    wall_ns: u64,
    cpu_ns: u64,
    sync_calls: u64,
}

impl Quiet {
    fn now(target: &dyn Target, external: &ExternalProcesses) -> Self {
        // Where children do all the work, what the agent itself takes for its bookkeeping disturbs nobody.
        let own_ns =
            if target.works_in_children() { resources::read_children().cpu_ns() } else { clock::process_cpu_ns() };
        Self {
            wall_ns: clock::now_ns(),
            cpu_ns: own_ns + external.cpu_ns(),
            sync_calls: sync_probe::calls() + external.syncs().calls(),
        }
    }
}

/// Everything of one measured turn, in a form that can still be left out of the sums.
struct KeptTurn {
    record: TurnRecord,
    cells: Vec<KeptCell>,
    slices: Vec<Slice>,
    usage: (resources::Usage, resources::Usage),
    syncs: (sync_probe::Snapshot, sync_probe::Snapshot),
    outside_syncs: (ExternalSyncs, ExternalSyncs),
    counters: BTreeMap<String, f64>,
}

struct KeptCell {
    ok: u64,
    nothing: [u64; REASONS_MAX],
    failed: [u64; REASONS_MAX],
    response: SparseCounts,
    service: SparseCounts,
    failed_response: SparseCounts,
}

impl KeptCell {
    fn take(cell: &mut Cell) -> Self {
        Self {
            ok: cell.ok,
            nothing: cell.nothing,
            failed: cell.failed,
            response: cell.response.take(),
            service: cell.service.take(),
            failed_response: cell.failed_response.take(),
        }
    }
}

/// By how much each counter has grown.
fn growth(before: &Samples, after: &Samples) -> BTreeMap<String, f64> {
    let grown = after.counters().iter().map(|(name, after)| {
        let before = before.counters().get(name).copied().unwrap_or(0.0);
        (name.to_string(), after - before)
    });
    grown.collect()
}

impl<'a> Session<'a> {
    /// Of a target that is set up as `prepare` asks, with the clients of `pool`.
    pub(crate) fn new(
        target: &'a dyn Target,
        pool: &'a Pool,
        description: &'a Description,
        groups: &'a [String],
        events: &'a EventLog,
        ready: Ready,
        (prepare, part): (&Prepare, &'a Part),
    ) -> Self {
        let external = ExternalProcesses::watch(target.processes(), target.unobservable_work());
        Self {
            target,
            pool,
            description,
            groups,
            ready,
            origin_ns: events.origin_ns(),
            slice_ns: prepare.slice_ns,
            events,
            turns: Vec::new(),
            idle: Idle { sync_calls: external.counts_syncs().then_some(0), ..Idle::default() },
            external,
            quiet_since: None,
            separate_service: !prepare.load.response_is_service(),
            load: prepare.load.clone(),
            part,
            sending: Sending::default(),
        }
    }
}

impl Session<'_> {
    /// Answers requests until the trial is finished. `None`: the harness hung up.
    pub(crate) fn serve(
        mut self,
        link: &mut HarnessConnection,
        sampler: Option<&dyn StackSampler>,
    ) -> Result<Option<Measured>, Failure> {
        link.send(&Reply::Ready(self.ready.clone()))?;
        let mut profiling: Option<(Box<dyn RunningSampler>, u64, Option<f64>)> = None;
        let mut operations = 0;
        loop {
            let Some(request) = link.receive()? else { return Ok(None) };
            match request {
                Request::Clock => link.send(&Reply::Clock { now_ns: clock::now_ns() })?,
                Request::TurnAt { turn, at_ns } if self.part.sends_only() => {
                    let (record, response) = self.turn(&turn, Begin::At(at_ns))?;
                    link.send(&Reply::Sent(Box::new(Sent { record, response })))?;
                    self.quiet_since = Some(Quiet::now(self.target, &self.external));
                }
                Request::Watch(turn) if self.part.keeps() => {
                    let (record, _) = self.turn(&turn, Begin::WithOthers(link))?;
                    link.send(&Reply::Turn(record))?;
                    self.quiet_since = Some(Quiet::now(self.target, &self.external));
                }
                Request::Turn(turn) if self.part.does_all() => {
                    let (record, _) = self.turn(&turn, Begin::Now)?;
                    operations += record.ok;
                    link.send(&Reply::Turn(record))?;
                    self.quiet_since = Some(Quiet::now(self.target, &self.external));
                }
                Request::ProfileStart { frequency_hz, off_cpu, tail_percentile, allocations } => {
                    let sampler = sampler.ok_or_else(|| {
                        failure(FailureKind::Unavailable, "profiling", "this agent was built without a profiler")
                    })?;
                    let options = SamplerOptions {
                        frequency_hz,
                        off_cpu,
                        moments: tail_percentile.is_some(),
                        work: self.sampled_work(),
                        allocations,
                    };
                    let running = sampler
                        .start(&options)
                        .map_err(|message| failure(FailureKind::Unavailable, "profiling", message))?;
                    link.send(&Reply::Profiling { sampler: running.name(), warnings: running.warnings() })?;
                    profiling = Some((running, operations, tail_percentile));
                    self.pool.note_calls(tail_percentile.is_some());
                    // What the sampler's start took is not the variant's.
                    self.quiet_since = self.quiet_since.take().map(|_| Quiet::now(self.target, &self.external));
                }
                Request::ProfileStop => {
                    let (running, before, tail_percentile) = profiling
                        .take()
                        .ok_or_else(|| failure(FailureKind::Protocol, "profiling", "no profile was started"))?;
                    self.pool.note_calls(false);
                    let calls = self.pool.take_calls();
                    let tail = tail_percentile.and_then(|percentile| calls.tail(percentile));
                    let mut profiled = running
                        .stop(tail.as_ref())
                        .map_err(|message| failure(FailureKind::Target, "profiling", message))?;
                    profiled.operations = operations - before;
                    if let Some(reason) = self.target.unobservable_work() {
                        profiled.not_sampled = Some(format!("what works for the target is out of reach: {reason}"));
                    }
                    if tail_percentile.is_some() && self.target.works_in_children() {
                        let message = "the slowest calls are told apart by the threads that make them: of programs \
                                       that are run there are none; leave --tail out";
                        profiled.warnings.push(message.to_owned());
                        profiled.tail = None;
                    }
                    link.send(&Reply::Profiled(Box::new(profiled)))?;
                }
                Request::Finish { drop_turns } => return self.finish(drop_turns).map(Some),
                Request::Hello { .. }
                | Request::Describe
                | Request::Validate { .. }
                | Request::Prepare(_)
                | Request::Audit(_) => {
                    return Err(failure(
                        FailureKind::Protocol,
                        "trial",
                        "hello, describe, validate, prepare and audit come at the beginning",
                    ));
                }
                Request::Turn(_) | Request::TurnAt { .. } | Request::Watch(_) | Request::WatchEnd { .. } => {
                    return Err(failure(FailureKind::Protocol, "trial", "this turn is not for an agent of this role"));
                }
            }
        }
    }

    /// One turn, and the response times of it.
    fn turn(&mut self, request: &TurnRequest, begin: Begin<'_>) -> Result<(TurnRecord, Histogram), Failure> {
        let phase = || if request.measured { format!("turn {}", request.index) } else { "warm-up".to_owned() };
        if request.measured {
            self.count_idle();
        }
        if request.measured && self.turns.is_empty() {
            self.target.reset_stages();
        }
        self.target.resume();
        let mut samples_before = Samples::default();
        self.target.sample(&mut samples_before);
        let syncs_before = (sync_probe::snapshot(), self.external.syncs());
        let usage_before = self.usage();
        let steal_before_ns = resources::machine_steal_ns();
        let cpu_before_ns = clock::process_cpu_ns();
        if let Some(stages) = self.target.stage_table() {
            stages.resume();
        }

        let queued_before_ns = self.part.queued_ns();
        let allocated = allocations::of_children();
        let count_allocated = |active| allocated.iter().for_each(|log| log.count(active));
        count_allocated(true);
        // Where others send, the system works until this returns.
        let at_ns = begin.agree()?;
        let mut run = self
            .pool
            .run_at(request.length, at_ns)
            .map_err(|message| failure(FailureKind::Target, phase(), message))?;
        // What is taken down of the turn is not the target's.
        count_allocated(false);
        let start_ns = run.start_ns;
        let recorder = run.recorder();
        let starts = recorder.starts;
        let (last_done_ns, unsent) = (recorder.last_done_ns, recorder.unsent);
        let (busy_ns, last_sent_ns) = (recorder.busy_ns, recorder.last_sent_ns);
        let cells: Vec<KeptCell> = recorder.cells_mut().iter_mut().map(KeptCell::take).collect();
        let slices = self.slices(start_ns, last_done_ns, recorder);
        drop(run);

        count_allocated(true);
        let quiesce_start_ns = clock::now_ns();
        self.target.quiesce().map_err(|error| target_failure(&phase(), &error))?;
        let quiesce_ns = clock::now_ns() - quiesce_start_ns;
        count_allocated(false);
        if let Some(stages) = self.target.stage_table() {
            stages.pause();
        }
        let cpu_ns = clock::process_cpu_ns() - cpu_before_ns;
        let steal_ns =
            resources::machine_steal_ns().zip(steal_before_ns).map(|(after, before)| after.saturating_sub(before));
        let usage_after = self.usage();
        let syncs_after = (sync_probe::snapshot(), self.external.syncs());
        let mut samples_after = Samples::default();
        self.target.sample(&mut samples_after);

        let mut response = Histogram::new();
        for cell in &cells {
            cell.response.add_to(&mut response);
        }
        let sum = |of: fn(&KeptCell) -> u64| cells.iter().map(of).sum::<u64>();
        let (ok, nothing, failed) =
            (sum(|cell| cell.ok), sum(|cell| cell.nothing.iter().sum()), sum(|cell| cell.failed.iter().sum()));
        let counters = growth(&samples_before, &samples_after);
        let record = TurnRecord {
            index: request.index,
            start_ns: start_ns.saturating_sub(self.origin_ns),
            wall_ns: last_done_ns.saturating_sub(start_ns),
            attempts: ok + nothing + failed,
            ok,
            nothing,
            failed,
            unsent,
            response_p50_ns: response.quantile(0.5),
            response_max_ns: response.max(),
            cpu_ns,
            sync_calls: syncs_after.0.calls() - syncs_before.0.calls() + syncs_after.1.calls() - syncs_before.1.calls(),
            quiesce_ns,
            busy_ns: self.never_pauses().then_some(busy_ns),
            clients: self.never_pauses().then(|| self.pool.clients()),
            window_ns: self.window_ns(request.length, last_sent_ns.saturating_sub(start_ns)),
            steal_ns,
            ratios: self.ratios(&counters),
        };
        if request.measured {
            self.sending.note(starts, queued_before_ns, self.part.queued_ns());
            self.turns.push(KeptTurn {
                record: record.clone(),
                cells,
                slices,
                usage: (usage_before, usage_after),
                syncs: (syncs_before.0, syncs_after.0),
                outside_syncs: (syncs_before.1, syncs_after.1),
                counters,
            });
        }
        Ok((record, response))
    }

    /// Adds what the target used since it was quiet.
    fn count_idle(&mut self) {
        if let Some(quiet) = self.quiet_since.take() {
            let now = Quiet::now(self.target, &self.external);
            self.idle.wall_ns += now.wall_ns.saturating_sub(quiet.wall_ns);
            self.idle.cpu_ns += now.cpu_ns.saturating_sub(quiet.cpu_ns);
            if let Some(calls) = &mut self.idle.sync_calls {
                *calls += now.sync_calls - quiet.sync_calls;
            }
        }
    }

    /// Of an open load: how long operations were due, which were all sent so long after its start.
    fn window_ns(&self, length: TurnLength, sent_ns: u64) -> Option<u64> {
        match (&self.load, length) {
            (Load::Open { .. }, TurnLength::Nanoseconds(window_ns)) => Some(window_ns.max(sent_ns)),
            _ => None,
        }
    }

    /// Whether every client is always within an operation while a turn lasts.
    const fn never_pauses(&self) -> bool {
        matches!(self.load, Load::Closed { think: None, .. })
    }

    /// Whose stacks a profile is of: of those who do the work.
    fn sampled_work(&self) -> Work {
        let processes = self.target.processes();
        match (self.target.works_in_children(), processes.is_empty()) {
            (true, _) => Work::Children,
            (false, true) => Work::Own,
            (false, false) => Work::OwnAnd(processes),
        }
    }

    /// What the agent and those who work for it external have used so far.
    fn usage(&self) -> resources::Usage {
        let mut usage = if self.target.works_in_children() { resources::read_children() } else { resources::read() };
        self.external.add_to(&mut usage);
        usage
    }

    /// The target's metrics that are ratios of counters, from the growth of these.
    fn ratios(&self, counters: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
        let ratio = |metric: &DerivedMetric| {
            let Derivation::Per(other) = &metric.derivation else { return None };
            let (growth, of) = (counters.get(&*metric.source)?, counters.get(&**other)?);
            (*of > 0.0).then(|| (metric.spec.name.to_string(), growth / of))
        };
        self.description.metrics.iter().filter_map(ratio).collect()
    }

    fn slices(&self, start_ns: u64, last_done_ns: u64, recorder: &Recorder) -> Vec<Slice> {
        recorder
            .slices()
            .iter()
            .enumerate()
            .map(|(index, cell)| Slice {
                start_ns: (start_ns + index as u64 * self.slice_ns).saturating_sub(self.origin_ns),
                duration_ns: self.slice_ns,
                ok: cell.ok,
                response_max_ns: cell.response_max_ns,
            })
            // A slice that the last operation did not fill is not comparable with the others.
            .take_while(|slice| slice.start_ns + self.slice_ns <= last_done_ns.saturating_sub(self.origin_ns))
            .collect()
    }

    fn finish(self, drop_turns: u32) -> Result<Measured, Failure> {
        let drain_start_ns = clock::now_ns();
        let mut drain = self.target.drain().map_err(|error| target_failure("drain", &error))?;
        drain.duration_ns = clock::now_ns() - drain_start_ns;
        let mut samples = Samples::default();
        self.target.sample(&mut samples);
        let stages = self.target.stages();
        let distributions = self.target.distributions();
        let mut total = resources::empty();
        total.missing.extend(samples.absences().iter().map(|(name, reason)| (name.to_string(), reason.clone())));
        // Before the check: its memory is not the workload's.
        resources::add_peak_memory_to(&mut total);
        if total.missing.contains_key("rss_peak_bytes") {
            total.rss_peak_bytes = None;
        }
        let (counted_syncs, result) = (self.target.syncs(), self.target.result());
        let check = self.target.check().map_err(|error| target_failure("check", &error))?;

        let kept = self.turns.get(drop_turns as usize..).unwrap_or(&[]);
        let mut syncs = sync_probe::empty_record();
        let mut counters = BTreeMap::new();
        for turn in kept {
            turn.usage.0.add_growth_to(&turn.usage.1, turn.record.wall_ns, &mut total);
            turn.syncs.0.add_growth_to(&turn.syncs.1, &mut syncs);
            turn.outside_syncs.0.add_growth_to(&turn.outside_syncs.1, &mut syncs);
            for (name, growth) in &turn.counters {
                *counters.entry(name.clone()).or_insert(0.0) += growth;
            }
        }
        self.external.describe_syncs(&mut syncs);
        let syncs = counted_syncs.unwrap_or(syncs);
        self.external.describe_usage(&mut total);
        let sent = kept.iter().map(|turn| &turn.record);
        Ok(Measured {
            load_agents: self
                .part
                .sends_only()
                .then(|| self.sending.of(self.pool.clients(), sent))
                .into_iter()
                .collect(),
            system_cpus: self.part.held_cpus(),
            effective: self.ready.effective.clone(),
            durability: self.ready.durability,
            ceiling: self.ready.ceiling.clone(),
            setup_ns: self.ready.setup_ns,
            operations: self.operations(kept),
            slices: kept.iter().flat_map(|turn| turn.slices.iter().copied()).collect(),
            turns: self.turns.into_iter().map(|turn| turn.record).collect(),
            dropped_turns: drop_turns,
            resources: total,
            syncs,
            disk: disk_model::in_force(),
            counters,
            gauges: samples.gauges().iter().map(|(name, value)| (name.to_string(), *value)).collect(),
            distributions,
            stages,
            events: self.events.events(),
            sampled: self.target.sampled(),
            idle: self.idle,
            drain,
            check,
            result,
        })
    }

    /// The merged counts of every kind and group in which anything was attempted.
    fn operations(&self, kept: &[KeptTurn]) -> Vec<OperationRecord> {
        let groups = self.groups.len().max(1);
        let named = |counts: &[u64; REASONS_MAX], names: &[std::borrow::Cow<'static, str>]| -> BTreeMap<String, u64> {
            counts
                .iter()
                .enumerate()
                .filter(|(_, count)| **count > 0)
                .map(|(index, count)| {
                    (names.get(index).map_or_else(|| format!("undeclared {index}"), ToString::to_string), *count)
                })
                .collect()
        };
        let mut records = Vec::new();
        for (kind_index, kind) in self.description.operations.iter().enumerate() {
            for group in 0..groups {
                let index = kind_index * groups + group;
                let mut record = OperationRecord {
                    kind: kind.to_string(),
                    group: self.groups.get(group).cloned(),
                    ok: 0,
                    nothing: BTreeMap::new(),
                    failed: BTreeMap::new(),
                    response: Histogram::new(),
                    service: self.separate_service.then(Histogram::new),
                    failed_response: None,
                };
                let (mut nothing, mut failed) = ([0; REASONS_MAX], [0; REASONS_MAX]);
                for cell in kept.iter().filter_map(|turn| turn.cells.get(index)) {
                    record.ok += cell.ok;
                    for (sum, count) in nothing.iter_mut().zip(cell.nothing) {
                        *sum += count;
                    }
                    for (sum, count) in failed.iter_mut().zip(cell.failed) {
                        *sum += count;
                    }
                    cell.response.add_to(&mut record.response);
                    if let Some(service) = &mut record.service {
                        cell.service.add_to(service);
                    }
                    if cell.failed_response.count() > 0 {
                        cell.failed_response.add_to(record.failed_response.get_or_insert_with(Histogram::new));
                    }
                }
                record.nothing = named(&nothing, &self.description.no_op_reasons);
                record.failed = named(&failed, &self.description.failure_categories);
                if record.attempts() > 0 {
                    records.push(record);
                }
            }
        }
        records
    }
}
