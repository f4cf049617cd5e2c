//! What is drawn from profile trials, checked against snapshots (`INSTA_UPDATE=always` blesses new ones).

use std::{collections::BTreeMap, env, fs, path::Path, process::Command};

use uplift_analysis::profile::{Profile, category_moves, differential, function_moves};
use uplift_model::{
    ProfileTrial,
    profile::PROFILE_SCHEMA,
    protocol::Profiled,
    run::Run,
    trial::{Trial, TrialOutcome},
};
use uplift_report::{
    ReportInput,
    export::{Format, Selection, documents},
    profile::{artifacts, section},
    render::{markdown, terminal},
};

fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A run of two variants, and a profile trial of each.
fn run() -> (Run, Vec<ProfileTrial>) {
    let run: Run = serde_json::from_str(&data("slower/run.json")).unwrap();
    let text = data("slower/trials.jsonl");
    let trials: Vec<Trial> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let variants = &run.scenarios[0].variants;
    let profiles = variants
        .iter()
        .zip([("profile/baseline.folded", 2_000), ("profile/candidate.folded", 8_000)])
        .map(|(variant, (file, operations))| ProfileTrial {
            schema: PROFILE_SCHEMA,
            trial: trials.iter().find(|trial| &trial.variant == variant && trial.succeeded()).unwrap().clone(),
            profiled: Some(Profiled {
                sampler: "perf cpu-clock".to_owned(),
                frequency_hz: 499,
                sample_ns: 1e9 / 499.0,
                frames: Vec::new(),
                folded: data(file),
                folded_off_cpu: Some(data("profile/off-cpu.folded")),
                lost: Some(0),
                symbolised_share: 1.0,
                kernel_frames: true,
                duration_ns: 5_000_000_000,
                operations,
                warnings: vec!["something is not available; do this".to_owned()],
                tail: None,
                not_sampled: None,
                allocations: None,
            }),
        })
        .collect();
    (run, profiles)
}

/// The section as markdown.
fn drawn(profiles: &[ProfileTrial], run: &Run) -> String {
    markdown::part(&section::section(profiles, &run.scenarios[0]))
}

#[test]
fn the_section_and_the_terminal_say_where_the_time_went() {
    let (run, profiles) = run();
    insta::assert_snapshot!("profile-markdown", drawn(&profiles, &run));
    insta::assert_snapshot!(
        "profile-terminal",
        terminal::part(&section::section(&profiles, &run.scenarios[0]), terminal::Style::default())
    );
    insta::assert_snapshot!(
        "profile-json",
        serde_json::to_string_pretty(&section::json(&profiles, &run.scenarios[0])).unwrap()
    );
}

#[test]
fn a_differential_is_normalised_by_operations_in_both_directions() {
    let (_, profiles) = run();
    let of = |index: usize| Profile::on_cpu(&[profiles[index].profiled.as_ref().unwrap()]).unwrap();
    let (baseline, candidate) = (of(0), of(1));
    let text = differential::folded(&baseline, &candidate).unwrap();
    insta::assert_snapshot!("profile-differential", text);

    // Sums of the two columns are the CPU time of one operation, whatever the number of operations was.
    let (mut before, mut after) = (0, 0);
    for line in text.lines() {
        let mut words = line.rsplit(' ').map(|word| word.parse::<u64>().unwrap_or(0));
        after += words.next().unwrap();
        before += words.next().unwrap();
    }
    let close = |ps: u64, ns: f64| (ps as f64 / 1e3 - ns).abs() < 0.1;
    assert!(close(before, 1_000.0 * 1e9 / 499.0 / 2_000.0) && close(after, 1_000.0 * 1e9 / 499.0 / 8_000.0));

    // What moved one way moves back the other way.
    let (there, back) = (category_moves(&baseline, &candidate), category_moves(&candidate, &baseline));
    for row in &there {
        let mirrored = back.iter().find(|other| other.category == row.category).unwrap();
        assert!((row.moved.change_ns + mirrored.moved.change_ns).abs() < 1e-6);
        assert!((row.moved.ci_ns[0] + mirrored.moved.ci_ns[1]).abs() < 1e-6);
    }
    assert_eq!(there[0].category.name(), "sync");
    assert!(there[0].moved.is_clear() && there[0].moved.change_ns < 0.0);

    // A variant against itself: nothing moves, though the number of operations is not what was sampled.
    let twice =
        Profile { operations: 2 * baseline.operations, sample_ns: 2.0 * baseline.sample_ns, ..baseline.clone() };
    assert!(function_moves(&baseline, &twice, 100).iter().all(|row| row.moved.change_ns.abs() < 1e-6));
}

