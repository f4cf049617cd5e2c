//! Cuts: a fresh target under load dies, a fresh agent opens what is left and checks it against the ledger.

mod plan;

use std::{
    fs, io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use uplift_model::{
    Scenario,
    crash::{CRASH_SCHEMA, Cut, CutMode, CutOutcome, CutPoint, Fault, FaultKind, Kept, LEDGER_BEGUN_AT},
    protocol::{AuditOrder, Prepare, RECOVERY_PHASE, TurnLength, TurnRequest},
    trial::{Failure, FailureKind},
};

use crate::{
    agent_connection::AgentConnection, block::Arm, interrupt::Interrupt, launch::LaunchOrder, monotonic::monotonic_ns,
};

pub use plan::{CutPlan, Planning, plan_cut};

/// How long a cut at a sync waits for that sync beyond the latest cut.
const SYNC_PATIENCE: Duration = Duration::from_secs(3);
/// How long the first operation of a load is waited for, and how often it is looked for.
const START_PATIENCE: Duration = Duration::from_secs(10);
const START_LOOK: Duration = Duration::from_millis(2);
/// Longer than any load before a cut.
const TURN_NS: u64 = 3_600_000_000_000;

/// A disk whose power can be cut: a directory that forgets.
pub trait CuttableDisk {
    /// Begins the load: all that is there is durable, and syncs and writes are counted from here. At sync call `at_sync` a
    /// message comes, and the call is held back until [`CuttableDisk::release`]; with `power` nothing is taken from then on.
    fn begin(&mut self, at_sync: Option<u64>, power: bool, fault: Option<Fault>) -> Receiver<()>;

    /// The power goes, now.
    fn cut(&mut self);

    /// Answers what is held back; nothing of it counts.
    fn release(&mut self);

    /// When the power went, by the monotonic clock.
    fn cut_ns(&self) -> Option<u64>;

    /// Sync calls since the load began.
    fn syncs(&self) -> u64;

    /// The power is back: the directory holds what is durable and, of the rest, what is kept. With `flip` one bit is another.
    ///
    /// # Errors
    /// Where it cannot be mounted again.
    fn restore(&mut self, kept: Kept, seed: u64, flip: bool) -> Result<(), String>;
}

/// Makes such disks.
pub trait CuttableDisks {
    /// A disk at an empty directory, for data that `owner` (a user and a group) may write where another than this one works.
    ///
    /// # Errors
    /// Why not, with the remedy.
    fn mount(&self, at: &Path) -> Result<Box<dyn CuttableDisk>, String>;
}

/// What cuts need to know beside their plan.
pub struct CutContext<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// The variant.
    pub arm: &'a Arm<'a>,
    /// Where data directories are made.
    pub data_root: &'a Path,
    /// Disks for cuts that need one; `None`: cuts come by time and kill.
    pub disks: Option<&'a dyn CuttableDisks>,
    /// Whether the user wants the run to end.
    pub interrupt: &'a Interrupt,
    /// What dies.
    pub mode: CutMode,
    /// The latest cut.
    pub within: Duration,
    /// What is done to the disk besides.
    pub fault: Option<Fault>,
    /// Whether builds with debug assertions may be used.
    pub allow_debug: bool,
}

/// Carries out one cut. The second value says what could not be removed after it.
pub fn run_cut(context: &CutContext<'_>, plan: &CutPlan) -> (Cut, Option<String>) {
    let label = format!("{}-{}-{}-{}", context.scenario.name, context.arm.name, context.mode, plan.number);
    let folder = context.data_root.join(label.replace('/', "-"));
    let mut cut = Cut {
        schema: CRASH_SCHEMA,
        scenario: context.scenario.name.clone(),
        variant: context.arm.name.clone(),
        number: plan.number,
        seed: plan.seed,
        mode: context.mode,
        point: plan.point,
        kept: plan.kept,
        fault: context.fault,
        declared: None,
        effective: Default::default(),
        load_ns: 0,
        syncs: None,
        gave_up: None,
        outcome: CutOutcome::Failed(launch_failure(String::new())),
    };
    cut.outcome = carry_out(context, plan, &folder, &mut cut).unwrap_or_else(CutOutcome::Failed);
    let left = remove(&folder)
        .err()
        .map(|error| format!("the data of a cut, `{}`, cannot be removed: {error}", folder.display()));
    (cut, left)
}

