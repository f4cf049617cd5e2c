//! The command `profile` on the target whose truth is known.

use std::{collections::BTreeMap, fs, process::Command};

use serde_json::Value;

use crate::bench::{Bench, Said};

/// Samples by whole stack.
fn folded(bench: &Bench, name: &str) -> BTreeMap<String, u64> {
    let path = bench.run_folder().join("profiles").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines()
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(stack, count)| (stack.to_owned(), count.parse().unwrap()))
        .collect()
}

fn with(stacks: &BTreeMap<String, u64>, words: &[&str]) -> u64 {
    stacks.iter().filter(|(stack, _)| words.iter().all(|word| stack.contains(word))).map(|(_, count)| count).sum()
}

/// Where perf events are forbidden the rest of a test would say nothing.
fn sampled_by_perf(said: &Value) -> bool {
    let sampler = said[0]["variants"][0]["sampler"].as_str().unwrap();
    if !sampler.starts_with("perf") {
        eprintln!("skipped: sampled by {sampler}; sysctl kernel.perf_event_paranoid=1");
    }
    sampler.starts_with("perf")
}

#[test]
fn the_known_split_comes_back() {
    let bench = Bench::new();
    let said = bench.uplift(&[
        "profile",
        "reference/steady",
        "--variant",
        "baseline",
        "--sampling-frequency",
        "1999",
        "--format",
        "json",
    ]);
    said.code(0);
    let said = said.json();
    if !sampled_by_perf(&said) {
        return;
    }
    let variant = &said[0]["variants"][0];
    assert!(variant["symbolised_share"].as_f64().unwrap() >= 0.95, "{variant}");
    assert_eq!(variant["lost"], 0);
    let stacks = folded(&bench, "reference-steady-baseline.cpu.folded");
    let whole = with(&stacks, &["work::operation"]) as f64;
    for (name, truth) in [("work_seventy", 0.7), ("work_twenty", 0.2), ("work_ten", 0.1)] {
        let share = with(&stacks, &["work::operation", name]) as f64 / whole;
        // Two points; on a machine so busy that samples are few, what their number allows.
        let slack = f64::max(0.02, 4.0 * (truth * (1.0 - truth) / whole).sqrt());
        assert!((share - truth).abs() < slack, "{name}: {share} of {whole} samples, {truth} ± {slack} expected");
    }
    for end in ["cpu.svg", "cpu.pb.gz", "cpu.firefox.json", "off-cpu.folded"] {
        let path = bench.run_folder().join(format!("profiles/reference-steady-baseline.{end}"));
        assert!(fs::metadata(&path).is_ok_and(|file| file.len() > 0), "{}", path.display());
    }
}

#[test]
fn a_sync_that_was_left_out_is_the_top_mover() {
    let bench = Bench::new();
    let said = bench.uplift(&[
        "profile",
        "reference/synced",
        "--variant",
        "no-sync",
        "--against",
        "one-sync",
        "--sampling-window",
        "2s",
        "--sampling-frequency",
        "1999",
        "--format",
        "json",
    ]);
    said.code(0);
    if !sampled_by_perf(&said.json()) || said.json()[0]["variants"][0]["kernel"]["samples"] == 0 {
        return;
    }
    // The kernel's path to the disk hangs under the function that asked for it.
    let stacks = folded(&bench, "reference-synced-one~sync.cpu.folded");
    let syncing = with(&stacks, &["fdatasync", "_[k]"]);
    let under = with(&stacks, &["ReferenceClient", "fdatasync", "_[k]"]);
    assert!(syncing > 20 && under * 100 >= syncing * 95, "{under} of {syncing}");
    let waits = folded(&bench, "reference-synced-one~sync.off-cpu.folded");
    assert!(with(&waits, &["client;", "fdatasync"]) > 0);
    let report = fs::read_to_string(bench.run_folder().join("report.md")).unwrap();
    let moved = report.split("#### What moved from `one-sync` to `no-sync`").nth(1).expect("a section on movers");
    let first = moved.lines().find(|line| line.starts_with("| **")).unwrap();
    assert!(first.starts_with("| **sync**") && first.contains("**−"), "{first}");
    for end in ["before.svg", "after.svg", "folded"] {
        assert!(bench.run_folder().join(format!("profiles/reference-synced-one~sync-to-no~sync.{end}")).is_file());
    }
}

