//! Runs that are longer than anyone measures in a test: written down, then read. What reading them costs grows with them
//! and not faster, and fits into the memory of a small machine.

use std::{
    fs,
    io::{BufWriter, Write as _},
    mem::MaybeUninit,
    path::Path,
    process::Stdio,
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::bench::{Bench, repository};

/// What any command may have in memory at a time.
const MEMORY_BYTES_MAX: u64 = 1 << 30;
/// What a history of 32,000 lines may take, the program itself included.
const HISTORY_BYTES_MAX: u64 = 128 << 20;

/// A run of few and small trials, and one whose trials hold many distributions and stages.
const SMALL: &str = "harness/report/tests/data/slower";
const LARGE: &str = "results/reference/docdb/fast-served";

/// Writes a run of `trials` trials: those of `source` again and again, each pair in a block of its own.
fn write_run(folder: &Path, source: &str, trials: usize) {
    let small = repository().join(source);
    fs::create_dir_all(folder).unwrap();
    fs::copy(small.join("run.json"), folder.join("run.json")).unwrap();
    let text = fs::read_to_string(small.join("trials.jsonl")).unwrap();
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut file = BufWriter::new(fs::File::create(folder.join("trials.jsonl")).unwrap());
    let count = lines.len();
    for number in 0..trials {
        let trial = &mut lines[number % count];
        trial["block"] = (number / 2).into();
        serde_json::to_writer(&mut file, trial).unwrap();
        file.write_all(b"\n").unwrap();
    }
    file.into_inner().unwrap();
}

/// The most memory that a command had, in bytes, and the CPU time that it took, in seconds.
#[expect(clippy::zombie_processes, reason = "it is waited for by a call that tells what it used")]
fn cost(bench: &Bench, arguments: &[&str]) -> (u64, f64) {
    let child = bench.command(arguments).stdout(Stdio::null()).spawn().unwrap();
    // The peak that the kernel hands over with the end of a process counts what its parent held when it was started.
    let own_status = format!("/proc/{}/status", child.id());
    let watching = thread::spawn(move || {
        let mut peak = 0;
        while let Some(now) = fs::read_to_string(&own_status).ok().as_deref().and_then(peak_of) {
            peak = now;
            thread::sleep(Duration::from_millis(2));
        }
        peak
    });
    let (mut status, mut usage) = (0, MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: the child is ours and nobody else waits for it; both results are ours to write.
    let waited = unsafe { libc::wait4(child.id().cast_signed(), &mut status, 0, usage.as_mut_ptr()) };
    assert!(waited > 0 && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{arguments:?}: {status}");
    // SAFETY: the call succeeded, and all zeroes are valid besides.
    let usage = unsafe { usage.assume_init() };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    (watching.join().unwrap(), seconds(usage.ru_utime) + seconds(usage.ru_stime))
}

/// The peak of resident memory in a `status`, in bytes; absent for a process that has ended.
fn peak_of(status: &str) -> Option<u64> {
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?;
    kib.parse().ok().map(|kib: u64| kib << 10)
}

#[test]
fn a_run_of_twenty_thousand_trials_is_read_within_a_gigabyte() {
    let bench = Bench::new();
    let runs = bench.folder.path().join("results/runs");
    write_run(&runs.join("short"), SMALL, 5_000);
    write_run(&runs.join("long"), SMALL, 20_000);
    for command in [&["show"][..], &["report"], &["export", "--to", "csv"], &["export", "--to", "junit"]] {
        let of = |run| cost(&bench, &[&command[..1], &[run], &command[1..]].concat());
        let ((_, short_s), (bytes, long_s)) = (of("short"), of("long"));
        eprintln!("{command:?}: {} MiB, {short_s:.2} s for 5,000 trials, {long_s:.2} s for 20,000", bytes >> 20);
        assert!(bytes < MEMORY_BYTES_MAX, "{command:?} had {} MiB", bytes >> 20);
        // Four times the trials: more than four times the work only by what sorting adds; the square would be sixteen.
        assert!(long_s < 8.0 * short_s, "{command:?} took {short_s:.2} s for a quarter, and {long_s:.2} s");
    }
}

/// 28 KiB each on disk, of which 1,000 blocks took 8 GB: every trial is in memory once, and its file is not.
#[test]
fn trials_with_many_distributions_are_in_memory_once() {
    let bench = Bench::new();
    let run = bench.folder.path().join("results/runs/large");
    write_run(&run, LARGE, 400);
    let on_disk = fs::metadata(run.join("trials.jsonl")).unwrap().len();
    for command in [&["show", "large"][..], &["report", "large"]] {
        let (bytes, _) = cost(&bench, command);
        eprintln!("{command:?}: {} MiB for {} MiB on disk", bytes >> 20, on_disk >> 20);
        assert!(bytes < 10 * on_disk + (32 << 20), "{command:?}: {bytes} bytes for {on_disk} on disk");
    }
}

/// A history is never begun anew: what reading it costs follows from its bytes, and what is kept of it is a few words a line.
#[test]
fn a_long_history_is_read_with_work_and_memory_that_follow_from_it() {
    let bench = Bench::new();
    bench.uplift(&["run", "reference/steady", "--variant", "baseline", "--quick", "--blocks", "1"]).code(0);
    let line = fs::read_to_string(bench.folder.path().join("results/history.jsonl")).unwrap();
    let write = |place: &str, lines: u32| {
        let folder = bench.folder.path().join(place);
        fs::create_dir_all(folder.join("runs")).unwrap();
        let mut file = BufWriter::new(fs::File::create(folder.join("history.jsonl")).unwrap());
        for number in 1..=lines {
            // As many runs as there are lines, three of four on another machine.
            let line = line.replacen("\"started_unix_s\":", &format!("\"started_unix_s\":{number}0"), 1);
            let line = if number % 4 == 0 { line } else { line.replacen("\"machine\":\"", "\"machine\":\"x", 1) };
            file.write_all(line.as_bytes()).unwrap();
        }
        file.into_inner().unwrap();
    };
    write("short", 8_000);
    write("long", 32_000);
    for more in [&["--format", "table"][..], &["--format", "json"], &["--metric", "steps_per_op", "--plots", "plots"]] {
        let of = |out| cost(&bench, &[&["history", "reference/steady", "--out", out], more].concat());
        let ((_, short_s), (bytes, long_s)) = (of("short/runs"), of("long/runs"));
        eprintln!("{more:?}: {} MiB, {short_s:.2} s for 8,000 lines, {long_s:.2} s for 32,000", bytes >> 20);
        assert!(bytes < HISTORY_BYTES_MAX, "{more:?} had {} MiB", bytes >> 20);
        assert!(long_s < 8.0 * short_s, "{more:?} took {short_s:.2} s for a quarter, and {long_s:.2} s");
    }
    for plot in fs::read_dir(bench.folder.path().join("plots")).unwrap() {
        let bytes = plot.unwrap().metadata().unwrap().len();
        assert!(bytes < 1 << 20, "a plot of {bytes} bytes");
    }
}