fn carry_out(context: &CutContext<'_>, plan: &CutPlan, folder: &Path, cut: &mut Cut) -> Result<CutOutcome, Failure> {
    let (data, ledger) = folders(folder)?;
    let needs_disk =
        context.mode == CutMode::Power || matches!(plan.point, CutPoint::Sync(_)) || context.fault.is_some();
    let mut disk = match (needs_disk, context.disks) {
        (false, _) => None,
        (true, Some(disks)) => Some(disks.mount(&data).map_err(launch_failure)?),
        (true, None) => return Err(launch_failure("this cut needs a disk of ours, and there is none".to_owned())),
    };
    let prepare = prepare(context, plan.seed, &ledger);
    let mut agent = start(context, &data, "load")?;
    let ready = agent.prepare(prepare.clone())?;
    cut.declared = Some(ready.durability);
    cut.effective = ready.effective;

    let begun = Instant::now();
    let latest = latest(context, plan);
    let mut began_to_work = None;
    let at_sync = match plan.point {
        CutPoint::Sync(number) => Some(number),
        CutPoint::After(_) => None,
    };
    let power = context.mode == CutMode::Power;
    let reached = disk.as_mut().map(|disk| disk.begin(at_sync, power, context.fault));
    let request = TurnRequest { index: 0, measured: false, length: TurnLength::Nanoseconds(TURN_NS) };
    let disk_cell = std::cell::RefCell::new(disk);
    let mut cut_ns = None;
    let worked = agent.cut_short(
        request,
        |longest| {
            // Threads that start on a busy machine take their time, and before they do there is nothing to lose.
            if began_to_work.is_none() && has_begun(Path::new(&ledger)) {
                began_to_work = Some(Instant::now());
            }
            let due = began_to_work.unwrap_or(begun + START_PATIENCE) + latest;
            let longest = if began_to_work.is_none() { START_LOOK } else { longest };
            let is_due = wait(reached.as_ref(), due, longest);
            if is_due
                && power
                && let Some(disk) = disk_cell.borrow_mut().as_mut()
            {
                disk.cut();
            }
            is_due
        },
        || {
            if let Some(disk) = disk_cell.borrow_mut().as_mut() {
                // One that gave up by itself has lost its power as well.
                if power {
                    disk.cut();
                }
                cut_ns = disk.cut_ns();
                disk.release();
            }
        },
    );
    let mut disk = disk_cell.into_inner();
    cut.load_ns = nanos(began_to_work.unwrap_or(begun).elapsed());
    let cut_ns = cut_ns.unwrap_or_else(monotonic_ns);
    cut.syncs = disk.as_ref().map(|disk| disk.syncs());
    match worked {
        Ok(()) => {}
        // A disk that fails may well end what works on it; what it had acknowledged counts all the same.
        Err(failure) if context.fault.is_some() && failure.kind != FailureKind::Interrupted => {
            cut.gave_up = Some(failure.message);
        }
        Err(failure) => return Err(failure),
    }
    if let Some(disk) = disk.as_mut() {
        let kept = plan.kept.unwrap_or(Kept::Everything);
        let flip = context.fault.is_some_and(|fault| fault.kind == FaultKind::FlippedBit);
        if power || flip {
            disk.restore(kept, plan.seed, flip).map_err(launch_failure)?;
        }
    }
    let order = AuditOrder { prepare: Prepare { ledger: None, ..prepare }, ledger, cut_ns };
    let mut auditor = start(context, &data, "audit")?;
    match auditor.audit(order) {
        Ok(audited) => Ok(match audited.not_opened {
            None => CutOutcome::Audited { recovery_ns: audited.recovery_ns, audit: audited.audit },
            Some(message) => CutOutcome::NotOpened { acknowledged: Some(audited.audit.acknowledged), message },
        }),
        Err(failure)
            if failure.phase == RECOVERY_PHASE
                && matches!(failure.kind, FailureKind::Target | FailureKind::Crashed | FailureKind::TimedOut) =>
        {
            Ok(CutOutcome::NotOpened { acknowledged: None, message: failure.message })
        }
        Err(failure) => Err(failure),
    }
}

