//! What broke when strangers tried: files that cannot be read, agents that lie, several runs at once, names and texts that
//! were not expected.

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Stdio,
};

use crate::bench::{Bench, Said};

const QUICK: [&str; 6] = ["--set", "trial.rounds=2", "--set", "trial.warmup=10ms", "--blocks", "2"];

fn with<'a>(first: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    first.iter().chain(&QUICK).chain(more).copied().collect()
}

/// A script that stands for a build of uplift.
fn agent(bench: &Bench, body: &str) -> PathBuf {
    let path = bench.folder.path().join("agent.sh");
    let uplift = env!("CARGO_BIN_EXE_uplift");
    fs::write(&path, format!("#!/bin/sh\nuplift='{uplift}'\nhere='{}'\n{body}\n", bench.folder.path().display()))
        .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn with_agent(bench: &Bench, body: &str, first: &[&str], more: &[&str]) -> Said {
    let script = agent(bench, body);
    let mut arguments = first.to_vec();
    arguments.extend(["--candidate-bin", script.to_str().unwrap()]);
    arguments.extend(more);
    bench.uplift(&arguments)
}

/// A scenario folder with one scenario of the reference target.
fn scenarios(bench: &Bench, name: &str, text: &str) -> PathBuf {
    let folder = bench.folder.path().join("scenarios");
    fs::create_dir_all(folder.join("reference")).unwrap();
    fs::write(folder.join("reference").join(format!("{name}.toml")), text).unwrap();
    folder
}

const SCENARIO: &str = "schema = 1\ntarget = \"reference\"\ntitle = \"t\"\n[workload]\nwork = 100\n\
                        [variants.a]\nslowdown_percent = 0\n[variants.b]\nslowdown_percent = 5\n";

#[test]
fn rules_that_cannot_be_read_are_not_no_rules() {
    let bench = Bench::new();
    let folder = scenarios(&bench, "x", SCENARIO);
    let listed = || bench.uplift(&["list", "--scenario-dir", folder.to_str().unwrap()]);
    listed().code(0);
    let rules = folder.join("gate.toml");
    fs::write(&rules, b"# f\xfcr\n").unwrap();
    listed().code(2).says("could not read");
    fs::remove_file(&rules).unwrap();
    fs::create_dir(&rules).unwrap();
    listed().code(2).says("could not read");
    fs::remove_dir(&rules).unwrap();
    symlink("nowhere", &rules).unwrap();
    listed().code(2).says("a link to something that is not there");
}

#[test]
fn a_calibration_that_cannot_be_read_is_not_written_over() {
    let bench = Bench::new();
    let file = bench.folder.path().join("results/calibration.json");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, b"{ \"f\xfcr\": 1 }").unwrap();
    bench.uplift(&with(&["compare", "baseline", "same", "reference/steady"], &[])).code(5).says("could not read");
    bench.uplift(&with(&["calibrate", "reference/steady"], &[])).code(5).says("could not read");
    assert_eq!(fs::read(&file).unwrap(), b"{ \"f\xfcr\": 1 }");
}

/// Every second agent of the candidate ends at once: what is left are the blocks that it survived.
#[test]
fn blocks_that_one_side_lost_are_a_failure() {
    let body = "n=$(cat \"$here/n\" 2>/dev/null || echo 0)\necho $((n + 1)) > \"$here/n\"\n\
                [ $((n % 2)) = 1 ] && exit 3\nexec \"$uplift\" agent";
    for command in ["compare", "gate"] {
        let bench = Bench::new();
        let mut more = vec!["--set", "trial.rounds=2", "--set", "trial.warmup=10ms", "--blocks", "10"];
        more.extend((command == "gate").then_some("--strict"));
        let said = with_agent(&bench, body, &[command, "baseline", "same", "reference/steady"], &more);
        said.code(5);
        let out = said.out();
        assert!(out.contains("`same` failed in 5 of 10 blocks") && out.contains("no sample of all"), "{out}");
        assert!(!out.contains("improved") && !out.contains("unchanged"), "{out}");
    }
}

