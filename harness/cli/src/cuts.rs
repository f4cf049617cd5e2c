//! The cuts of variants: shared by `crash` and by `compare --crash`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use uplift_engine::{
    Interrupt, RunStore,
    block::Arm,
    crash::{CutContext, CuttableDisks, Planning, plan_cut, run_cut},
    environment,
};
use uplift_model::{
    Scenario,
    crash::{Cut, CutMode, CutOutcome, CutPoint},
    run::RunState,
    scenario::Variant,
    trial::FailureKind,
};
use uplift_sdk::TargetFactory;

use crate::{
    args::{ComparisonArgs, Cutting, Mode, SetupArgs},
    error::CliError,
    finished::Finished,
    launchers::Launchers,
    output::{Terminal, write_documents},
    power,
};

/// The latest cut where nothing is said, and the latest to which that may grow: what is cut before anything was acknowledged
/// demonstrates nothing.
const WITHIN: Duration = Duration::from_millis(300);
const WITHIN_MAX: Duration = Duration::from_secs(10);
/// After so many cuts in a row that could not be carried out, the variant is given up.
const FAILED_MAX: u32 = 3;

/// The factory of a scenario's target.
pub fn factory_of<'a>(
    scenario: &Scenario,
    targets: &[&'a dyn TargetFactory],
) -> Result<&'a dyn TargetFactory, CliError> {
    targets
        .iter()
        .find(|factory| factory.name() == scenario.target)
        .copied()
        .ok_or_else(|| CliError::usage(format!("there is no target `{}`", scenario.target), ""))
}

/// How the cuts of a run are made.
pub struct Cuts<'a> {
    cutting: &'a Cutting,
    modes: &'static [CutMode],
    disks: Option<Box<dyn CuttableDisks>>,
    /// Why there is no disk of ours.
    no_disks: Option<String>,
    count: u32,
    seed: u64,
    memory_bytes_max: u64,
    allow_debug: bool,
    launchers: &'a Launchers,
    interrupt: &'a Interrupt,
    terminal: &'a Terminal,
    /// What could not be removed.
    pub left: Vec<String>,
}

impl<'a> Cuts<'a> {
    /// Finds out what can be cut here. Power that was asked for must be there; where nothing was asked for, it may be missing.
    pub fn new(
        cutting: &'a Cutting,
        setup: &SetupArgs,
        count: u32,
        seed: u64,
        launchers: &'a Launchers,
        interrupt: &'a Interrupt,
        terminal: &'a Terminal,
    ) -> Result<Self, CliError> {
        let needed =
            matches!(cutting.mode, Some(Mode::Power | Mode::Both)) || cutting.every_sync > 0 || cutting.fault.is_some();
        let (disks, no_disks) = match power::disks() {
            Ok(disks) => (Some(disks), None),
            Err(why) if needed => return Err(CliError::environment(why, power::REMEDY)),
            Err(why) => (None, Some(format!("the power is not cut: {why}; {}", power::REMEDY))),
        };
        let modes = match (cutting.mode, cutting.fault, &disks) {
            (Some(mode), ..) => mode.modes(),
            (None, Some(_), _) => Mode::Power.modes(),
            (None, None, Some(_)) => Mode::Both.modes(),
            (None, None, None) => Mode::Kill.modes(),
        };
        let memory = setup.memory_max.map(|mib| mib << 20);
        let memory = memory.or_else(|| environment::memory_bytes().map(|bytes| bytes / 4 * 3));
        Ok(Self {
            cutting,
            modes,
            disks,
            no_disks,
            count,
            seed,
            memory_bytes_max: memory.unwrap_or(u64::MAX),
            allow_debug: setup.allow_debug,
            launchers,
            interrupt,
            terminal,
            left: Vec::new(),
        })
    }

    /// What the reader of the run must know about what was not tried.
    pub fn warning(&self) -> Option<&str> {
        self.no_disks.as_deref()
    }

