//! hyperfine beside `uplift compare --cmd`, on the same programs, interleaved on one machine.
//!
//! `cargo run -p uplift --example beside_hyperfine -- target/debug/uplift 40` makes 40 comparisons of each pair and prints a
//! table: false alarms of a program against itself, 5 % more work found, the ratio of the medians that both report, and the
//! seconds of one comparison. It needs hyperfine, sqlite3 (`apt-get install hyperfine sqlite3`) and a quiet machine.
//!
//! hyperfine runs with its defaults and without a shell; it is read as it prints: its "± σ" excludes 1.

use std::{
    env, fs,
    hint::black_box,
    path::Path,
    process::{Command, ExitCode},
    time::Instant,
};

use serde_json::Value;

/// A program in its size of 100 and in that of 105.
struct Pair {
    name: &'static str,
    size: u64,
    command: fn(&str, u64) -> String,
}

const PAIRS: [Pair; 4] = [
    Pair { name: "compute loop", size: 100_000_000, command: |own, size| format!("{own} work {size}") },
    Pair { name: "5 ms program", size: 2_000_000, command: |own, size| format!("{own} work {size}") },
    Pair {
        name: "SQLite script",
        size: 200_000,
        command: |_, size| {
            format!(
                "sqlite3 :memory: 'with recursive n(i) as (select 1 union all select i+1 from n where i<{size}) select sum(i*i%7) from n'"
            )
        },
    },
    Pair { name: "sort of a file", size: 200_000, command: |_, size| format!("sort lines-{size}") },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("work") => {
            work(arguments.get(2).and_then(|steps| steps.parse().ok()).expect("a number of steps"));
            ExitCode::SUCCESS
        }
        Some(uplift) => {
            let rounds = arguments.get(2).and_then(|rounds| rounds.parse().ok()).unwrap_or(20);
            let uplift = fs::canonicalize(uplift).expect("the binary uplift");
            compare(&uplift.display().to_string(), rounds);
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("usage: beside_hyperfine UPLIFT [ROUNDS]");
            ExitCode::from(2)
        }
    }
}

/// A chain of dependent steps, which no compiler shortens.
fn work(steps: u64) {
    let mut state = 1u64;
    for _ in 0..steps {
        state = black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
    }
    black_box(state);
}

/// What one tool said of one pair, added up.
#[derive(Clone, Default)]
struct Tally {
    alarms: [u32; 2],
    medians_ns: Vec<f64>,
    seconds: f64,
}

fn compare(uplift: &str, rounds: u32) {
    let own = env::current_exe().expect("this program").display().to_string();
    let folder = env::temp_dir().join(format!("uplift-beside-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for results");
    println!("| pair | tool | against itself | finds 5 % | median | seconds a comparison |");
    println!("|---|---|---:|---:|---:|---:|");
    for pair in &PAIRS {
        let sizes = [pair.size, pair.size / 100 * 105];
        for size in sizes {
            lines(&folder, size);
        }
        let mut tallies = [Tally::default(), Tally::default()];
        for round in 0..rounds {
            for (kind, size) in sizes.into_iter().enumerate() {
                let commands = [(pair.command)(&own, pair.size), (pair.command)(&own, size)];
                // Whoever goes first alternates, so that a drift meets both.
                for tool in [(round % 2) as usize, 1 - (round % 2) as usize] {
                    let started = Instant::now();
                    let (alarm, median_ns) =
                        if tool == 0 { hyperfine(&folder, &commands) } else { ours(uplift, &folder, &commands) };
                    let tally = &mut tallies[tool];
                    tally.seconds += started.elapsed().as_secs_f64();
                    tally.alarms[kind] += u32::from(alarm);
                    tally.medians_ns.push(median_ns);
                }
            }
        }
        for (name, tally) in ["hyperfine -N, \"± σ\" excludes 1", "uplift compare --cmd"].into_iter().zip(&mut tallies)
        {
            tally.medians_ns.sort_by(f64::total_cmp);
            let median_ms = tally.medians_ns[tally.medians_ns.len() / 2] / 1e6;
            println!(
                "| {} | {name} | {} of {rounds} | {} of {rounds} | {median_ms:.3} ms | {:.1} |",
                pair.name,
                tally.alarms[0],
                tally.alarms[1],
                tally.seconds / f64::from(2 * rounds.max(1))
            );
        }
    }
    let _ = fs::remove_dir_all(&folder);
}

/// A file of that many lines in no order.
fn lines(folder: &Path, size: u64) {
    let path = folder.join(format!("lines-{size}"));
    if size < 1_000_000 && !path.exists() {
        let text: String =
            (0..size).map(|line| format!("{:016x}\n", line.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
        fs::write(path, text).expect("a file to sort");
    }
}

/// Whether hyperfine calls the commands different, and the median of the first.
fn hyperfine(folder: &Path, commands: &[String; 2]) -> (bool, f64) {
    let file = folder.join("hyperfine.json");
    let output = Command::new("hyperfine")
        .args(["-N", "--style", "none", "--export-json"])
        .arg(&file)
        .args(commands)
        .current_dir(folder)
        .output()
        .expect("hyperfine is installed: apt-get install hyperfine");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let results: Value = serde_json::from_str(&fs::read_to_string(&file).expect("its results")).expect("JSON");
    let of = |index: usize, name: &str| results["results"][index][name].as_f64().expect("a number");
    let [(a, a_dev), (b, b_dev)] = [0, 1].map(|index| (of(index, "mean"), of(index, "stddev")));
    let ratio = a.max(b) / a.min(b);
    let sigma = ratio * ((a_dev / a).powi(2) + (b_dev / b).powi(2)).sqrt();
    (ratio - sigma > 1.0, of(0, "median") * 1e9)
}

/// Whether uplift calls the time improved or regressed, and the median of the first.
fn ours(uplift: &str, folder: &Path, commands: &[String; 2]) -> (bool, f64) {
    let output = Command::new(uplift)
        .args(["--quiet", "compare", "--format", "json", "--cmd", &commands[0], "--cmd", &commands[1]])
        .current_dir(folder)
        .output()
        .expect("uplift runs");
    let verdicts: Value = serde_json::from_slice(&output.stdout).expect("verdicts");
    let metrics = verdicts["scenarios"][0]["metrics"].as_array().expect("metrics");
    let of = |name: &str| metrics.iter().find(|metric| metric["metric"] == name).expect("the metric");
    let alarm = matches!(of("run_time")["verdict"].as_str(), Some("improved" | "regressed"));
    (alarm, of("run_time_median")["baseline"]["median"].as_f64().expect("a median"))
}