#[test]
fn every_file_is_drawn_and_the_same_again() {
    let (run, profiles) = run();
    let files = artifacts(&run, &profiles).unwrap();
    assert_eq!(files, artifacts(&run, &profiles).unwrap());
    let sizes: BTreeMap<&str, usize> = files.iter().map(|file| (file.name.as_str(), file.bytes.len())).collect();
    insta::assert_snapshot!("profile-files", sizes.keys().copied().collect::<Vec<_>>().join("\n"));
    assert!(sizes.values().all(|size| *size > 0));
    let svg = |end: &str| {
        let file = files.iter().find(|file| file.name.ends_with(end)).unwrap();
        String::from_utf8(file.bytes.clone()).unwrap()
    };
    // What the candidate no longer does shows only in the graph that is as wide as the baseline was.
    assert!(
        svg("before.svg").contains("docdb::log::Log::append") && !svg("after.svg").contains("docdb::log::Log::append")
    );
    assert!(
        svg("after.svg").contains("docdb::group::write_all") && !svg("before.svg").contains("docdb::group::write_all")
    );
    let json: serde_json::Value =
        serde_json::from_str(&svg("candidate.cpu.firefox.json".trim_start_matches("candidate"))).unwrap();
    assert!(json["threads"].as_array().is_some_and(|threads| !threads.is_empty()));
}

/// Few samples, no samples, broken stacks, a trial that failed: each is said and nothing is made up.
#[test]
fn what_is_missing_is_said() {
    let (run, mut profiles) = run();
    profiles[0].profiled.as_mut().unwrap().folded = "client;work 3\n".to_owned();
    profiles[1].profiled.as_mut().unwrap().folded = String::new();
    profiles[1].profiled.as_mut().unwrap().operations = 0;
    let text = drawn(&profiles, &run);
    assert!(text.contains("3 samples are too few") && text.contains("No thread was running"), "{text}");
    assert!(text.contains("there is no time per operation"), "{text}");
    assert!(artifacts(&run, &profiles).unwrap().iter().all(|file| !file.name.contains("-to-")));

    profiles[1].profiled.as_mut().unwrap().folded = "no count\n".to_owned();
    assert!(drawn(&profiles, &run).contains("could not read the stacks"));
    assert!(artifacts(&run, &profiles).unwrap_err().to_string().contains("no count"));

    profiles[1].profiled = None;
    profiles[1].trial.outcome = TrialOutcome::Failed(uplift_model::trial::Failure {
        kind: uplift_model::trial::FailureKind::Crashed,
        phase: "profiling".to_owned(),
        message: "the agent was ended by signal 6".to_owned(),
        stderr_tail: String::new(),
        problem: None,
    });
    let text = drawn(&profiles, &run);
    assert!(text.contains("failed at profiling: the agent was ended by signal 6"), "{text}");
}

