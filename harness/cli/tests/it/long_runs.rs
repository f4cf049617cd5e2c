//! Runs that are longer than anyone measures in a test: written down, then read. What reading them costs grows with them
//! and not faster, and fits into the memory of a small machine.

use std::{
    fs,
    io::{BufWriter, Write as _},
    mem::MaybeUninit,
    path::Path,
    process::Stdio,
};

use serde_json::Value;

use crate::bench::{Bench, repository};

/// What any command may have in memory at a time.
const MEMORY_BYTES_MAX: u64 = 1 << 30;

/// Writes a run of `trials` trials: those of a small run again and again, each pair in a block of its own.
fn write_run(folder: &Path, trials: usize) {
    let small = repository().join("harness/report/tests/data/slower");
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
    let (mut status, mut usage) = (0, MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: the child is ours and nobody else waits for it; both results are ours to write.
    let waited = unsafe { libc::wait4(child.id().cast_signed(), &mut status, 0, usage.as_mut_ptr()) };
    assert!(waited > 0 && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{arguments:?}: {status}");
    // SAFETY: the call succeeded, and all zeroes are valid besides.
    let usage = unsafe { usage.assume_init() };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    (usage.ru_maxrss as u64 * 1024, seconds(usage.ru_utime) + seconds(usage.ru_stime))
}

#[test]
fn a_run_of_twenty_thousand_trials_is_read_within_a_gigabyte() {
    let bench = Bench::new();
    let runs = bench.folder.path().join("results/runs");
    write_run(&runs.join("short"), 5_000);
    write_run(&runs.join("long"), 20_000);
    for command in [&["show"][..], &["report"], &["export", "--to", "csv"], &["export", "--to", "junit"]] {
        let of = |run| cost(&bench, &[&command[..1], &[run], &command[1..]].concat());
        let ((_, short_s), (bytes, long_s)) = (of("short"), of("long"));
        eprintln!("{command:?}: {} MiB, {short_s:.2} s for 5,000 trials, {long_s:.2} s for 20,000", bytes >> 20);
        assert!(bytes < MEMORY_BYTES_MAX, "{command:?} had {} MiB", bytes >> 20);
        // Four times the trials: more than four times the work only by what sorting adds; the square would be sixteen.
        assert!(long_s < 8.0 * short_s, "{command:?} took {short_s:.2} s for a quarter, and {long_s:.2} s");
    }
}
