//! A modelled disk against a real one that is throttled to a known rate: the same scenarios on both.
//!
//! It needs root, a cgroup (v1 `blkio`, or v2 with `io`) and a quiet machine, and takes some minutes:
//! `cargo test -p uplift --test it throttled_disk -- --ignored --nocapture`. `UPLIFT_THROTTLE_IOPS` is the rate (600),
//! `UPLIFT_THROTTLE_BLOCKS` the blocks of each comparison (4), `UPLIFT_THROTTLE_DEVICE` the disk as MAJOR:MINOR.

use std::{
    env, fs,
    os::linux::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::bench::Bench;

/// Scenarios whose throughput is a matter of syncs, each with a variant.
const SCENARIOS: [(&str, &str); 4] = [
    ("docdb/crud-write-only", "baseline"),
    ("docdb/crud", "sprint1-as-measured"),
    ("dataflow/vote-writes", "baseline"),
    ("docdb/crud", "optimized"),
];
/// What throughput on the model may differ from that on the throttled disk.
const WITHIN: f64 = 0.10;

/// A group of processes whose writes to one disk are counted out.
struct Throttled {
    group: PathBuf,
}

impl Throttled {
    fn new(device: &str, iops: u32) -> Result<Self, String> {
        let name = format!("uplift-throttle-{}", std::process::id());
        let (group, file, limit) = if Path::new("/sys/fs/cgroup/blkio").exists() {
            let group = Path::new("/sys/fs/cgroup/blkio").join(name);
            (group, "blkio.throttle.write_iops_device", format!("{device} {iops}"))
        } else {
            (Path::new("/sys/fs/cgroup").join(name), "io.max", format!("{device} wiops={iops}"))
        };
        fs::create_dir(&group).map_err(|error| format!("could not create `{}`: {error}", group.display()))?;
        let made = Self { group };
        fs::write(made.group.join(file), limit).map_err(|error| format!("could not write `{file}`: {error}"))?;
        Ok(made)
    }

    /// `command`, in the group.
    fn within(&self, command: &Command) -> Command {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", r#"echo 0 >"$1" && shift && exec "$@""#, "throttled"]).arg(self.group.join("cgroup.procs"));
        shell.arg(command.get_program()).args(command.get_args());
        if let Some(folder) = command.get_current_dir() {
            shell.current_dir(folder);
        }
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell
    }
}

impl Drop for Throttled {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.group);
    }
}

fn run(mut command: Command) {
    let said = command.output().unwrap();
    let text = [said.stdout, said.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(said.status.success(), "{command:?}: {text}");
}

/// Operations a second of each trial of the one run of `bench`.
fn throughputs(bench: &Bench) -> Vec<f64> {
    let per_second = |trial: &serde_json::Value| {
        let turns = trial["measured"]["turns"].as_array().unwrap();
        let sum = |key: &str| turns.iter().map(|turn| turn[key].as_f64().unwrap()).sum::<f64>();
        sum("attempts") / (sum("wall_ns") / 1e9)
    };
    bench.trials().iter().map(per_second).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
#[ignore = "needs root, a cgroup v1 throttle and a quiet machine: run it by hand before the disk model changes"]
fn the_model_of_a_throttled_disk_gives_its_throughput() {
    let number = |name: &str, otherwise| env::var(name).map_or(otherwise, |value| value.parse().unwrap());
    let iops = number("UPLIFT_THROTTLE_IOPS", 600);
    let blocks = number("UPLIFT_THROTTLE_BLOCKS", 4).to_string();
    let measured = Bench::new();
    let device = env::var("UPLIFT_THROTTLE_DEVICE").unwrap_or_else(|_| {
        let device = fs::metadata(measured.folder.path()).unwrap().st_dev();
        format!("{}:{}", libc_major(device), libc_minor(device))
    });
    let throttled = Throttled::new(&device, iops).unwrap();

    let model = measured.folder.path().join("throttled.toml");
    let model = model.display().to_string();
    let data = measured.folder.path().display().to_string();
    run(throttled.within(&measured.command(&["doctor", "--save-disk", &model, "--data-dir", &data])));
    println!("{}", fs::read_to_string(&model).unwrap());

    let mut apart = Vec::new();
    for (scenario, variant) in SCENARIOS {
        let arguments = ["run", scenario, "--variant", variant, "--blocks", &blocks];
        let (real, modelled) = (Bench::new(), Bench::new());
        run(throttled.within(&real.command(&arguments)));
        run(modelled.command(&[&arguments[..], &["--disk", &model]].concat()));
        let (real, modelled) = (throughputs(&real), throughputs(&modelled));
        let difference = mean(&modelled) / mean(&real) - 1.0;
        println!(
            "{scenario} {variant}: throttled {real:.1?}, modelled {modelled:.1?} op/s: {:+.1} %",
            100.0 * difference
        );
        if difference.abs() > WITHIN {
            apart.push(format!("{scenario} {variant}: {:+.1} %", 100.0 * difference));
        }
    }
    assert!(apart.is_empty(), "more than {:.0} % apart: {apart:?}", 100.0 * WITHIN);
}

/// As glibc's `gnu_dev_major`.
const fn libc_major(device: u64) -> u64 {
    (device >> 8) & 0xfff | (device >> 32) & !0xfff
}

/// As glibc's `gnu_dev_minor`.
const fn libc_minor(device: u64) -> u64 {
    device & 0xff | (device >> 12) & !0xff
}