/// The latest moment of this cut after the first operation.
fn latest(context: &CutContext<'_>, plan: &CutPlan) -> Duration {
    match plan.point {
        CutPoint::After(ns) => Duration::from_nanos(ns),
        CutPoint::Sync(_) => context.within + SYNC_PATIENCE,
    }
}

/// Whether any client has begun an operation.
fn has_begun(ledger: &Path) -> bool {
    fs::read_dir(ledger).into_iter().flatten().flatten().any(|entry| {
        let mut state = [0; 4];
        fs::File::open(entry.path()).is_ok_and(|file| file.read_exact_at(&mut state, LEDGER_BEGUN_AT).is_ok())
            && state != [0; 4]
    })
}

/// Waits for the cut's sync or its time, `longest` at most; whether it has come.
fn wait(reached: Option<&Receiver<()>>, due: Instant, longest: Duration) -> bool {
    let left = due.saturating_duration_since(Instant::now()).min(longest);
    match reached.map(|reached| reached.recv_timeout(left)) {
        Some(Ok(())) => return true,
        Some(Err(RecvTimeoutError::Timeout)) => {}
        Some(Err(RecvTimeoutError::Disconnected)) | None => std::thread::sleep(left),
    }
    Instant::now() >= due
}

/// Fresh folders for data and ledger; the ledger is outside of the data directory, which may lose what it holds.
fn folders(folder: &Path) -> Result<(PathBuf, String), Failure> {
    let failed = |what: &str, error: io::Error| {
        launch_failure(format!("could not {what} `{}`: {error}; name another folder with --data-dir", folder.display()))
    };
    remove(folder).map_err(|error| failed("remove what an earlier run has left in", error))?;
    let (data, ledger) = (folder.join("data"), folder.join("ledger"));
    for folder in [&data, &ledger] {
        fs::create_dir_all(folder).map_err(|error| failed("create folders in", error))?;
    }
    let data = data.canonicalize().map_err(|error| failed("find", error))?;
    let ledger = ledger.canonicalize().map_err(|error| failed("find", error))?;
    match ledger.to_str() {
        Some(text) => Ok((data, text.to_owned())),
        None => Err(failed("say the name of", io::Error::other("its path is not UTF-8"))),
    }
}

fn start(context: &CutContext<'_>, data: &Path, what: &str) -> Result<AgentConnection, Failure> {
    let handle = context.arm.launcher.start(&LaunchOrder {
        binary: context.arm.binary.clone(),
        data_dir: data.to_owned(),
        label: format!("{}-{}-{what}", context.scenario.name, context.arm.name).replace('/', "-"),
        pair: context.scenario.name.clone(),
        memory_bytes_max: context.arm.memory_bytes_max,
        counts_allocations: false,
    })?;
    let timeout = context.scenario.trial.timeout.0;
    let agent = AgentConnection::open(handle, context.interrupt.clone(), context.arm.memory_bytes_max, timeout)?;
    if agent.hello.debug_assertions && !context.allow_debug {
        return Err(launch_failure("the agent was built with debug assertions; pass --allow-debug".to_owned()));
    }
    Ok(agent)
}

fn prepare(context: &CutContext<'_>, seed: u64, ledger: &str) -> Prepare {
    let scenario = context.scenario;
    let work = scenario.variant(&context.arm.name).and_then(|variant| variant.work.as_ref());
    Prepare {
        target: scenario.target.clone(),
        workload: work.map_or(&scenario.workload, |work| &work.workload).clone(),
        settings: context.arm.settings.clone(),
        load: work.map_or(&scenario.load, |work| &work.load).clone(),
        data_dir: String::new(),
        seed,
        longest_turn_ns: 0,
        slice_ns: 0,
        disk: None,
        ledger: Some(ledger.to_owned()),
        role: None,
    }
}

fn launch_failure(message: String) -> Failure {
    Failure {
        kind: FailureKind::Launch,
        phase: "launch".to_owned(),
        message,
        stderr_tail: String::new(),
        problem: None,
    }
}

/// Removes a folder that need not be there.
fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
