//! How the machine was while a trial ran: readings around it that tell a disturbed trial from a clean one.
//!
//! Nothing is ever dropped because of them; the report says which trials were disturbed.

use std::{
    fs::{self, OpenOptions},
    hint::black_box,
    io::Write as _,
    path::Path,
    time::Instant,
};

use procfs_core::{FromRead as _, process::Stat};
use uplift_model::trial::Sentinels;

/// Steps of the spin probe: some 2 ms.
const SPIN_STEPS: u64 = 1_000_000;
/// Calls of the sync probe.
const SYNC_CALLS: usize = 5;

/// Readings before a trial.
#[derive(Debug)]
pub struct NoiseProbe {
    machine: Option<MachineTimes>,
    ours: u64,
    spin_ns: u64,
    fdatasync_ns: Option<u64>,
}

/// CPU time of the whole machine, in clock ticks.
#[derive(Clone, Copy, Debug)]
struct MachineTimes {
    busy: u64,
    idle: u64,
    steal: u64,
}

impl NoiseProbe {
    /// Takes the readings before a trial; `data_root` is where the sync probe writes.
    pub fn begin(data_root: &Path) -> Self {
        Self { spin_ns: spin(), fdatasync_ns: sync_probe(data_root), machine: machine_times(), ours: our_ticks() }
    }

    /// Takes the readings after it. Of the probes the slower of before and after counts. `agents` are processes that
    /// were started since and are no children of the harness.
    pub fn end(self, data_root: &Path, agents: &[u32]) -> Sentinels {
        let of_agents: u64 = agents.iter().map(|&agent| tree_ticks(agent)).sum();
        let (machine, ours) = (machine_times(), our_ticks() + of_agents);
        let mut sentinels = Sentinels {
            spin_ns: Some(self.spin_ns.max(spin())),
            fdatasync_ns: self.fdatasync_ns.max(sync_probe(data_root)),
            load_1m: fs::read_to_string("/proc/loadavg")
                .ok()
                .and_then(|text| text.split_whitespace().next()?.parse().ok()),
            cpu_mhz: cpu_mhz(),
            ..Sentinels::default()
        };
        if let (Some(before), Some(after)) = (self.machine, machine) {
            let busy = after.busy.saturating_sub(before.busy);
            let steal = after.steal.saturating_sub(before.steal);
            let total = busy + steal + after.idle.saturating_sub(before.idle);
            if total > 0 {
                let own = ours.saturating_sub(self.ours).min(busy);
                sentinels.steal_share = Some(steal as f64 / total as f64);
                sentinels.foreign_cpu_share = Some((busy - own) as f64 / total as f64);
            }
        }
        sentinels
    }
}

/// A fixed computation; its time tells whether the CPU was slower or shared.
fn spin() -> u64 {
    let start = Instant::now();
    let mut value = 1u64;
    for _ in 0..SPIN_STEPS {
        value = black_box(value ^ (value >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    black_box(value);
    start.elapsed().as_nanos() as u64
}

/// The median of a few small fdatasync calls.
fn sync_probe(data_root: &Path) -> Option<u64> {
    let path = data_root.join("sentinel");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&path).ok()?;
    let mut times = [0; SYNC_CALLS];
    for time in &mut times {
        file.write_all(&[0; 512]).ok()?;
        let start = Instant::now();
        file.sync_data().ok()?;
        *time = start.elapsed().as_nanos() as u64;
    }
    drop(file);
    let _ = fs::remove_file(&path);
    times.sort_unstable();
    Some(times[SYNC_CALLS / 2])
}

fn machine_times() -> Option<MachineTimes> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<u64> =
        text.lines().next()?.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = ticks[..] else { return None };
    Some(MachineTimes { busy: user + nice + system + irq + softirq, idle: idle + iowait, steal })
}

/// Ticks of the harness and of everything that it has waited for or that still descends from it; and of the kernel's
/// own threads, which write back what any of them wrote and are no other process.
fn our_ticks() -> u64 {
    // SAFETY: times only fills the structure.
    let own = unsafe {
        let mut times: libc::tms = std::mem::zeroed();
        libc::times(&raw mut times);
        (times.tms_utime + times.tms_stime + times.tms_cutime + times.tms_cstime) as u64
    };
    own + children(std::process::id()).into_iter().map(tree_ticks).sum::<u64>() + kernel_ticks()
}

/// Ticks of the kernel's threads; 0 where they cannot be seen, as in a container.
fn kernel_ticks() -> u64 {
    /// The parent of all of them.
    const KTHREADD: u32 = 2;
    match fs::read_to_string(format!("/proc/{KTHREADD}/comm")) {
        Ok(name) if name.trim() == "kthreadd" => tree_ticks(KTHREADD),
        _ => 0,
    }
}

/// Ticks of a process and of everything that descends from it.
fn tree_ticks(process: u32) -> u64 {
    ticks(process).unwrap_or(0) + children(process).into_iter().map(tree_ticks).sum::<u64>()
}

fn children(process: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().filter_map(|child| child.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// Ticks of a process and of its children that it has waited for.
fn ticks(process: u32) -> Option<u64> {
    let stat = Stat::from_file(format!("/proc/{process}/stat")).ok()?;
    Some(stat.utime + stat.stime + (stat.cutime + stat.cstime).unsigned_abs())
}

fn cpu_mhz() -> Option<f64> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let speeds: Vec<f64> = text
        .lines()
        .filter(|line| line.starts_with("cpu MHz"))
        .filter_map(|line| line.split(':').nth(1)?.trim().parse().ok())
        .collect();
    (!speeds.is_empty()).then(|| speeds.iter().sum::<f64>() / speeds.len() as f64)
}