/// Go's own reader sees the functions, their samples and the labels. Without it the test says so and passes, unless
/// `UPLIFT_REQUIRE` holds `go`.
#[test]
fn pprof_reads_what_is_exported() {
    let (run, profiles) = run();
    let input = ReportInput { run: &run, trials: &[], profiles: &profiles, verdicts: None };
    let found = documents(Format::Pprof, &input, &Selection::default()).unwrap();
    assert_eq!(found.len(), 2);
    let only = Selection { variant: Some("baseline".to_owned()), ..Selection::default() };
    assert_eq!(documents(Format::Pprof, &input, &only).unwrap(), found[..1]);

    if !Command::new("go").arg("version").output().is_ok_and(|output| output.status.success()) {
        let required = env::var("UPLIFT_REQUIRE").is_ok_and(|list| list.split(',').any(|word| word == "go"));
        assert!(!required, "UPLIFT_REQUIRE asks for go, which is not installed");
        eprintln!("skipped: install `golang-go` to read profiles with `go tool pprof`");
        return;
    }
    let folder = env::temp_dir().join(format!("uplift-pprof-test-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(&found[0].name);
    fs::write(&path, &found[0].bytes).unwrap();
    let pprof = |arguments: &[&str]| {
        let output = Command::new("go").args(["tool", "pprof"]).args(arguments).arg(&path).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let top = pprof(&["-top", "-sample_index=samples", "-nodecount=100"]);
    let tags = pprof(&["-tags", "-sample_index=samples"]);
    fs::remove_dir_all(&folder).unwrap();

    let baseline = Profile::on_cpu(&[profiles[0].profiled.as_ref().unwrap()]).unwrap();
    assert!(top.contains(&format!("of {} total", baseline.samples)), "{top}");
    // flat flat% sum% cum cum% name: the innermost frames of our stacks, and their counts.
    let mut flat: BTreeMap<&str, u64> = BTreeMap::new();
    for stack in &baseline.stacks {
        let innermost = uplift_analysis::profile::folded::function(stack.frames.last().unwrap());
        *flat.entry(innermost).or_default() += stack.count;
    }
    for (name, count) in flat {
        let line = top.lines().find(|line| line.ends_with(name)).unwrap_or_else(|| panic!("{name}: {top}"));
        assert_eq!(line.split_whitespace().next(), Some(count.to_string().as_str()), "{line}");
    }
    assert!(tags.contains("category:") && tags.contains("thread:"), "{tags}");
}

/// The bytes of the file that ends so.
fn file(end: &str) -> Vec<u8> {
    let (run, profiles) = run();
    artifacts(&run, &profiles).unwrap().into_iter().find(|file| file.name.ends_with(end)).unwrap().bytes
}

/// Go's own reader is the judge of the file in the run's folder, where it is installed.
#[test]
fn gos_pprof_reads_what_we_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("profile.pb.gz");
    fs::write(&path, file(".cpu.pb.gz")).unwrap();
    let pprof = |arguments: &[&str]| {
        let mut command = Command::new("go");
        command.args(["tool", "pprof"]).args(arguments).arg(&path).env("PPROF_TMPDIR", folder.path());
        command.output()
    };
    let Ok(raw) = pprof(&["-raw"]) else {
        eprintln!("skipped: go is not installed; install golang-go");
        return;
    };
    let text = String::from_utf8_lossy(&raw.stdout).into_owned();
    assert!(raw.status.success(), "{}", String::from_utf8_lossy(&raw.stderr));
    assert!(text.contains("samples/count cpu/nanoseconds"), "{text}");
    assert!(text.contains("category:[sync]") && text.contains("thread:[client]"), "{text}");
    let top = pprof(&["-top", "-sample_index=samples"]).unwrap();
    let top = String::from_utf8_lossy(&top.stdout).into_owned();
    let (_, profiles) = run();
    let total = Profile::on_cpu(&[profiles[0].profiled.as_ref().unwrap()]).unwrap().samples;
    assert!(top.contains(&format!("of {total} total")) || top.contains(&format!("{total} total")), "{total} in {top}");
}

/// The Firefox Profiler's processed format: its version, and tables whose columns are as long as they say and whose
/// indices point into them.
#[test]
fn the_firefox_profile_keeps_to_its_schema() {
    let document: serde_json::Value = serde_json::from_slice(&file(".cpu.firefox.json")).unwrap();
    let meta = &document["meta"];
    assert!(meta["version"].as_u64().is_some() && meta["preprocessedProfileVersion"].as_u64() >= Some(40), "{meta}");
    assert!(meta["interval"].as_f64().unwrap() > 0.0 && meta["startTime"].as_f64().unwrap() > 0.0);
    assert_eq!(meta["symbolicated"], true);
    let categories = meta["categories"].as_array().unwrap();
    assert!(categories.iter().all(|category| category["name"].is_string() && category["color"].is_string()));
    let (_, profiles) = run();
    let wanted = Profile::on_cpu(&[profiles[0].profiled.as_ref().unwrap()]).unwrap().samples;
    let mut weights = 0;
    for thread in document["threads"].as_array().unwrap() {
        assert!(thread["name"].is_string() && thread["pid"].is_string() && thread["tid"].is_string());
        let length = |table: &str| thread[table]["length"].as_u64().unwrap() as usize;
        for (table, columns) in [
            ("samples", &["stack", "weight"][..]),
            ("stackTable", &["frame", "prefix"]),
            ("frameTable", &["func", "category"]),
            ("funcTable", &["name"]),
        ] {
            for column in columns {
                let values = thread[table][*column].as_array().unwrap();
                assert_eq!(values.len(), length(table), "{table}.{column}");
            }
        }
        let points = |table: &str, column: &str, into: usize| {
            let values = thread[table][column].as_array().unwrap().iter();
            assert!(values.flat_map(|value| value.as_u64()).all(|index| (index as usize) < into), "{table}.{column}");
        };
        points("samples", "stack", length("stackTable"));
        points("stackTable", "frame", length("frameTable"));
        points("stackTable", "prefix", length("stackTable"));
        points("frameTable", "func", length("funcTable"));
        points("frameTable", "category", categories.len());
        weights +=
            thread["samples"]["weight"].as_array().unwrap().iter().map(|weight| weight.as_u64().unwrap()).sum::<u64>();
    }
    assert_eq!(weights, wanted, "every sample is in it");
}

/// Three slow calls of a hundred wait for a sync that the others do not.
#[test]
fn the_slowest_calls_have_a_section_a_graph_and_a_differential() {
    use uplift_model::protocol::{CallStacks, TailProfile};
    let (run, mut profiles) = run();
    let stacks = |calls, service_ns, folded: &str, off_cpu: &str| CallStacks {
        calls,
        service_ns,
        folded: folded.to_owned(),
        folded_off_cpu: Some(off_cpu.to_owned()),
    };
    let sync = "client;docdb::log::Log::append;fdatasync;do_syscall_64_[k];__x64_sys_fdatasync_[k];schedule_[k]";
    let lock = "client;docdb::lock::wait;do_syscall_64_[k];__x64_sys_futex_[k];schedule_[k]";
    profiles[0].profiled.as_mut().unwrap().tail = Some(TailProfile {
        percentile: 97.0,
        threshold_ns: 9_000_000,
        slow: stacks(3, 30_000_000, "client;docdb::encode 1\n", &format!("{sync} 27000\n")),
        all: stacks(100, 100_000_000, "client;docdb::encode 20\n", &format!("{sync} 27000\n{lock} 30000\n")),
        calls_missed: 7,
        samples_elsewhere: 250,
    });
    let text = drawn(&profiles, &run);
    let start = text.find("#### The slowest calls of").unwrap();
    let end = text[start..].find("\n#### Where").map_or(text.len(), |end| start + end);
    insta::assert_snapshot!("profile-tail", &text[start..end]);
    let files = artifacts(&run, &profiles).unwrap();
    let content = |end: &str| {
        let file = files.iter().find(|file| file.name.ends_with(end)).unwrap();
        String::from_utf8(file.bytes.clone()).unwrap()
    };
    assert!(content("tail.folded").contains("client;[waiting];docdb::log::Log::append"));
    assert!(
        content("tail.svg").contains("calls slower than p97 (9 ms)") && content("tail.svg").contains("perf cpu-clock")
    );
    // What all calls do and slow ones do not has no width in a graph of slow calls.
    assert!(!content("tail-against-all.svg").contains("docdb::lock::wait"));
    assert!(files.iter().filter(|file| file.name.contains("tail")).count() == 3);
}

/// Every graph says what sampled it: a fallback's must not be taken for the real thing.
#[test]
fn every_graph_says_what_sampled_it() {
    let (run, mut profiles) = run();
    for profile in &mut profiles {
        let profiled = profile.profiled.as_mut().unwrap();
        (profiled.sampler, profiled.kernel_frames) = ("pprof (user frames only)".to_owned(), false);
    }
    let graphs: Vec<_> =
        artifacts(&run, &profiles).unwrap().into_iter().filter(|file| file.name.ends_with(".svg")).collect();
    assert_eq!(graphs.len(), 6);
    for graph in graphs {
        assert!(String::from_utf8_lossy(&graph.bytes).contains("pprof (user frames only)"), "{}", graph.name);
    }
}
