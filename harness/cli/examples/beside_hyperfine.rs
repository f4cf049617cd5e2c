//! hyperfine, and poop where it is there, beside `uplift compare --cmd`, on the same programs, interleaved on one machine.
//!
//! `cargo run --release -p uplift --example beside_hyperfine -- target/release/uplift --minutes 15` makes as many comparisons of
//! each pair as fit the time, at most 40 (`--runs`), and prints a table: false alarms of a program against itself, 5 % more work
//! found, each with its interval (Wilson, 95 %), the median that each reports as a share of hyperfine's with its interval (of
//! the median, by order statistics), and the seconds of one comparison. A second table says what each takes for a program that
//! does nothing. It needs hyperfine, sqlite3 (`apt-get install hyperfine sqlite3`) and a quiet machine; `--runs 1 --small`
//! tries it out anywhere.
//!
//! hyperfine runs with its defaults and without a shell; it is read as it prints: its "± σ" excludes 1. poop is read by its
//! marks. It reports means alone, so it has no median.

use std::{
    env, fs,
    hint::black_box,
    path::Path,
    process::{Command, ExitCode},
    time::{Duration, Instant},
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
            // No quotes: poop knows none.
            format!("sqlite3 -batch -init script-{size} :memory: .quit")
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
    eprintln!("{why}; usage: beside_hyperfine UPLIFT [--runs N] [--minutes N] [--small]");
    ExitCode::from(2)
}

/// How much is measured.
#[derive(Clone, Copy)]
struct Order {
    /// Comparisons of each pair, of each kind, at most.
    runs: u32,
    /// The time for everything together.
    time: Option<Duration>,
    /// Whether programs do a hundredth of their work: to try the script out.
    small: bool,
}

