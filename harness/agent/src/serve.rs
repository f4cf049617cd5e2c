//! Serves one trial over the agent's standard input and output.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read as _, Write as _},
    os::fd::{AsRawFd as _, FromRawFd as _},
    path::{Path, PathBuf},
    process::{self, ExitCode},
    thread,
};

use uplift_model::{
    crash::Audit,
    description::DescribedTarget,
    protocol::{
        AgentHello, Audited, LINE_BYTES_MAX, PROTOCOL_VERSION, Prepare, RECOVERY_PHASE, Ready, Reply, Request,
        Validated,
    },
    trial::{Failure, FailureKind},
};

use uplift_instrument::{
    clock, crash_ledger::Ledger, disk_model, external_processes::tree, sampler::StackSampler, sync_collectors,
    sync_probe, timeline::EventLog,
};
use uplift_sdk::{OpenContext, Target, TargetError, TargetErrorKind, TargetFactory};

use crate::{load::Pool, part::Part, recorder::Recorder, session::Session};

/// Why no disk can be modelled in a build whose sync calls go past the probe.
const NO_PROBE: &str = "a modelled disk needs the sync probe, which is not in the way of this build's sync calls; run `uplift doctor`, or leave the modelled disk out";

/// Why no disk can be modelled for a server.
const SYNCS_ELSEWHERE: &str = "a modelled disk holds the sync calls of the agent's own process and of programs that the target starts for it, and those of this variant are made by a service that runs elsewhere, or in a container; measure it without a modelled disk, or slow the disk itself down (`--launch docker --docker-arg=--device-write-iops=…`)";

/// Serves one trial and returns the process's exit code: 0 when the conversation ended in order.
pub fn serve(factories: &[&dyn TargetFactory], sampler: Option<&dyn StackSampler>) -> ExitCode {
    let mut link = match HarnessConnection::take_over() {
        Ok(link) => link,
        Err(error) => {
            eprintln!("uplift agent: cannot take over standard input and output: {error}");
            return ExitCode::FAILURE;
        }
    };
    match converse(&mut link, factories, sampler) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("uplift agent: {}: {}", failure.phase, failure.message);
            let _ = link.send(&Reply::Failed(failure));
            ExitCode::FAILURE
        }
    }
}

pub(crate) fn failure(kind: FailureKind, phase: impl Into<String>, message: impl Into<String>) -> Failure {
    Failure { kind, phase: phase.into(), message: message.into(), stderr_tail: String::new(), problem: None }
}

pub(crate) fn target_failure(phase: &str, error: &TargetError) -> Failure {
    let kind = match &error.kind {
        TargetErrorKind::Settings(_) => FailureKind::Settings,
        TargetErrorKind::Unavailable { .. } => FailureKind::Unavailable,
        TargetErrorKind::Io(io) if io.kind() == io::ErrorKind::StorageFull => FailureKind::DiskFull,
        TargetErrorKind::Io(_) | TargetErrorKind::Engine(_) => FailureKind::Target,
    };
    Failure { problem: error.problem().map(Box::new), ..failure(kind, phase, error.to_string()) }
}

/// The conversation's two ends, moved away from standard input and output so that nothing else can speak on them.
pub(crate) struct HarnessConnection {
    requests: BufReader<File>,
    replies: File,
}

impl HarnessConnection {
    fn take_over() -> io::Result<Self> {
        let null = File::open("/dev/null")?;
        // SAFETY: dup and dup2 of descriptors that the process was started with; the new ones are owned by the files.
        unsafe {
            let input = check(libc::dup(0))?;
            let output = check(libc::dup(1))?;
            check(libc::dup2(null.as_raw_fd(), 0))?;
            check(libc::dup2(2, 1))?;
            for descriptor in [input, output] {
                check(libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC))?;
            }
            Ok(Self { requests: BufReader::new(File::from_raw_fd(input)), replies: File::from_raw_fd(output) })
        }
    }

    pub(crate) fn send(&mut self, reply: &Reply) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(reply).map_err(|error| {
            failure(FailureKind::Protocol, "answering", format!("could not write a reply: {error}"))
        })?;
        line.push(b'\n');
        self.replies.write_all(&line).map_err(|error| {
            failure(FailureKind::Protocol, "answering", format!("the harness does not listen: {error}"))
        })
    }

    /// The next request; `None` when the harness has hung up.
    pub(crate) fn receive(&mut self) -> Result<Option<Request>, Failure> {
        read_request(&mut self.requests).map_err(|message| failure(FailureKind::Protocol, "reading a request", message))
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Reads one request line; `None` at the end of the stream.
///
/// # Errors
/// A sentence about a line that is too long, cut off, not JSON, or not a request of this protocol.
pub fn read_request(reader: &mut impl BufRead) -> Result<Option<Request>, String> {
    let mut line = Vec::new();
    let read = reader
        .take(LINE_BYTES_MAX as u64)
        .read_until(b'\n', &mut line)
        .map_err(|error| format!("could not read the stream: {error}"))?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        return Err(if read == LINE_BYTES_MAX {
            format!("a line is longer than {LINE_BYTES_MAX} bytes")
        } else {
            "the stream ended in the middle of a line".to_owned()
        });
    }
    serde_json::from_slice(&line)
        .map(Some)
        .map_err(|error| format!("a line is not a request of protocol {PROTOCOL_VERSION}: {error}"))
}