#[test]
fn a_comparison_with_profiles_keeps_them_apart_and_is_rebuilt_byte_for_byte() {
    let bench = Bench::new();
    bench
        .uplift(&[
            "compare",
            "baseline",
            "slower-10",
            "reference/steady",
            "--quick",
            "--blocks",
            "5",
            "--profile",
            "cpu",
            "--sampling-window",
            "500ms",
        ])
        .code(0);
    assert_eq!(bench.trials().len(), 10, "profile trials are not among the measured");
    let folder = bench.run_folder();
    let profiles = fs::read_to_string(folder.join("profiles.jsonl")).unwrap();
    assert_eq!(profiles.lines().count(), 2);
    let before = contents(&folder);
    fs::remove_dir_all(folder.join("profiles")).unwrap();
    bench.uplift(&["report", "latest"]).code(0);
    let after = contents(&folder);
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (name, bytes) in &before {
        assert!(&after[name] == bytes, "{name} differs");
    }
}

fn contents(folder: &std::path::Path) -> BTreeMap<String, Vec<u8>> {
    [folder.to_owned(), folder.join("profiles")]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap().flatten())
        .filter(|entry| entry.path().is_file())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).unwrap()))
        .collect()
}

#[test]
fn the_fallback_draws_what_it_has_and_says_so() {
    let bench = Bench::new();
    let output = bench
        .command(&["profile", "reference/steady", "--variant", "baseline", "--sampling-window", "1500ms"])
        .env("UPLIFT_SAMPLER", "pprof")
        .output()
        .unwrap();
    let said = Said(output);
    said.code(0);
    assert!(said.out().contains("user frames only") && said.out().contains("losses not counted"), "{}", said.out());
    let stacks = folded(&bench, "reference-steady-baseline.cpu.folded");
    assert!(with(&stacks, &["work_seventy"]) > with(&stacks, &["work_ten"]));
    let graph = fs::read_to_string(bench.run_folder().join("profiles/reference-steady-baseline.cpu.svg")).unwrap();
    assert!(graph.contains("pprof (user frames only)"), "the graph's title says what it is");
}

#[test]
fn a_profile_of_nothing_is_refused() {
    let bench = Bench::new();
    let said = bench.uplift(&["profile", "reference/steady", "--variant", "nobody"]);
    said.code(2).says("no variant `nobody`");
    let said = bench.uplift(&["profile", "reference/steady", "--variant", "baseline", "--mode", "off"]);
    said.code(2).says("profiles nothing");
}

/// What sampling costs is measured as anything else is: the variant against itself under the sampler, interleaved.
#[test]
fn the_cost_of_sampling_is_a_comparison() {
    let bench = Bench::new();
    let said = bench.uplift(&[
        "profile",
        "reference/steady",
        "--variant",
        "baseline",
        "--cost",
        "--budget",
        "6s",
        "--set",
        "trial.rounds=8",
        "--format",
        "json",
    ]);
    said.code(0);
    let verdicts = said.json();
    assert_eq!(verdicts["candidate"], "baseline@sampled-499hz");
    assert_eq!(verdicts["scenarios"][0]["status"], "compared");
    let metrics = verdicts["scenarios"][0]["metrics"].as_array().unwrap();
    let of = |name: &str| metrics.iter().find(|metric| metric["metric"] == name).unwrap().clone();
    assert_eq!(of("steps_per_op")["verdict"], "unchanged", "both do the same work");
    assert_ne!(of("throughput")["verdict"], "improved");
    assert!(!bench.trials().is_empty() && !bench.run_folder().join("profiles.jsonl").exists());
}

/// The graph of a profile that could not have everything: it is drawn all the same.
fn graph(bench: &Bench, name: &str) -> String {
    let path = bench.run_folder().join("profiles").join(name);
    let graph = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(graph.contains("<svg") && graph.contains("client"), "{name} is no graph of clients");
    graph
}