impl Order {
    fn read(arguments: &[String]) -> Result<Self, String> {
        let mut order = Self { runs: 40, time: None, small: false };
        let mut rest = arguments.iter();
        let number = |text: Option<&String>, option: &str| {
            let number = text.and_then(|text| text.parse::<u32>().ok()).filter(|number| *number > 0);
            number.ok_or_else(|| format!("{option} takes a number from 1"))
        };
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--small" => order.small = true,
                "--runs" => order.runs = number(rest.next(), "--runs")?,
                "--minutes" => {
                    order.time = Some(Duration::from_secs(60) * number(rest.next(), "--minutes")?);
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

type Compare<'a> = dyn Fn(&[String; 2]) -> (bool, Option<f64>) + 'a;

/// A tool that compares two programs: whether it calls them different, and the median of the first in nanoseconds.
struct Tool<'a> {
    name: &'static str,
    compare: Box<Compare<'a>>,
}

/// What one tool said of one pair, added up.
#[derive(Clone, Default)]
struct Tally {
    alarms: [u32; 2],
    /// Of each comparison, in their order.
    medians_ns: Vec<Option<f64>>,
    seconds: f64,
}

fn tools<'a>(uplift: &'a str, folder: &'a Path) -> Vec<Tool<'a>> {
    let mut tools = vec![
        Tool { name: "hyperfine -N", compare: Box::new(|commands| hyperfine(folder, commands)) },
        Tool { name: "uplift compare --cmd", compare: Box::new(|commands| ours(uplift, folder, commands)) },
    ];
    if Command::new("poop").arg("--help").output().is_ok() {
        tools.push(Tool { name: "poop", compare: Box::new(|commands| poop(folder, commands)) });
    } else {
        println!(
            "poop is not in the search path and is left out: it is built by zig (`zig build -Doptimize=ReleaseFast`).\n"
        );
    }
    tools
}

fn compare(uplift: &str, order: Order) {
    let own = env::current_exe().expect("this program").display().to_string();
    let folder = env::temp_dir().join(format!("uplift-beside-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for results");
    let tools = tools(uplift, &folder);
    let began = Instant::now();
    println!(
        "| pair | tool | against itself (95 %) | finds 5 % (95 %) | median | of hyperfine's (95 %) | seconds a comparison |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|");
    // The programs that do nothing are one pair more.
    let shares = PAIRS.len() as u32 + 1;
    for (index, pair) in (1..).zip(&PAIRS) {
        let size = if order.small { pair.size / 100 } else { pair.size };
        let sizes = [size, size / 100 * 105];
        sizes.into_iter().for_each(|size| inputs(&folder, size));
        let kinds = sizes.map(|size| [(pair.command)(&own, sizes[0]), (pair.command)(&own, size)]);
        let until = order.time.map(|time| began + time / shares * index);
        let (tallies, rounds) = series(&tools, &kinds, order.runs, until);
        for (tool, tally) in tools.iter().zip(&tallies) {
            let (median, ratio) = medians(tally, &tallies[0]);
            println!(
                "| {} | {} | {} | {} | {median} | {ratio} | {:.1} |",
                pair.name,
                tool.name,
                share(tally.alarms[0], rounds),
                share(tally.alarms[1], rounds),
                tally.seconds / f64::from(2 * rounds)
            );
        }
    }
    println!("\n| a run of `true` | median | of hyperfine's (95 %) |\n|---|---:|---:|");
    let nothing = ["true".to_owned(), "true".to_owned()];
    let (tallies, rounds) = series(&tools, &[nothing], order.runs, order.time.map(|time| began + time));
    for (tool, tally) in tools.iter().zip(&tallies) {
        let (median, ratio) = medians(tally, &tallies[0]);
        println!("| {} | {median} | {ratio} |", tool.name);
    }
    println!("\n{rounds} comparisons of `true`; {:.1} minutes in all", began.elapsed().as_secs_f64() / 60.0);
    let _ = fs::remove_dir_all(&folder);
}

/// Rounds of all tools on each kind of pair: at most `most`, and while there is time, but one at least.
fn series(tools: &[Tool<'_>], kinds: &[[String; 2]], most: u32, until: Option<Instant>) -> (Vec<Tally>, u32) {
    let mut tallies = vec![Tally::default(); tools.len()];
    let mut longest = Duration::ZERO;
    for round in 0..most {
        let started = Instant::now();
        if round > 0 && until.is_some_and(|until| started + longest > until) {
            return (tallies, round);
        }
        for (kind, commands) in kinds.iter().enumerate() {
            // Whoever goes first changes, so that a drift meets all.
            for turn in 0..tools.len() {
                let tool = (turn + round as usize) % tools.len();
                let started = Instant::now();
                let (alarm, median_ns) = (tools[tool].compare)(commands);
                let tally = &mut tallies[tool];
                tally.seconds += started.elapsed().as_secs_f64();
                tally.alarms[kind] += u32::from(alarm);
                tally.medians_ns.push(median_ns);
            }
        }
        longest = longest.max(started.elapsed());
    }
    (tallies, most)
}

/// `2 of 40 (1 … 17 %)`, by Wilson.
fn share(found: u32, of: u32) -> String {
    const Z: f64 = 1.96;
    let (n, p) = (f64::from(of), f64::from(found) / f64::from(of));
    let spread = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let (center, scale) = (p + Z * Z / (2.0 * n), 1.0 + Z * Z / n);
    let percent = |value: f64| (value / scale).clamp(0.0, 1.0) * 100.0;
    format!("{found} of {of} ({:.0} … {:.0} %)", percent(center - spread), percent(center + spread))
}

/// The median of a tool's medians, and that of their ratios to the other's of the same round, with its interval.
fn medians(tally: &Tally, other: &Tally) -> (String, String) {
    let known: Vec<f64> = tally.medians_ns.iter().copied().flatten().collect();
    let Some((median_ns, _)) = median(known) else { return ("–".to_owned(), "–".to_owned()) };
    let pairs = tally.medians_ns.iter().zip(&other.medians_ns);
    let ratios: Vec<f64> = pairs.filter_map(|(own, theirs)| Some((*own)? / (*theirs)?)).collect();
    let ratio = median(ratios).map_or_else(
        || "–".to_owned(),
        |(ratio, interval)| match interval {
            Some([low, high]) => format!("{ratio:.4} ({low:.4} … {high:.4})"),
            None => format!("{ratio:.4} (too few)"),
        },
    );
    (format!("{:.3} ms", median_ns / 1e6), ratio)
}

/// The median and, from six values on, the two order statistics that hold it in 95 % of cases.
fn median(mut values: Vec<f64>) -> Option<(f64, Option<[f64; 2]>)> {
    values.sort_by(f64::total_cmp);
    let (n, middle) = (values.len(), values.len() / 2);
    let median = if n % 2 == 1 {
        *values.get(middle)?
    } else {
        (values.get(middle.checked_sub(1)?)? + values.get(middle)?) / 2.0
    };
    if n < 6 {
        return Some((median, None));
    }
    // How many of n fair coins show heads: as many values as may lie outside on each side.
    let (mut outside, mut below) = (0, 0.5f64.powi(n as i32));
    let mut sum = below;
    while sum <= 0.025 {
        outside += 1;
        below *= (n - outside + 1) as f64 / outside as f64;
        sum += below;
    }
    let outside = outside.max(1) - 1;
    Some((median, Some([values[outside], values[n - 1 - outside]])))
}

/// What programs of that size read: a file of so many lines in no order, and a script.
fn inputs(folder: &Path, size: u64) {
    let path = folder.join(format!("lines-{size}"));
    if size < 1_000_000 && !path.exists() {
        let text: String =
            (0..size).map(|line| format!("{:016x}\n", line.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
        fs::write(path, text).expect("a file to sort");
    }
    let script = format!(
        "with recursive n(i) as (select 1 union all select i+1 from n where i<{size}) select sum(i*i%7) from n;\n"
    );
    fs::write(folder.join(format!("script-{size}")), script).expect("a script");
}

/// Whether hyperfine calls the commands different, and the median of the first.
fn hyperfine(folder: &Path, commands: &[String; 2]) -> (bool, Option<f64>) {
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
    (ratio - sigma > 1.0, Some(of(0, "median") * 1e9))
}

/// Whether uplift calls the time improved or regressed, and the median of the first.
fn ours(uplift: &str, folder: &Path, commands: &[String; 2]) -> (bool, Option<f64>) {
    let output = Command::new(uplift)
        .args(["--quiet", "compare", "--format", "json", "--cmd", &commands[0], "--cmd", &commands[1]])
        .current_dir(folder)
        .output()
        .expect("uplift runs");
    let verdicts: Value = serde_json::from_slice(&output.stdout).expect("verdicts");
    let metrics = verdicts["scenarios"][0]["metrics"].as_array().expect("metrics");
    let of = |name: &str| metrics.iter().find(|metric| metric["metric"] == name).expect("the metric");
    let alarm = matches!(of("run_time")["verdict"].as_str(), Some("improved" | "regressed"));
    (alarm, of("run_time_median")["baseline"]["median"].as_f64())
}

/// Whether poop marks the wall time of the second as better or worse; it reports means, and no median.
fn poop(folder: &Path, commands: &[String; 2]) -> (bool, Option<f64>) {
    let output =
        Command::new("poop").args(["--color", "never"]).args(commands).current_dir(folder).output().expect("poop runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let wall = text.lines().filter(|line| line.trim_start().starts_with("wall_time")).nth(1);
    let wall = wall.unwrap_or_else(|| {
        panic!("poop printed no second wall_time: {text}{}", String::from_utf8_lossy(&output.stderr))
    });
    (["⚡", "💩"].iter().any(|mark| wall.contains(mark)), None)
}