fn converse(
    link: &mut HarnessConnection,
    factories: &[&dyn TargetFactory],
    sampler: Option<&dyn StackSampler>,
) -> Result<(), Failure> {
    let Some(first) = link.receive()? else { return Ok(()) };
    let Request::Hello { protocol } = first else {
        return Err(failure(FailureKind::Protocol, "hello", "the first request must be hello"));
    };
    link.send(&Reply::Hello(AgentHello {
        protocol: PROTOCOL_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        debug_assertions: cfg!(debug_assertions),
        sync_probe_live: sync_probe::is_live(),
        targets: factories.iter().map(|factory| factory.name().to_owned()).collect(),
    }))?;
    if protocol != PROTOCOL_VERSION {
        return Err(failure(
            FailureKind::Protocol,
            "hello",
            format!(
                "the harness speaks protocol {protocol} and this agent {PROTOCOL_VERSION}; both must be built from versions of uplift with the same protocol"
            ),
        ));
    }
    loop {
        let Some(request) = link.receive()? else { return Ok(()) };
        match request {
            Request::Describe => link.send(&Reply::Described { targets: described(factories) })?,
            Request::Validate { target, workload, settings } => {
                let factory = named(factories, &target, "validation")?;
                let problem = factory.validate(&workload, &settings).err().map(Into::into);
                // A workload that is wrong has no metrics.
                let metrics = if problem.is_none() { factory.workload_metrics(&workload) } else { Vec::new() };
                link.send(&Reply::Validated(Validated { problem, metrics }))?;
            }
            Request::Prepare(prepare) => {
                let factory = named(factories, &prepare.target, "set-up")?;
                return serve_trial(link, factory, &prepare, sampler);
            }
            Request::Audit(order) => {
                let factory = named(factories, &order.prepare.target, "set-up")?;
                return serve_audit(link, factory, &order.prepare, Path::new(&order.ledger), order.cut_ns);
            }
            _ => {
                let rule = "after hello come describe and validate, or prepare, or audit";
                return Err(failure(FailureKind::Protocol, "hello", rule));
            }
        }
    }
}

fn described(factories: &[&dyn TargetFactory]) -> Vec<DescribedTarget> {
    let one = |factory: &&dyn TargetFactory| DescribedTarget {
        name: factory.name().to_owned(),
        about: factory.about().to_owned(),
        description: factory.describe(),
    };
    factories.iter().map(one).collect()
}

fn named<'a>(factories: &[&'a dyn TargetFactory], name: &str, phase: &str) -> Result<&'a dyn TargetFactory, Failure> {
    factories.iter().copied().find(|factory| factory.name() == name).ok_or_else(|| {
        let known: Vec<_> = factories.iter().map(|factory| factory.name()).collect();
        let message = format!("this agent has no target `{name}`; it has {}", known.join(", "));
        failure(FailureKind::Settings, phase, message)
    })
}

/// What of the target's work is done by processes that are not the agent's own.
fn works_elsewhere(target: &dyn Target) -> Option<String> {
    if let Some(reason) = target.unobservable_work() {
        return Some(reason);
    }
    let own = tree::of(&[process::id()]);
    let other = target.processes().into_iter().find(|id| !own.contains(id))?;
    let name = fs::read_to_string(format!("/proc/{other}/comm")).unwrap_or_default();
    Some(format!("process {other} ({}), which the agent did not start", name.trim()))
}

/// What a target is told when it is opened.
fn context(prepare: &Prepare, events: &EventLog) -> OpenContext {
    OpenContext {
        workload: prepare.workload.clone(),
        settings: prepare.settings.clone(),
        load: prepare.load.clone(),
        data_dir: PathBuf::from(&prepare.data_dir),
        seed: prepare.seed,
        events: events.clone(),
        ledger: prepare.ledger.as_ref().map(PathBuf::from),
    }
}