#[test]
fn a_stripped_binary_is_said_and_drawn() {
    let bench = Bench::new();
    let stripped = bench.folder.path().join("uplift-stripped");
    fs::copy(env!("CARGO_BIN_EXE_uplift"), &stripped).unwrap();
    let strip = Command::new("strip").arg(&stripped).status();
    assert!(strip.is_ok_and(|status| status.success()), "`strip` comes with the linker that built this test");
    let arguments = ["profile", "reference/steady", "--variant", "baseline", "--sampling-window", "1s"];
    let mut command = Command::new(&stripped);
    command.args(arguments).current_dir(bench.folder.path());
    command.env("UPLIFT_SCENARIOS", crate::bench::repository().join("scenarios")).env("NO_COLOR", "1");
    let said = Said(command.output().unwrap());
    said.code(0);
    let out = said.out();
    assert!(out.contains("without names: [uplift-stripped]") && out.contains("build without `strip`"), "{out}");
    assert!(graph(&bench, "reference-steady-baseline.cpu.svg").contains("[uplift-stripped]"));
}

/// Lets the process and all that it starts get "operation not permitted" from one system call.
fn forbid_perf_events(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;
    let refuse = libc::SECCOMP_RET_ERRNO | (libc::EPERM as u32 & libc::SECCOMP_RET_DATA);
    let instruction = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    // The number of the call is the first word of what a filter sees (`struct seccomp_data`).
    let mut filter = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_perf_event_open as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, refuse),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: prctl is async-signal-safe; the program lives until it returns.
        let results = unsafe {
            [
                libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
                libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program),
            ]
        };
        if results == [0, 0] { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: what runs between fork and exec makes two system calls and nothing else.
    unsafe { command.pre_exec(install) };
}

#[test]
fn forbidden_perf_events_are_said_with_the_remedy_and_the_fallback_draws() {
    let bench = Bench::new();
    let arguments =
        ["profile", "reference/steady", "--variant", "baseline", "--sampling-window", "1500ms", "--tail", "p99"];
    let mut command = bench.command(&arguments);
    forbid_perf_events(&mut command);
    let said = Said(command.output().unwrap());
    said.code(0);
    let out = said.out();
    for wanted in [
        "pprof (user frames only)",
        "perf_event_open cpu-clock: Operation not permitted",
        "sysctl kernel.perf_event_paranoid=1",
        "the slowest calls cannot be told apart",
    ] {
        assert!(out.contains(wanted), "`{wanted}` is not in:\n{out}");
    }
    assert!(graph(&bench, "reference-steady-baseline.cpu.svg").contains("pprof (user frames only)"));
    let mut doctor = bench.command(&["doctor"]);
    forbid_perf_events(&mut doctor);
    let found = Said(doctor.output().unwrap()).out();
    assert!(found.contains("pprof (user frames only)"), "the finding is the sampler that profiles use:\n{found}");
}

