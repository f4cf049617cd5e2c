//! The steps of `action.yml`, with the variables that a runner sets, in a small C project of somebody else's.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use crate::bench::{Bench, Said, repository};

fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut git = Command::new("git");
    git.arg("-C").arg(folder).args(["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]);
    let output = git.args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

const SOURCE: &str = "#include \"../library/wait.h\"\nint main(void) { return wait_for(MICROSECONDS); }\n";
const LIBRARY: &str = "#include <unistd.h>\nstatic int wait_for(unsigned time) { return usleep(time); }\n";

/// A project that reaches out of its repository, as one beside a library does.
fn project(bench: &Bench, times: &[u32]) -> std::path::PathBuf {
    let folder = bench.folder.path().join("project");
    fs::create_dir_all(bench.folder.path().join("library")).unwrap();
    fs::write(bench.folder.path().join("library/wait.h"), LIBRARY).unwrap();
    fs::create_dir_all(&folder).unwrap();
    git(&folder, &["init", "--quiet", "--initial-branch", "main"]);
    fs::write(folder.join(".gitignore"), "/app\n/results\n").unwrap();
    for time in times {
        fs::write(folder.join("app.c"), SOURCE.replace("MICROSECONDS", &time.to_string())).unwrap();
        git(&folder, &["add", "."]);
        git(&folder, &["commit", "--quiet", "--message", &format!("{time} us")]);
    }
    folder
}

/// What the step said, and its outputs.
fn step(bench: &Bench, folder: &Path, inputs: &[(&str, &str)]) -> (Said, BTreeMap<String, String>) {
    let outputs = bench.folder.path().join("outputs");
    let _ = fs::remove_file(&outputs);
    let path = std::env::var("PATH").unwrap_or_default();
    let binaries = Path::new(env!("CARGO_BIN_EXE_uplift")).parent().unwrap().display().to_string();
    let mut command = Command::new("bash");
    command
        .arg(repository().join("ci/gate.sh"))
        .current_dir(folder)
        .env_clear()
        .envs([("PATH", format!("{binaries}:{path}")), ("HOME", bench.folder.path().display().to_string())])
        .envs([
            ("CI", "true"),
            ("GITHUB_ACTIONS", "true"),
            ("RUNNER_OS", "Linux"),
            ("GITHUB_EVENT_NAME", "pull_request"),
        ])
        .env("GITHUB_WORKSPACE", folder)
        .env("GITHUB_OUTPUT", &outputs)
        .env("GITHUB_STEP_SUMMARY", bench.folder.path().join("summary.md"))
        .envs(inputs.iter().map(|(name, value)| (format!("INPUT_{name}"), *value)));
    let said = Said(command.output().unwrap());
    let text = fs::read_to_string(&outputs).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    (said, pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

const BUILD: (&str, &str) = ("BUILD", "cc -O1 -o app app.c");
const CMD: (&str, &str) = ("CMD", "./app");

#[test]
fn a_regression_of_a_c_project_is_found_by_the_action() {
    let bench = Bench::new();
    let folder = project(&bench, &[1_000, 400_000]);
    let arguments = ("ARGUMENTS", "--runs\n12");
    let rules = ("RULES", "run_time <= +20%\n\nsuccess_rate >= 0.9\n");
    // `--runs` and a budget exclude each other, as they do for people.
    let inputs = [BUILD, CMD, rules, ("BASE_REF", "HEAD~1"), ("BUDGET", "3s"), ("FLOOR", "2s")];
    let (said, outputs) = step(&bench, &folder, &inputs);
    said.code(0);
    assert_eq!((outputs["outcome"].as_str(), outputs["exit-code"].as_str()), ("regression", "1"), "{}", said.err());
    assert_eq!(outputs["broken"], "1");
    let run = Path::new(&outputs["run"]);
    let comment = fs::read_to_string(run.join("comment.md")).unwrap();
    assert!(comment.starts_with("<!-- uplift-gate -->") && comment.contains("A/A floor"), "{comment}");
    assert!(run.join("report.html").is_file() && run.join("junit.xml").is_file());
    assert!(said.err().contains("::error title="), "{}", said.err());
    assert!(
        fs::read_to_string(bench.folder.path().join("summary.md")).unwrap().contains("Performance gate: regression")
    );
    assert_eq!(git(&folder, &["status", "--porcelain"]), "", "the repository is as it was");

    let (said, outputs) = step(&bench, &folder, &[BUILD, CMD, ("BASE_REF", "HEAD"), ("BUDGET", "3s")]);
    said.code(0).says("no scenario has a rule, so these hold: run_time <= +5%, success_rate >= 0.99");
    assert!(["passed"].contains(&outputs["outcome"].as_str()), "{outputs:?} {}", said.err());

    let (_, outputs) =
        step(&bench, &folder, &[BUILD, CMD, ("BASE_REF", "HEAD"), ("RULES", "run_tim <= +5%"), ("BUDGET", "3s")]);
    assert_eq!(outputs["exit-code"], "2", "a mistyped rule must not pass: {outputs:?}");
    let (_, outputs) = step(&bench, &folder, &[("BUILD", "false"), CMD, ("BASE_REF", "HEAD~1"), arguments]);
    assert_ne!(outputs["exit-code"], "0");
    let (said, outputs) = step(&bench, &folder, &[BUILD, CMD]);
    assert_eq!(outputs["outcome"], "failed");
    assert!(String::from_utf8_lossy(&said.0.stdout).contains("say one with base-ref"));
}

/// Every input reaches the script, and every output comes from it.
#[test]
fn the_action_and_its_script_agree() {
    let root = repository();
    let action = fs::read_to_string(root.join("action.yml")).unwrap();
    let script = fs::read_to_string(root.join("ci/gate.sh")).unwrap();
    let passed = action
        .lines()
        .filter_map(|line| line.trim().split_once(": ${{ inputs."))
        .filter(|(name, _)| name.starts_with("INPUT_"));
    let mut count = 0;
    for (name, _) in passed {
        assert!(script.contains(&format!("${{{name}")) || script.contains(&format!("${name}")), "`{name}` is not read");
        count += 1;
    }
    assert_eq!(count, 11);
    for output in ["outcome", "exit-code", "run", "broken", "open"] {
        assert!(script.contains(&format!("output {output} ")), "`{output}` is not written");
        assert!(action.contains(&format!("steps.gate.outputs.{output}")), "`{output}` is not handed on");
    }
    let inputs = action.split("\noutputs:").next().unwrap().lines();
    for input in
        inputs.filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':')).filter(|name| !name.starts_with(' '))
    {
        assert!(action.contains(&format!("inputs.{input}")), "nothing uses the input `{input}`");
    }
}
