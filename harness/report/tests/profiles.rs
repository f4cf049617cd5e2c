//! What is drawn from profile trials, held against snapshots (`INSTA_UPDATE=always` blesses new ones).

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
                folded: data(file),
                folded_off_cpu: Some(data("profile/off-cpu.folded")),
                lost: Some(0),
                symbolised_share: 1.0,
                kernel_frames: true,
                duration_ns: 5_000_000_000,
                operations,
                warnings: vec!["something could not be had; do this".to_owned()],
            }),
        })
        .collect();
    (run, profiles)
}

#[test]
fn the_section_and_the_terminal_say_where_the_time_went() {
    let (run, profiles) = run();
    insta::assert_snapshot!("profile-markdown", section::markdown(&profiles, &run.scenarios[0]));
    insta::assert_snapshot!("profile-terminal", section::terminal(&profiles, &run.scenarios[0]));
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

    // Sums of the two columns are the processor time of one operation, whatever the number of operations was.
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
    let text = section::markdown(&profiles, &run.scenarios[0]);
    assert!(text.contains("3 samples are too few") && text.contains("No thread was running"), "{text}");
    assert!(text.contains("there is no time per operation"), "{text}");
    assert!(artifacts(&run, &profiles).unwrap().iter().all(|file| !file.name.contains("-to-")));

    profiles[1].profiled.as_mut().unwrap().folded = "no count\n".to_owned();
    assert!(section::markdown(&profiles, &run.scenarios[0]).contains("The stacks cannot be read"));
    assert!(artifacts(&run, &profiles).unwrap_err().to_string().contains("no count"));

    profiles[1].profiled = None;
    profiles[1].trial.outcome = TrialOutcome::Failed(uplift_model::trial::Failure {
        kind: uplift_model::trial::FailureKind::Crashed,
        phase: "profiling".to_owned(),
        message: "the agent was ended by signal 6".to_owned(),
        stderr_tail: String::new(),
    });
    let text = section::markdown(&profiles, &run.scenarios[0]);
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