/// `perf_event_paranoid` keeps the kernel from those who are not root.
#[test]
fn a_user_without_rights_gets_what_the_kernel_allows_and_is_told_the_rest() {
    use std::os::unix::{fs::chown, process::CommandExt as _};
    const NOBODY: u32 = 65_534;
    let level = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
    let Ok(level @ 2..) = level.trim().parse::<i32>() else {
        eprintln!("skipped: perf_event_paranoid is `{}` and allows everything", level.trim());
        return;
    };
    let bench = Bench::new();
    // SAFETY: geteuid has no preconditions.
    let root = unsafe { libc::geteuid() } == 0;
    let reachable = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    let as_nobody = |arguments: &[&str]| {
        let mut command = bench.command(arguments);
        if root {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    };
    if root {
        chown(bench.folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    if !reachable(&mut as_nobody(&["--version"])) || !reachable(&mut as_nobody(&["list"])) {
        eprintln!("skipped: the build folder cannot be entered by another user");
        return;
    }
    let arguments = ["profile", "reference/steady", "--variant", "baseline", "--sampling-window", "1500ms"];
    let said = Said(as_nobody(&arguments).output().unwrap());
    said.code(0);
    let out = said.out();
    assert!(out.contains("user frames only") && out.contains("sysctl kernel.perf_event_paranoid=1"), "{out}");
    assert_eq!(out.contains("perf cpu-clock, user frames only"), level == 2, "{out}");
    let graph = graph(&bench, "reference-steady-baseline.cpu.svg");
    assert!(graph.contains("user frames only") && graph.contains("reference_work_seventy"));
}

#[test]
fn missing_kernel_symbols_are_said_and_the_frames_are_drawn_without_names() {
    let bench = Bench::new();
    let arguments = [
        "profile",
        "reference/synced",
        "--variant",
        "one-sync",
        "--sampling-window",
        "1s",
        "--sampling-frequency",
        "1999",
        "--format",
        "json",
    ];
    let said = Said(bench.command(&arguments).env("UPLIFT_KALLSYMS", "/no/such/kallsyms").output().unwrap());
    said.code(0);
    let json = said.json();
    if !sampled_by_perf(&json) || json[0]["variants"][0]["kernel"]["samples"] == 0 {
        return;
    }
    let warnings = json[0]["variants"][0]["warnings"].to_string();
    assert!(warnings.contains("/no/such/kallsyms cannot be read"), "{warnings}");
    assert!(warnings.contains("sysctl kernel.kptr_restrict=0"), "{warnings}");
    assert!(json[0]["variants"][0]["symbolised_share"].as_f64().unwrap() < 0.95);
    assert!(graph(&bench, "reference-synced-one~sync.cpu.svg").contains("[kernel]"));
}

#[test]
fn lost_samples_are_in_the_report_and_in_the_graph() {
    let bench = Bench::new();
    let arguments = [
        "profile",
        "reference/steady",
        "--variant",
        "baseline",
        "--sampling-window",
        "1s",
        "--sampling-frequency",
        "4999",
        "--mode",
        "cpu",
        "--format",
        "json",
    ];
    let said = Said(bench.command(&arguments).env("UPLIFT_SAMPLER_RING_PAGES", "2").output().unwrap());
    said.code(0);
    let json = said.json();
    if !sampled_by_perf(&json) {
        return;
    }
    let variant = &json[0]["variants"][0];
    let (lost, taken) = (variant["lost"].as_u64().unwrap(), variant["samples"].as_u64().unwrap());
    assert!(lost > taken && taken > 0, "{variant}");
    let graph = graph(&bench, "reference-steady-baseline.cpu.svg");
    let report = fs::read_to_string(bench.run_folder().join("report.md")).unwrap();
    for (name, text) in [("graph", &graph), ("report", &report)] {
        assert!(text.contains(&format!("{lost} lost")), "the {name} does not say it");
    }
    assert!(report.contains(&format!("{lost} of {} samples were lost", lost + taken)), "{report}");
    assert!(report.contains("sample less often"), "the fix: {report}");
    let said = Said(bench.command(&arguments).env("UPLIFT_SAMPLER_RING_PAGES", "3").output().unwrap());
    let told = format!("{}{}", said.out(), said.err());
    assert!(told.contains("UPLIFT_SAMPLER_RING_PAGES must be a power of two, not `3`"), "{told}");
}

#[test]
fn the_slowest_calls_are_shown_apart() {
    let bench = Bench::new();
    let said = bench.uplift(&[
        "profile",
        "reference/synced",
        "--variant",
        "one-sync",
        "--sampling-window",
        "2s",
        "--tail",
        "p90",
        "--format",
        "json",
    ]);
    said.code(0);
    let json = said.json();
    if !sampled_by_perf(&json) {
        return;
    }
    let tail = &json[0]["variants"][0]["tail"];
    let calls = |side: &str| tail[side]["calls"].as_u64().unwrap() as f64;
    let share = calls("slow") / calls("all");
    assert!((0.09..0.2).contains(&share) || calls("all") < 100.0, "{tail}");
    assert!(tail["slow"]["mean_ns"].as_f64() > tail["all"]["mean_ns"].as_f64(), "{tail}");
    if tail["slow"]["waiting"] == true && calls("slow") > 20.0 {
        let seen = tail["slow"]["seen_share"].as_f64().unwrap();
        // The kernel starts the clock of a thread anew whenever it gets a CPU: among many threads for few
        // CPUs that makes some samples too many.
        assert!((0.8..1.5).contains(&seen), "{seen} of the slow calls' time is in the stacks\n{tail}");
        // What is slow about a synced write is the sync.
        let sync = |row: &Value| row["what"].as_str().unwrap().ends_with(": sync");
        assert!(tail["rows"].as_array().unwrap().iter().take(3).any(sync), "{tail}");
    }
    for end in ["tail.svg", "tail.folded", "tail-against-all.svg"] {
        let path = bench.run_folder().join(format!("profiles/reference-synced-one~sync.{end}"));
        assert!(fs::metadata(&path).is_ok_and(|file| file.len() > 0), "{}", path.display());
    }
    let report = fs::read_to_string(bench.run_folder().join("report.md")).unwrap();
    assert!(
        report.contains("#### The slowest calls of `one-sync`") && report.contains("belong to no call"),
        "{report}"
    );
    bench.uplift(&["profile", "reference/synced", "--variant", "one-sync", "--tail", "p100"]).code(2).says("p99");
}

/// Each worker's stages and the rest are its wall time; in turns they must not hold the other variant's time.
#[test]
fn every_target_accounts_for_its_workers_time() {
    for (scenario, variants, workers) in [
        ("reference/synced", ["no-sync", "one-sync"], vec!["client"]),
        ("docdb/peers", ["docdb", "fast"], vec!["client"]),
        ("dataflow/vote-writes", ["baseline", "optimized"], vec!["shard-0"]),
        ("orchestration/fanout-unbounded", ["baseline", "optimized"], vec!["caller", "provider calls"]),
    ] {
        let bench = Bench::new();
        let said = bench.uplift(&["compare", variants[0], variants[1], scenario, "--quick", "--blocks", "1"]);
        assert!(matches!(said.0.status.code(), Some(0 | 4)), "{scenario}: {}\n{}", said.out(), said.err());
        let trials = bench.trials();
        assert_eq!(trials.len(), 2, "{scenario}");
        for trial in &trials {
            assert_eq!(trial["outcome"]["status"], "ok", "{scenario}: {}", trial["outcome"]);
            let measured = &trial["measured"];
            let sum = |rows: &Value, keys: &[&str]| -> f64 {
                rows.as_array()
                    .unwrap()
                    .iter()
                    .map(|row| keys.iter().map(|key| row[*key].as_f64().unwrap()).sum::<f64>())
                    .sum()
            };
            let turns_ns = sum(&measured["turns"], &["wall_ns", "quiesce_ns"]);
            let stages = measured["stages"].as_array().unwrap();
            for worker in &workers {
                let of: Vec<&Value> = stages.iter().filter(|stage| stage["worker"] == *worker).collect();
                assert!(!of.is_empty(), "{scenario}: no stages of {worker} among {stages:?}");
                let (wall_ns, clocks) = (of[0]["wall_ns"].as_f64().unwrap(), of[0]["clocks"].as_f64().unwrap());
                // A turn's end is a few moments away from where its stages stop.
                let each_ns = wall_ns / clocks;
                assert!(
                    each_ns >= turns_ns * 0.98 && each_ns <= turns_ns * 1.25 + 5e7,
                    "{scenario} {worker}: {each_ns} ns of wall, {turns_ns} ns of turns"
                );
                let spent = sum(&Value::Array(of.into_iter().cloned().collect()), &["process_ns", "wait_ns"]);
                assert!(spent > 0.0 && spent <= wall_ns * 1.001, "{scenario} {worker}: {spent} of {wall_ns} ns");
            }
        }
        let report = fs::read_to_string(bench.run_folder().join("report.md")).unwrap();
        assert!(report.contains("(unaccounted)"), "{scenario}");
        let moved = format!("from `{}` to `{}`:", variants[0], variants[1]);
        assert!(report.contains("Time of all workers for each") && report.contains(&moved), "{scenario}");
    }
}