    /// Carries out the cuts of one variant; each is written down at once.
    pub fn of_variant(
        &mut self,
        scenario: &Scenario,
        name: &str,
        data_root: &Path,
        binary: Option<PathBuf>,
        store: &mut RunStore,
        all: &mut Vec<Cut>,
    ) -> Result<(), CliError> {
        let Some(variant) = scenario.variant(name) else { return Ok(()) };
        let launcher = self.launchers.of(Some(variant));
        if launcher.name() != "process" {
            return Err(CliError::usage(
                format!("`{name}` of `{}` runs in a container, and cuts are made of processes", scenario.name),
                "leave --launch out, or name another variant",
            ));
        }
        let arm = Arm {
            name: name.to_owned(),
            settings: variant.settings.clone(),
            launcher,
            binary,
            memory_bytes_max: variant.uplift.memory_bytes.unwrap_or(self.memory_bytes_max),
            sampling: None,
            counts_allocations: false,
        };
        let asked = self.cutting.within.map(|within| within.0);
        let mut within = asked.unwrap_or(WITHIN);
        for &mode in self.modes {
            let mut context = CutContext {
                scenario,
                arm: &arm,
                data_root,
                disks: self.disks.as_deref(),
                interrupt: self.interrupt,
                mode,
                within,
                fault: self.cutting.fault,
                allow_debug: self.allow_debug,
            };
            let mut planning = Planning {
                seed: self.seed,
                mode,
                within,
                sees_syncs: self.disks.is_some() && mode == CutMode::Power,
                every_sync: self.cutting.every_sync,
            };
            let (mut syncs, mut failed) = (0, 0);
            for number in 0..self.count {
                let (cut, left) = run_cut(&context, &plan_cut(&planning, number, syncs));
                if asked.is_none() && came_too_early(&cut) {
                    within = (within * 2).min(WITHIN_MAX);
                    (context.within, planning.within) = (within, within);
                }
                self.left.extend(left);
                syncs = syncs.max(cut.syncs.unwrap_or(0));
                store.append_cut(&cut)?;
                failed = if matches!(cut.outcome, CutOutcome::Failed(_)) { failed + 1 } else { 0 };
                self.tell(&cut, self.count);
                let unavailable =
                    matches!(&cut.outcome, CutOutcome::Failed(failure) if failure.kind == FailureKind::Unavailable);
                all.push(cut);
                if self.interrupt.is_set() {
                    return Ok(());
                }
                if failed >= FAILED_MAX || unavailable {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Says what matters: what is wrong, and now and then how far it is.
    fn tell(&self, cut: &Cut, of: u32) {
        let place = format!("{} `{}`, {} cut {} of {of}", cut.scenario, cut.variant, cut.mode, cut.number + 1);
        match &cut.outcome {
            CutOutcome::Audited { audit, .. } if audit.is_clean() => {
                if (cut.number + 1).is_multiple_of(20) || self.terminal.verbose > 0 {
                    self.terminal.say(&format!("{place}: {} acknowledged, nothing amiss", audit.acknowledged));
                }
            }
            CutOutcome::Audited { audit, .. } => {
                let detail = audit.detail.as_deref().unwrap_or_default();
                self.terminal.say(&format!(
                    "{place}: {} acknowledged, {} lost, {} wrong, {} twice: {detail}",
                    audit.acknowledged, audit.lost, audit.wrong, audit.twice
                ));
            }
            CutOutcome::NotOpened { message, .. } => {
                self.terminal.say(&format!("{place}: it does not open: {message}"))
            }
            CutOutcome::Failed(failure) => {
                let tail =
                    if failure.stderr_tail.is_empty() { String::new() } else { format!("\n{}", failure.stderr_tail) };
                self.terminal.say(&format!("{place} failed in {}: {}{tail}", failure.phase, failure.message));
            }
        }
    }
}

/// Whether a cut in time came before anything was acknowledged, without anybody having given up.
fn came_too_early(cut: &Cut) -> bool {
    let nothing = match &cut.outcome {
        CutOutcome::Audited { audit, .. } => audit.acknowledged == 0,
        CutOutcome::NotOpened { acknowledged, .. } => *acknowledged == Some(0),
        CutOutcome::Failed(_) => false,
    };
    nothing && matches!(cut.point, CutPoint::After(_)) && cut.fault.is_none()
}

/// Carries out `count` cuts of each kind of both variants of a comparison that was measured, and writes its documents anew.
pub fn beside(
    mut finished: Finished,
    how: &ComparisonArgs,
    count: u32,
    targets: &[&'static dyn TargetFactory],
    terminal: &Terminal,
) -> Result<Finished, CliError> {
    let interrupt =
        Interrupt::install().map_err(|error| CliError::environment(format!("could not catch Ctrl-C: {error}"), ""))?;
    let planned = finished.run.scenarios.iter().map(|planned| (&planned.scenario, planned.variants.as_slice()));
    let setup = &how.trials.setup;
    let launchers = Launchers::resolve(&setup.launch, &finished.run.id, false, planned)?;
    let cutting = Cutting::default();
    let mut cuts = Cuts::new(&cutting, setup, count, finished.run.seed, &launchers, &interrupt, terminal)?;
    let mut store = RunStore::reopen(&finished.directory)?;
    let data_root = setup.data_dir.as_ref().unwrap_or(&finished.directory).join(format!("cuts-{}", std::process::id()));
    let (mut all, mut untried) = (Vec::new(), Vec::new());
    for planned in finished.run.scenarios.iter().filter(|planned| planned.skipped.is_none()) {
        let factory = factory_of(&planned.scenario, targets)?;
        for (name, binary) in planned.variants.iter().zip([&how.baseline_bin, &how.candidate_bin]) {
            let Some(variant) = planned.scenario.variant(name) else { continue };
            let workload = variant.work.as_ref().map_or(&planned.scenario.workload, |work| &work.workload);
            let possible = match self_launched(&launchers, variant) {
                true => factory.can_reopen(workload, &variant.settings),
                false => Err("it runs in a container".to_owned()),
            };
            match possible {
                Ok(()) => {
                    let scenario = &planned.scenario;
                    cuts.of_variant(scenario, name, &data_root, binary.clone(), &mut store, &mut all)?;
                }
                Err(why) => untried.push(format!("`{name}` of {} was not cut: {why}", planned.scenario.name)),
            }
            if interrupt.is_set() {
                break;
            }
        }
    }
    let run = &mut finished.run;
    run.warnings.extend(cuts.warning().map(str::to_owned));
    run.warnings.append(&mut untried);
    run.warnings.append(&mut cuts.left);
    if interrupt.is_set() {
        run.state = RunState::Interrupted;
    }
    let _ = fs::remove_dir_all(&data_root);
    store.write_run(run)?;
    finished.verdicts = write_documents(&finished.directory, run, &finished.trials)?;
    Ok(finished)
}

fn self_launched(launchers: &Launchers, variant: &Variant) -> bool {
    launchers.of(Some(variant)).name() == "process"
}