/// Opens what is left of a target that died, and checks it against its ledger.
fn serve_audit(
    link: &mut HarnessConnection,
    factory: &dyn TargetFactory,
    prepare: &Prepare,
    ledger: &Path,
    cut_ns: u64,
) -> Result<(), Failure> {
    let ledger = Ledger::read(ledger, cut_ns).map_err(|error| {
        failure(FailureKind::Target, "audit", format!("could not read the ledger `{}`: {error}", ledger.display()))
    })?;
    let begun_ns = clock::now_ns();
    let reopened = factory.reopen(context(prepare, &EventLog::new(begun_ns)));
    let recovery_ns = clock::now_ns() - begun_ns;
    let audited = match reopened {
        Ok(recovered) => {
            let audit = recovered.audit(&ledger).map_err(|error| target_failure("audit", &error))?;
            Audited { recovery_ns, audit, not_opened: None }
        }
        Err(error) => {
            let failure = target_failure(RECOVERY_PHASE, &error);
            if failure.kind != FailureKind::Target {
                return Err(failure);
            }
            let audit = Audit { acknowledged: ledger.acknowledged(), in_flight: ledger.open(), ..Audit::default() };
            Audited { recovery_ns, audit, not_opened: Some(failure.message) }
        }
    };
    link.send(&Reply::Audited(audited))
}

fn serve_trial(
    link: &mut HarnessConnection,
    factory: &dyn TargetFactory,
    prepare: &Prepare,
    sampler: Option<&dyn StackSampler>,
) -> Result<(), Failure> {
    let setup_start_ns = clock::now_ns();
    let description = factory.describe_workload(&prepare.workload);
    let events = EventLog::new(setup_start_ns);
    factory
        .validate(&prepare.workload, &prepare.settings)
        .map_err(|error| failure(FailureKind::Settings, "set-up", error.to_string()))?;
    if let Some(disk) = &prepare.disk {
        if !sync_probe::is_live() {
            return Err(failure(FailureKind::Unavailable, "set-up", NO_PROBE));
        }
        // Before the target starts threads: they inherit what precise waiting needs.
        disk_model::activate(disk, prepare.seed).map_err(|message| failure(FailureKind::Target, "set-up", message))?;
    }
    let part = Part::of(prepare)?;
    let target = part.open(factory, context(prepare, &events)).map_err(|error| target_failure("set-up", &error))?;
    let out_of_reach = || {
        let serves = !target.processes().is_empty() && !sync_collectors::is_holding();
        serves || target.unobservable_work().is_some()
    };
    if prepare.disk.is_some() && out_of_reach() {
        return Err(failure(FailureKind::Unavailable, "set-up", SYNCS_ELSEWHERE));
    }
    let groups = target.groups();
    // Slices beyond the turn hold what an open loop sends late.
    let slices = prepare.longest_turn_ns.checked_div(prepare.slice_ns).map_or(0, |slices| 3 * slices as usize + 16);
    let recorder = Recorder::new(
        description.operations.len(),
        groups.len(),
        prepare.slice_ns,
        slices,
        !prepare.load.response_is_service(),
    );
    let pool = Pool::new(prepare.load.clone(), prepare.seed, recorder).with_share(part.clients(&prepare.load));

    let outcome = thread::scope(|scope| {
        let outcome = pool
            .spawn(scope, target.as_ref())
            .map_err(|error| target_failure("set-up", &error))
            .and_then(|()| target.quiesce().map_err(|error| target_failure("set-up", &error)))
            .and_then(|()| {
                if let Some(stages) = target.stage_table() {
                    stages.pause();
                }
                let ready = Ready {
                    effective: target.effective(),
                    durability: target.durability(),
                    ceiling: target.ceiling(),
                    setup_ns: clock::now_ns() - setup_start_ns,
                    works_elsewhere: works_elsewhere(target.as_ref()),
                    system: if part.keeps() { target.system() } else { None },
                };
                Session::new(target.as_ref(), &pool, &description, &groups, &events, ready, (prepare, &part))
                    .serve(link, sampler)
            });
        pool.close();
        outcome
    })?;
    if let Some(measured) = outcome {
        target.close().map_err(|error| target_failure("stop", &error))?;
        link.send(&Reply::Finished(Box::new(measured)))?;
    }
    Ok(())
}
