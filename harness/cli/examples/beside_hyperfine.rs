//! hyperfine beside `uplift compare --cmd`, on the same programs, interleaved on one machine.
//!
//! `cargo run -p uplift --example beside_hyperfine -- target/debug/uplift --runs 40` makes 40 comparisons of each pair and
//! prints a table: false alarms of a program against itself, 5 % more work found, the median that each reports and their
//! ratio, and the seconds of one comparison. Two lines more say what both take for a program that does nothing. It needs
//! hyperfine, sqlite3 (`apt-get install hyperfine sqlite3`) and a quiet machine; `--runs 1 --small` tries it out anywhere.
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
        Some(uplift) if !uplift.starts_with('-') => match Order::read(&arguments[2..]) {
            Ok(order) => {
                let uplift = fs::canonicalize(uplift).expect("the binary uplift");
                compare(&uplift.display().to_string(), order);
                ExitCode::SUCCESS
            }
            Err(why) => usage(&why),
        },
        _ => usage("the binary `uplift` is not named"),
    }
}

fn usage(why: &str) -> ExitCode {
    eprintln!("{why}; usage: beside_hyperfine UPLIFT [--runs N] [--small]");
    ExitCode::from(2)
}

/// How much is measured.
#[derive(Clone, Copy)]
struct Order {
    /// Comparisons of each pair, of each kind.
    runs: u32,
    /// Whether programs do a hundredth of their work: to try the script out.
    small: bool,
}

impl Order {
    fn read(arguments: &[String]) -> Result<Self, String> {
        let mut order = Self { runs: 20, small: false };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--small" => order.small = true,
                "--runs" => {
                    let runs = rest.next().and_then(|runs| runs.parse().ok()).filter(|runs| *runs > 0);
                    order.runs = runs.ok_or("--runs takes a number from 1")?;
                }
                other => return Err(format!("`{other}` is not known")),
            }
        }
        Ok(order)
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

fn compare(uplift: &str, Order { runs: rounds, small }: Order) {
    let own = env::current_exe().expect("this program").display().to_string();
    let folder = env::temp_dir().join(format!("uplift-beside-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for results");
    println!("| pair | tool | against itself | finds 5 % | median | of hyperfine's | seconds a comparison |");
    println!("|---|---|---:|---:|---:|---:|---:|");
    for pair in &PAIRS {
        let size = if small { pair.size / 100 } else { pair.size };
        let sizes = [size, size / 100 * 105];
        for size in sizes {
            lines(&folder, size);
        }
        let mut tallies = [Tally::default(), Tally::default()];
        for round in 0..rounds {
            for (kind, size) in sizes.into_iter().enumerate() {
                let commands = [(pair.command)(&own, sizes[0]), (pair.command)(&own, size)];
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
        let medians_ns = tallies.each_mut().map(|tally| median(&mut tally.medians_ns));
        let names = ["hyperfine -N, \"± σ\" excludes 1", "uplift compare --cmd"];
        for ((name, tally), median_ns) in names.into_iter().zip(&tallies).zip(medians_ns) {
            let (median_ms, ratio) = (median_ns / 1e6, median_ns / medians_ns[0]);
            println!(
                "| {} | {name} | {} of {rounds} | {} of {rounds} | {median_ms:.3} ms | {ratio:.4} | {:.1} |",
                pair.name,
                tally.alarms[0],
                tally.alarms[1],
                tally.seconds / f64::from(2 * rounds.max(1))
            );
        }
    }
    start_up(uplift, &folder, rounds);
    let _ = fs::remove_dir_all(&folder);
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What a run takes that does nothing, by both tools in turn.
fn start_up(uplift: &str, folder: &Path, rounds: u32) {
    let nothing = ["true".to_owned(), "true".to_owned()];
    let (mut theirs_ns, mut ours_ns) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        for tool in [round % 2, 1 - round % 2] {
            if tool == 0 {
                theirs_ns.push(hyperfine(folder, &nothing).1);
            } else {
                ours_ns.push(ours(uplift, folder, &nothing).1);
            }
        }
    }
    let (theirs_ns, ours_ns) = (median(&mut theirs_ns), median(&mut ours_ns));
    println!("\n`true`, median of a run: hyperfine -N {:.1} µs, uplift {:.1} µs", theirs_ns / 1e3, ours_ns / 1e3);
    println!("{:+.1} % of hyperfine's", (ours_ns / theirs_ns - 1.0) * 100.0);
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