#[test]
fn runs_at_the_same_time_share_a_data_directory() {
    let bench = Bench::new();
    let data = bench.folder.path().join("data");
    let arguments =
        with(&["run", "reference/synced", "--variant", "one-sync"], &["--data-dir", data.to_str().unwrap()]);
    let runs: Vec<_> = (0..3)
        .map(|run| {
            // Each with results of its own, so that all three have one name.
            let out = format!("results-{run}/runs");
            let mut command = bench.command(&arguments);
            command.args(["--out", &out]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for run in runs {
        Said(run.wait_with_output().unwrap()).code(0);
    }
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0, "each removes its own folder");
}

#[test]
fn a_binary_that_is_replaced_ends_the_run() {
    let body = "echo x >> \"$here/starts\"\n\
                if [ $(wc -l < \"$here/starts\") = 2 ]; then cp \"$0\" \"$0.new\"; echo '# rebuilt' >> \"$0.new\"; mv \"$0.new\" \"$0\"; fi\n\
                exec \"$uplift\" agent";
    for interleave in ["turns", "trials"] {
        let bench = Bench::new();
        let mode = format!("trial.interleave={interleave}");
        let arguments = ["compare", "baseline", "same", "reference/steady", "--blocks", "6", "--set", &mode];
        with_agent(&bench, body, &arguments, &QUICK[..4]).code(5).says("was replaced while the run went on");
        assert_eq!(bench.trials().len(), 2, "the block before is kept");
    }
}

#[test]
fn settings_are_compared_as_values() {
    let bench = Bench::new();
    let said =
        bench.uplift(&with(&["compare", "baseline", "slower-5", "reference/steady"], &["--set", "stall_after=60s"]));
    assert!(!said.code(0).out().contains("asked for"), "{}", said.out());
    let said =
        bench.uplift(&with(&["compare", "baseline", "slower-5", "reference/steady"], &["--set", "stall_after=1m"]));
    assert!(!said.code(0).out().contains("asked for"), "{}", said.out());
}

/// A closed scenario is opened by two overrides that are wrong by themselves.
#[test]
fn overrides_are_validated_together_and_a_trial_without_an_operation_failed() {
    let bench = Bench::new();
    let open = |rate: &str| {
        let rate = format!("load.rate={rate}");
        bench.uplift(&with(
            &["run", "reference/steady", "--variant", "baseline"],
            &["--set", "load.mode=open", "--set", &rate],
        ))
    };
    open("2000").code(0);
    open("1e-300").code(2).says("between 0.001 and 1000000000");
    let said = bench.uplift(&["run", "reference/steady", "--variant", "baseline", "--set", "load.mode=open"]);
    said.code(2).says("needs a `rate`");
    let bench = Bench::new();
    let arguments =
        ["run", "reference/steady", "--variant", "baseline", "--set", "load.mode=open", "--set", "load.rate=0.001"];
    bench.uplift(&with(&arguments, &[])).code(5).says("no operation was begun in the one turn");
}

/// An agent whose numbers cannot be, when they arrive and when they were stored by an older harness.
#[test]
fn numbers_that_cannot_be_are_a_failure() {
    for (edit, words) in [
        (r#"s/"ok":[0-9]*,"nothing"/"ok":18446744073709551615,"nothing"/"#, "numbers that cannot be"),
        (r#"s/"attempts":[0-9]*/"attempts":3/g"#, "of 3 attempts"),
        (r#"s/"wall_ns":[0-9]*/"wall_ns":18446744073709551615/"#, "wall_ns is 18446744073709551615"),
    ] {
        let bench = Bench::new();
        let body = format!("\"$uplift\" agent | sed -u '{edit}'");
        let said = with_agent(&bench, &body, &["compare", "baseline", "same", "reference/steady"], &QUICK);
        said.code(5).says(words);
        bench.uplift(&["show", "latest"]).code(0);
    }
    let bench = Bench::new();
    bench.uplift(&with(&["run", "reference/steady", "--variant", "baseline"], &[])).code(0);
    let file = bench.run_folder().join("trials.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    let mut trial: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    for turn in trial["measured"]["turns"].as_array_mut().unwrap() {
        (turn["attempts"], turn["ok"]) = (u64::MAX.into(), u64::MAX.into());
    }
    fs::write(&file, format!("{trial}\n")).unwrap();
    for command in ["show", "report"] {
        bench.uplift(&[command, "latest"]).code(0);
    }
    assert!(bench.uplift(&["show", "latest"]).out().contains("numbers that cannot be"));
}

#[test]
fn profiles_of_nothing_are_refused() {
    let bench = Bench::new();
    let profile = ["profile", "reference/steady", "--variant", "baseline"];
    bench.uplift(&[&profile[..], &["--against", "baseline"]].concat()).code(2).says("nothing can move");
    bench.uplift(&[&profile[..], &["--sampling-window", "0s"]].concat()).code(2).says("samples nothing");
    assert!(!bench.folder.path().join("results").exists());
}

#[test]
fn text_of_others_steers_no_terminal_and_no_log() {
    let bench = Bench::new();
    let text = SCENARIO.replace(
        "\"t\"",
        r#""""\u001B[2J\u009B31m\u202Ex
::error::title""""#,
    );
    let folder = scenarios(&bench, "x", &text);
    let listed = bench.uplift(&["list", "--scenario-dir", folder.to_str().unwrap()]);
    let said = with_agent(
        &bench,
        r"printf '\033[2J::error::agent\n'",
        &["compare", "baseline", "same", "reference/steady"],
        &QUICK,
    );
    said.code(5).says("u001b[2J");
    for said in [listed.code(0), &said] {
        let both = [said.0.stdout.as_slice(), said.0.stderr.as_slice()].concat();
        let both = String::from_utf8(both).unwrap();
        assert!(!both.contains(['\u{1b}', '\u{9b}', '\u{202e}', '\r']), "{both:?}");
        assert!(!both.lines().any(|line| line.trim_start().starts_with("::")), "{both}");
    }
}

#[test]
fn passwords_are_neither_recorded_nor_printed() {
    let bench = Bench::new();
    let body = "tee \"$here/asked\" | \"$uplift\" agent";
    let first = ["compare", "baseline", "slower-5", "reference/steady", "--set", "label=postgres://me:geheim@host/db"];
    let said = with_agent(&bench, body, &first, &QUICK);
    said.code(0);
    assert!(fs::read_to_string(bench.folder.path().join("asked")).unwrap().contains("geheim"), "the agent needs it");
    let mut texts = vec![said.out(), said.err(), bench.uplift(&["show", "latest", "--format", "markdown"]).out()];
    let folder = bench.run_folder();
    for file in ["run.json", "trials.jsonl", "verdicts.json", "report.md", "report.html"] {
        texts.push(fs::read_to_string(folder.join(file)).unwrap());
    }
    assert!(texts.iter().all(|text| !text.contains("geheim")));
    assert!(texts[3].contains("postgres://me:***@host/db"));
    let report = fs::read(folder.join("report.md")).unwrap();
    bench.uplift(&["report", "latest"]).code(0);
    assert_eq!(fs::read(folder.join("report.md")).unwrap(), report, "byte for byte");
}

#[test]
fn a_whole_name_is_that_run() {
    let bench = Bench::new();
    bench.uplift(&with(&["run", "reference/steady", "--variant", "baseline"], &[])).code(0);
    let folder = bench.run_folder();
    let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
    let second = folder.with_file_name(format!("{name}-2"));
    fs::create_dir(&second).unwrap();
    for file in ["run.json", "trials.jsonl"] {
        fs::copy(folder.join(file), second.join(file)).unwrap();
    }
    bench.uplift(&["show", &name]).code(0);
    bench.uplift(&["show", &format!("{name}-2")]).code(0);
    bench.uplift(&["show", &name[..name.len() - 1]]).code(2).says("2 runs begin with");
    let out = bench.folder.path().join("file");
    fs::write(&out, "").unwrap();
    bench.uplift(&["show", "latest", "--out", out.to_str().unwrap()]).code(5).says("could not read");
}

#[test]
fn a_search_offers_no_budget() {
    let bench = Bench::new();
    assert!(!bench.uplift(&["saturate", "--help"]).code(0).out().contains("--budget"));
}

#[test]
fn settings_that_are_changed_together_are_said() {
    let bench = Bench::new();
    let text = SCENARIO.replace("slowdown_percent = 5", "slowdown_percent = 50\nerror_rate = 0.01");
    let folder =
        scenarios(&bench, "x", &text.replace("slowdown_percent = 0", "slowdown_percent = 0\nerror_rate = 0.0"));
    let said = bench.uplift(&with(&["compare", "a", "b", "--scenario-dir", folder.to_str().unwrap()], &[]));
    let out = said.code(0).out();
    let words = "2 settings are changed together, and the effect is that of all of them: `error_rate` 0.0 → 0.01, `slowdown_percent` 0.0 → 50.0";
    assert!(out.lines().nth(1).unwrap().contains(words), "{out}");
}

/// What cargo builds for a profile that the base revision does not define yet; and no worktree is left where it fails.
#[test]
fn a_base_revision_is_built_with_a_profile_of_ones_own() {
    let bench = Bench::new();
    let folder = bench.folder.path();
    let package = folder.join("repository/package");
    fs::create_dir_all(&package).unwrap();
    let git = |arguments: &[&str]| {
        let mut git = std::process::Command::new("git");
        git.arg("-C").arg(folder.join("repository")).args(["-c", "user.name=t", "-c", "user.email=t@t"]);
        let output = git.args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    git(&["init", "--quiet", "--initial-branch", "main"]);
    fs::write(package.join("Cargo.toml"), "# a stand-in\n").unwrap();
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "first"]);
    fs::write(package.join("Cargo.toml"), "[profile.own]\ninherits = \"release\"\n").unwrap();

    let built = folder.join("target/own");
    fs::create_dir_all(built.join("build")).unwrap();
    let binary = built.join("uplift");
    fs::hard_link(env!("CARGO_BIN_EXE_uplift"), &binary).unwrap();
    let script = folder.join("cargo.sh");
    let asked = folder.join("asked");
    fs::write(&script, format!("#!/bin/sh\necho \"$PWD: $*\" > '{}'\nexit 101\n", asked.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let gate = |binary: &Path| {
        let mut command = std::process::Command::new(binary);
        command.args(["gate", "--base-ref", "main", "reference/steady"]).current_dir(&package);
        Said(command.env("CARGO", &script).env("NO_COLOR", "1").output().unwrap())
    };
    gate(&binary).code(5).says("name it with --baseline-bin");
    let asked = fs::read_to_string(&asked).unwrap();
    assert!(asked.contains("/package: build --profile own --bin uplift --config"), "{asked}");
    let config = fs::read_to_string(folder.join("target/base-ref/profile.toml")).unwrap();
    assert!(config.contains("[profile.own]") && config.contains("inherits = \"release\""), "{config}");
    assert_eq!(git(&["worktree", "list", "--porcelain"]).matches("worktree ").count(), 1, "no worktree is left");

    // Nobody knows how a binary was built that lies elsewhere: then both sides are built alike.
    let copied = folder.join("elsewhere");
    fs::create_dir(&copied).unwrap();
    fs::hard_link(&binary, copied.join("uplift")).unwrap();
    gate(&copied.join("uplift")).code(5).says("name it with --baseline-bin");
    let asked = fs::read_to_string(folder.join("asked")).unwrap();
    assert!(asked.contains("/package: build --profile release --bin uplift"), "{asked}");
    assert!(asked.contains("/.git/uplift/base-ref/"), "nothing is written into the repository: {asked}");
    assert_eq!(git(&["worktree", "list", "--porcelain"]).matches("worktree ").count(), 1, "no worktree is left");
}
