//! hyperfine itself beside `uplift compare`, each against itself and against 5 % more work, for about the same time.
//!
//! `cargo run -p uplift-analysis --example live -- target/debug/uplift 40` makes 40 comparisons of each kind and prints
//! a table; it needs hyperfine (`apt-get install hyperfine`), a quiet machine, and 40 × 4 × half a minute.
//!
//! hyperfine runs this very program with a number of steps; uplift runs `reference/steady`, whose operations are such
//! steps. Readings of hyperfine are those of the replay: its "± σ" excludes 1, and its Welch t test at 5 %.

use std::{env, fs, hint::black_box, path::Path, process::Command, time::Instant};

use serde_json::Value;
use statrs::distribution::{ContinuousCDF as _, StudentsT};
use uplift_analysis::profile::Share;

/// Half a second on a machine of 2026: with 10 + 10 runs hyperfine takes about as long as `--budget 12s`.
const STEPS: u64 = 500_000_000;

fn main() {
    let arguments: Vec<String> = env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("work") => work(arguments.get(2).and_then(|steps| steps.parse().ok()).expect("a number of steps")),
        Some(uplift) => {
            let rounds = arguments.get(2).and_then(|rounds| rounds.parse().ok()).unwrap_or(20);
            compare(uplift, rounds);
        }
        None => eprintln!("usage: live UPLIFT [ROUNDS]"),
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

fn compare(uplift: &str, rounds: u64) {
    println!("| tool | against itself | finds 5 % | seconds a comparison |");
    println!("|---|---:|---:|---:|");
    let folder = env::temp_dir().join(format!("uplift-live-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for results");
    let mut hits = [[0u64; 2]; 3];
    let mut seconds = [0.0; 2];
    for round in 0..rounds {
        for (kind, steps, variant) in [(0, STEPS, "same"), (1, STEPS / 100 * 105, "slower-5")] {
            let started = Instant::now();
            let [sigma, welch] = hyperfine(&folder, steps);
            seconds[0] += started.elapsed().as_secs_f64();
            hits[0][kind] += u64::from(sigma);
            hits[1][kind] += u64::from(welch);
            let started = Instant::now();
            hits[2][kind] += u64::from(compared(uplift, &folder, variant, round));
            seconds[1] += started.elapsed().as_secs_f64();
        }
    }
    let _ = fs::remove_dir_all(&folder);
    let names = ["hyperfine, \"± σ\" excludes 1", "hyperfine, its Welch t test", "uplift compare --budget 12s"];
    for (tool, name) in names.iter().enumerate() {
        let cells = hits[tool].map(|hits| {
            let share = Share::of(hits, rounds);
            format!("{hits} of {rounds} ({:.1}–{:.1} %)", share.ci[0] * 100.0, share.ci[1] * 100.0)
        });
        let each = seconds[usize::from(tool == 2)] / (2 * rounds).max(1) as f64;
        println!("| {name} | {} | {} | {each:.1} |", cells[0], cells[1]);
    }
}

/// Both readings of one invocation.
fn hyperfine(folder: &Path, candidate: u64) -> [bool; 2] {
    let own = env::current_exe().expect("this program");
    let file = folder.join("hyperfine.json");
    let of = |steps: u64| format!("{} work {steps}", own.display());
    let output = Command::new("hyperfine")
        .args(["-N", "--style", "none", "--runs", "10", "--export-json"])
        .arg(&file)
        .args([of(STEPS), of(candidate)])
        .output()
        .expect("hyperfine is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let results: Value = serde_json::from_str(&fs::read_to_string(&file).expect("its results")).expect("JSON");
    let of = |index: usize| {
        let one = &results["results"][index];
        let number = |name: &str| one[name].as_f64().expect("a number");
        (number("mean"), number("stddev"), one["times"].as_array().map_or(0, Vec::len) as f64)
    };
    let ((a, a_dev, a_n), (b, b_dev, b_n)) = (of(0), of(1));
    let ratio = a.max(b) / a.min(b);
    let sigma = ratio - ratio * ((a_dev / a).powi(2) + (b_dev / b).powi(2)).sqrt() > 1.0;
    let (a_part, b_part) = (a_dev * a_dev / a_n, b_dev * b_dev / b_n);
    let t = (a - b) / (a_part + b_part).sqrt();
    let freedom = (a_part + b_part).powi(2) / (a_part * a_part / (a_n - 1.0) + b_part * b_part / (b_n - 1.0));
    [sigma, StudentsT::new(0.0, 1.0, freedom).is_ok_and(|law| 2.0 * law.sf(t.abs()) < 0.05)]
}

/// Whether the primary metric is called improved or regressed.
fn compared(uplift: &str, folder: &Path, variant: &str, round: u64) -> bool {
    let output = Command::new(uplift)
        .args(["--quiet", "compare", "baseline", variant, "reference/steady", "--budget", "12s", "--format", "json"])
        .arg("--seed")
        .arg(round.to_string())
        .arg("--out")
        .arg(folder.join("runs"))
        .output()
        .expect("uplift runs");
    let verdicts: Value = serde_json::from_slice(&output.stdout).expect("verdicts");
    matches!(verdicts["scenarios"][0]["metrics"][0]["verdict"].as_str(), Some("improved" | "regressed"))
}
