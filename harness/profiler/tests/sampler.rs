//! The samplers on code whose profile is known.
//!
//! Samplers see every thread of the process, so the tests of this file take turns.

use std::{
    collections::BTreeMap,
    fs::File,
    hint::black_box,
    io::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use uplift_instrument::{
    calls::{CallLog, Calls},
    clock,
    sampler::{RunningSampler, SamplerOptions, Work},
};
use uplift_model::protocol::Profiled;
use uplift_profiler::{fallback, perf};

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn options(frequency_hz: u32, off_cpu: bool, moments: bool) -> SamplerOptions {
    SamplerOptions { frequency_hz, off_cpu, moments, work: Work::Own, allocations: false }
}

/// A sampler, or `None` with the reason printed where this machine forbids it.
fn perf(frequency_hz: u32, off_cpu: bool) -> Option<Box<perf::PerfSampler>> {
    match perf::start(&options(frequency_hz, off_cpu, true)) {
        Ok(sampler) => Some(Box::new(sampler)),
        Err(message) => {
            eprintln!("skipped: {message}");
            None
        }
    }
}

#[inline(never)]
fn spin_known(steps: u64) -> u64 {
    let mut value = 1u64;
    for _ in 0..steps {
        value = black_box(value ^ (value >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    value
}

#[inline(never)]
fn spin_three_quarters(total: Duration) {
    let start = Instant::now();
    while start.elapsed() < total {
        black_box(spin_heavy(30_000));
        black_box(spin_light(10_000));
    }
}

// Two functions of the same body would be one function with two names.
#[inline(never)]
fn spin_heavy(steps: u64) -> u64 {
    black_box(spin_known(steps)) ^ 1
}

#[inline(never)]
fn spin_light(steps: u64) -> u64 {
    black_box(spin_known(steps)) ^ 2
}

/// Counts by whether a line contains every word.
fn count(folded: &str, words: &[&str]) -> u64 {
    lines(folded).iter().filter(|(line, _)| words.iter().all(|word| line.contains(word))).map(|(_, count)| count).sum()
}

fn lines(folded: &str) -> BTreeMap<&str, u64> {
    folded
        .lines()
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(line, count)| (line, count.parse().unwrap()))
        .collect()
}

fn total(profiled: &Profiled) -> u64 {
    lines(&profiled.folded).values().sum()
}

#[test]
fn threads_born_before_and_after_the_start_are_sampled() {
    let _turn = turn();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let early = thread::Builder::new()
        .name("early-1".to_owned())
        .spawn(move || {
            gone.recv().unwrap();
            spin_three_quarters(Duration::from_millis(800));
        })
        .unwrap();
    let Some(sampler) = perf(997, false) else { return };
    go.send(()).unwrap();
    let late = thread::Builder::new()
        .name("late-1".to_owned())
        .spawn(|| spin_three_quarters(Duration::from_millis(800)))
        .unwrap();
    early.join().unwrap();
    late.join().unwrap();
    let profiled = sampler.stop(None).unwrap();
    assert_eq!(profiled.lost, Some(0));
    assert!(profiled.symbolised_share >= 0.95, "{}\n{}", profiled.symbolised_share, profiled.folded);
    for name in ["early;", "late;"] {
        let heavy = count(&profiled.folded, &[name, "spin_three_quarters;", "spin_heavy"]);
        let light = count(&profiled.folded, &[name, "spin_three_quarters;", "spin_light"]);
        assert!(heavy + light > 50, "{name}: {heavy} and {light} samples\n{}", profiled.folded);
        let share = heavy as f64 / (heavy + light) as f64;
        // Four standard deviations of a binomial.
        let slack = 4.0 * (0.75f64 * 0.25 / (heavy + light) as f64).sqrt();
        assert!((share - 0.75).abs() < slack, "{name}: {share}");
    }
}

/// The C library keeps no frame pointers: the function that called it must be there all the same.
#[test]
fn the_kernels_frames_hang_under_the_function_that_called_the_c_library() {
    #[inline(never)]
    fn writes_a_file(file: &mut File) {
        black_box(file.write_all(&[7; 512])).unwrap();
    }
    let _turn = turn();
    let Some(sampler) = perf(1999, false) else { return };
    let path = std::env::temp_dir().join(format!("uplift-profiler-{}", std::process::id()));
    let mut file = File::create(&path).unwrap();
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(700) {
        writes_a_file(&mut file);
        file.set_len(0).unwrap();
    }
    std::fs::remove_file(&path).unwrap();
    let profiled = sampler.stop(None).unwrap();
    if !profiled.kernel_frames {
        eprintln!("skipped: {:?}", profiled.warnings);
        return;
    }
    let writing = count(&profiled.folded, &["vfs_write_[k]"]);
    let under = count(&profiled.folded, &["writes_a_file", "vfs_write_[k]"]);
    assert!(writing > 50, "{}", profiled.folded);
    assert!(under * 100 >= writing * 98, "{under} of {writing}\n{}", profiled.folded);
}

#[test]
fn a_thread_that_waits_is_in_the_off_cpu_profile_for_as_long() {
    #[inline(never)]
    fn takes_a_nap() {
        thread::sleep(Duration::from_millis(300));
        black_box(());
    }
    let _turn = turn();
    let Some(sampler) = perf(99, true) else { return };
    let sleeper = thread::Builder::new().name("sleeper".to_owned()).spawn(takes_a_nap).unwrap();
    sleeper.join().unwrap();
    let profiled = sampler.stop(None).unwrap();
    let Some(off_cpu) = &profiled.folded_off_cpu else {
        eprintln!("skipped: {:?}", profiled.warnings);
        return;
    };
    let waited_us = count(off_cpu, &["sleeper;", "takes_a_nap", "nanosleep"]);
    assert!(waited_us >= 300_000, "{waited_us} us\n{off_cpu}");
    assert!(waited_us <= profiled.duration_ns / 1_000, "{waited_us} us of {} ns", profiled.duration_ns);
}

#[test]
fn the_fallback_finds_the_same_function_and_says_what_it_is() {
    let _turn = turn();
    let sampler = Box::new(fallback::start(&options(99, true, false), "asked for".to_owned()).unwrap());
    thread::spawn(|| spin_three_quarters(Duration::from_millis(1500))).join().unwrap();
    let profiled = sampler.stop(None).unwrap();
    let heavy = count(&profiled.folded, &["spin_three_quarters;", "spin_heavy"]);
    let light = count(&profiled.folded, &["spin_three_quarters;", "spin_light"]);
    assert!(heavy > light && light > 0, "{heavy} and {light}\n{}", profiled.folded);
    assert!(heavy + light > total(&profiled) / 2, "{}", profiled.folded);
    assert_eq!((profiled.lost, profiled.kernel_frames, &profiled.folded_off_cpu), (None, false, &None));
    let said = profiled.warnings.join("; ");
    assert!(
        said.contains("asked for") && said.contains("user frames only") && said.contains("waiting threads"),
        "{said}"
    );
}

/// The system's own profiler on the same stretch must see the same categories.
#[test]
fn perf_record_sees_the_same_shares() {
    use uplift_analysis::profile::{Category, category, folded};

    fn shares(text: &str) -> BTreeMap<Category, f64> {
        let stacks = folded::merge([text]).unwrap();
        let counts = category::count(&stacks);
        let total: u64 = counts.values().sum();
        assert!(total > 300, "{total} samples");
        counts.into_iter().map(|(category, count)| (category, count as f64 / total as f64)).collect()
    }

    let _turn = turn();
    let folder = std::env::temp_dir().join(format!("uplift-profiler-perf-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let data = folder.join("perf.data");
    let path = folder.join("file");
    let worker = thread::Builder::new()
        .name("worker".to_owned())
        .spawn(move || {
            thread::sleep(Duration::from_millis(700));
            let mut file = File::create(path).unwrap();
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(3) {
                black_box(spin_heavy(20_000));
                for _ in 0..20 {
                    file.write_all(&[7; 4096]).unwrap();
                }
                file.set_len(0).unwrap();
            }
        })
        .unwrap();
    let recorder = std::process::Command::new("perf")
        .args(["record", "-q", "-e", "cpu-clock", "-F", "997", "-g", "-p", &std::process::id().to_string(), "-o"])
        .arg(&data)
        .args(["--", "sleep", "4"])
        .stderr(std::process::Stdio::null())
        .spawn();
    let (Ok(mut recorder), Some(sampler)) = (recorder, perf(997, false)) else {
        eprintln!("skipped: perf is not installed; install linux-perf");
        worker.join().unwrap();
        return;
    };
    worker.join().unwrap();
    let profiled = sampler.stop(None).unwrap();
    let recorded = recorder.wait().unwrap().success();
    let script = std::process::Command::new("perf").args(["script", "-i"]).arg(&data).output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    if !recorded || !script.status.success() || !profiled.kernel_frames {
        eprintln!("skipped: perf record does not work here: {}", String::from_utf8_lossy(&script.stderr));
        return;
    }
    let mut options = inferno::collapse::perf::Options::default();
    options.annotate_kernel = true;
    let mut collapsed = Vec::new();
    let mut folder = inferno::collapse::perf::Folder::from(options);
    inferno::collapse::Collapse::collapse(&mut folder, script.stdout.as_slice(), &mut collapsed).unwrap();
    // perf cannot be started at the same instant: only the worker's stacks are compared.
    let of_worker = |text: &str| -> String {
        text.lines().filter(|line| line.starts_with("worker;")).map(|line| format!("{line}\n")).collect()
    };
    let ours = shares(&of_worker(&profiled.folded));
    let theirs = shares(&of_worker(&String::from_utf8_lossy(&collapsed)));
    for category in ours.keys().chain(theirs.keys()) {
        let share = |shares: &BTreeMap<Category, f64>| shares.get(category).copied().unwrap_or(0.0);
        let (our, their) = (share(&ours), share(&theirs));
        assert!((our - their).abs() < 0.03, "{}: {our} by us, {their} by perf\n{ours:?}\n{theirs:?}", category.name());
    }
}

/// Rings of a sample or two, emptied ten times a second: nearly all is lost, all of it is counted, also what is lost after the
/// last sample that found room.
#[test]
fn samples_that_find_no_room_are_counted_and_said() {
    let _turn = turn();
    const HZ: u32 = 4_999;
    let sampler = match perf::start_with(&[2], &options(HZ, false, false)) {
        Ok(sampler) => Box::new(sampler),
        Err(message) => {
            eprintln!("skipped: {message}");
            return;
        }
    };
    let before_ns = clock::process_cpu_ns();
    thread::spawn(|| spin_three_quarters(Duration::from_millis(1500))).join().unwrap();
    let used_ns = clock::process_cpu_ns() - before_ns;
    let profiled = sampler.stop(None).unwrap();
    let (taken, lost) = (total(&profiled), profiled.lost.unwrap());
    assert!(taken > 0 && lost > 5 * taken, "{taken} taken, {lost} lost");
    let due = used_ns as f64 * f64::from(HZ) / 1e9;
    let told = (taken + lost) as f64 / due;
    assert!((0.8..1.2).contains(&told), "{taken} taken and {lost} lost of {due} that were due");
    let said = profiled.warnings.join("; ");
    assert!(said.contains(&format!("{lost} of {} samples were lost", taken + lost)), "{said}");
    assert!(said.contains("sample less often"), "the fix: {said}");
}

/// A process that the system starts inherits the events; its addresses would be given names of this one's functions.
#[test]
fn samples_of_children_are_left_out_and_said() {
    let _turn = turn();
    let Some(sampler) = perf(997, false) else { return };
    let child =
        std::process::Command::new("sh").args(["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"]).status();
    let profiled = sampler.stop(None).unwrap();
    assert!(child.unwrap().success());
    let said = profiled.warnings.iter().any(|warning| warning.contains("samples of processes that the system started"));
    assert!(said, "{:?}", profiled.warnings);
    assert!(!profiled.folded.contains("[cut];[unknown]"), "{}", profiled.folded);
}

/// Every tenth call is slow because it naps, and half as slow again because it spins: the tail must be made of both, and
/// all calls together mostly of the quick work.
#[test]
fn slow_calls_are_told_apart_by_what_they_do() {
    #[inline(never)]
    fn quick_work() -> u64 {
        black_box(spin_known(200_000))
    }
    #[inline(never)]
    fn slow_work() -> u64 {
        black_box(spin_known(1_500_000))
    }
    #[inline(never)]
    fn slow_nap() {
        thread::sleep(Duration::from_millis(6));
        black_box(());
    }
    let _turn = turn();
    let Some(sampler) = perf(997, true) else { return };
    let caller = thread::Builder::new().name("caller".to_owned()).spawn(|| {
        let mut log = CallLog::of_this_thread();
        log.begin(true, 1);
        let start = Instant::now();
        let mut number = 0u64;
        while start.elapsed() < Duration::from_secs(2) {
            let start_ns = clock::now_ns();
            quick_work();
            if number % 10 == 9 {
                slow_work();
                slow_nap();
            }
            log.note(start_ns, clock::now_ns());
            number += 1;
            // Between calls: belongs to none.
            black_box(spin_light(50_000));
        }
        log
    });
    let mut log = caller.unwrap().join().unwrap();
    let mut calls = Calls::default();
    calls.absorb(&mut log);
    let count_of_calls = calls.count();
    let wanted = calls.tail(90.0).unwrap();
    let profiled = sampler.stop(Some(&wanted)).unwrap();
    let tail = profiled.tail.expect("moments were asked for");
    assert_eq!((tail.all.calls, tail.slow.calls), (count_of_calls, wanted.slow.count()));
    assert!(tail.threshold_ns >= 6_000_000, "a call with a nap is slow: {}", tail.threshold_ns);
    assert_eq!(count(&tail.slow.folded, &["spin_light"]), 0, "{}", tail.slow.folded);
    assert!(tail.samples_elsewhere > 0);
    let all: u64 = lines(&tail.all.folded).values().sum();
    assert_eq!(all + tail.samples_elsewhere, lines(&profiled.folded).values().sum::<u64>());
    // Nearly all of the slow work was done by slow calls, and only a tenth of the quick work. On a busy machine quick calls
    // that lost their CPU are slow too, and take the place of some.
    let of = |text: &str, name: &str| count(text, &[name]);
    let slow = (of(&tail.slow.folded, "slow_work"), of(&tail.all.folded, "slow_work"));
    assert!(slow.0 > 20 && slow.0 * 4 >= slow.1 * 3, "{slow:?}\n{}", tail.slow.folded);
    let quick = (of(&tail.slow.folded, "quick_work"), of(&tail.all.folded, "quick_work"));
    assert!(quick.0 * 3 < quick.1, "{quick:?}");
    let Some(off_cpu) = &tail.slow.folded_off_cpu else {
        eprintln!("waiting not checked: {:?}", profiled.warnings);
        return;
    };
    let napped_us = count(off_cpu, &["caller;", "slow_nap"]);
    assert!(napped_us >= 6_000 * tail.slow.calls * 3 / 4, "{napped_us} us in {} calls\n{off_cpu}", tail.slow.calls);
    // What was sampled and what was waited make up the calls' time.
    let seen_ns =
        off_cpu.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap() * 1e3).sum::<f64>()
            + lines(&tail.slow.folded).values().sum::<u64>() as f64 * profiled.sample_ns;
    let seen = seen_ns / tail.slow.service_ns as f64;
    assert!((0.85..1.15).contains(&seen), "{seen} of the slow calls' time");
}
