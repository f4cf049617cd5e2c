//! Programs of the command line in the commands beside `compare`: profiles, the gate, sweeps, and what other tools wrote.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::bench::{Bench, Said};

/// As a user who has no scenarios.
fn uplift(bench: &Bench, arguments: &[&str]) -> Said {
    let mut command = bench.command(arguments);
    command.env_remove("UPLIFT_SCENARIOS");
    Said(command.output().unwrap())
}

fn folded(bench: &Bench, name: &str) -> String {
    let path = bench.run_folder().join("profiles").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn samples(folded: &str, words: &[&str]) -> f64 {
    let lines = folded.lines().filter(|line| words.iter().all(|word| line.contains(word)));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

/// The program whose three functions take 70, 20 and 10 %, without frame pointers.
fn compiled(bench: &Bench, name: &str, defines: &str) -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../profiler/tests/programs/work.c");
    let binary = bench.folder.path().join(name);
    let status =
        Command::new("cc").args(["-O2", "-fomit-frame-pointer", defines, "-o"]).arg(&binary).arg(source).status();
    assert!(status.unwrap().success());
    format!("./{name}")
}

/// Not the agent, which does nothing, but the program is what a profile shows.
#[test]
fn a_profile_of_a_program_shows_the_program() {
    let bench = Bench::new();
    let program = compiled(&bench, "work", "-DNDEBUG") + " 400";
    let arguments = [
        "profile",
        "--cmd",
        &program,
        "-n",
        "work",
        "--sampling-window",
        "2s",
        "--sampling-frequency",
        "1999",
        "--format",
        "json",
    ];
    let said = uplift(&bench, &arguments);
    if said.0.status.code() == Some(5) && said.err().contains("the programs cannot be sampled") {
        eprintln!("skipped: {}", said.err());
        return;
    }
    said.code(0);
    let variant = &said.json()[0]["variants"][0];
    assert_eq!(
        (&variant["sampler"], &variant["not_sampled"]),
        (&"perf cpu-clock of the programs".into(), &Value::Null)
    );
    let cpu = folded(&bench, "command-ad-hoc-work.cpu.folded");
    let whole = samples(&cpu, &["work;main;work_"]);
    assert!(whole > 100.0, "{cpu}");
    for (name, truth) in [("work_seventy", 0.7), ("work_twenty", 0.2), ("work_ten", 0.1)] {
        let share = samples(&cpu, &["work;main;", name]) / whole;
        let slack = f64::max(0.03, 4.0 * (truth * (1.0 - truth) / whole).sqrt());
        assert!((share - truth).abs() < slack, "{name}: {share} of {whole}, {truth} ± {slack} expected");
    }
    let waits = folded(&bench, "command-ad-hoc-work.off-cpu.folded");
    assert!(samples(&waits, &["work;main;", "nanosleep"]) > 90_000.0, "{waits}");
}

#[test]
fn what_moved_between_two_programs_is_shown() {
    let bench = Bench::new();
    let (old, new) = (compiled(&bench, "old", "-DNDEBUG"), compiled(&bench, "new", "-Dwork_ten=work_other"));
    let (old, new) = (format!("{old} 300"), format!("{new} 300"));
    let said = uplift(
        &bench,
        &[
            "compare",
            "--cmd",
            &old,
            "--cmd",
            &new,
            "-n",
            "old",
            "-n",
            "new",
            "--runs",
            "2",
            "--profile",
            "cpu",
            "--sampling-window",
            "1s",
        ],
    );
    said.code(0);
    if !bench.run_folder().join("profiles").exists() {
        eprintln!("skipped: {}", said.err());
        return;
    }
    let (before, after) =
        (folded(&bench, "command-ad-hoc-old.cpu.folded"), folded(&bench, "command-ad-hoc-new.cpu.folded"));
    assert!(samples(&before, &["work_ten"]) > 0.0 && samples(&after, &["work_ten"]) == 0.0, "{after}");
    assert!(samples(&after, &["work_other"]) > 0.0, "{after}");
    let report = fs::read_to_string(bench.run_folder().join("report.md")).unwrap();
    assert!(report.contains("work_other"), "{report}");
}

/// Without perf events there is nothing that shows a program: that is said, and no empty graph is drawn.
#[test]
fn where_programs_cannot_be_sampled_the_reason_is_said() {
    let bench = Bench::new();
    let mut command = bench.command(&["profile", "--cmd", "true", "--sampling-window", "100ms"]);
    command.env_remove("UPLIFT_SCENARIOS").env("UPLIFT_SAMPLER", "pprof");
    let said = Said(command.output().unwrap());
    said.code(5);
    let all = said.out() + &said.err();
    assert!(all.contains("the programs cannot be sampled, and this agent does no work of its own"), "{all}");
    for (arguments, said) in [
        (vec!["profile", "--cmd", "true", "--cmd", "a", "--cmd", "b"], "--cmd names 3"),
        (vec!["profile", "docdb/crud", "--cmd", "true"], "`docdb/crud` is a scenario"),
        (vec!["profile", "--cmd", "true", "--variant", "x"], "cannot be used with"),
        (vec!["compare", "a", "b", "--base-ref", "main"], "no --cmd names one"),
    ] {
        uplift(&bench, &arguments).code(2).says(said);
    }
}

#[test]
fn the_gate_takes_two_programs() {
    let gate = |arguments: &[&str]| {
        let bench = Bench::new();
        let mut all =
            vec!["gate", "--cmd", "sleep 0.01", "--cmd", "sleep 0.3", "-n", "old", "-n", "new", "--runs", "6"];
        all.extend(arguments);
        uplift(&bench, &all)
    };
    let said = gate(&[]);
    said.code(1);
    let broken = said.out().lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().take(5).collect();
        words == ["broken", "command/ad-hoc", "run_time", "<=", "+5%"]
    });
    assert!(broken, "{}", said.out());
    gate(&["--rule", "run_time <= +90000%"]).code(0);
    gate(&["--rule", "run_time"]).code(2).says("such as `run_time<=+5%`");
    gate(&["--rule", "run_tme <= +5%"]).code(2);
    gate(&["--base-ref", "HEAD", "--baseline-bin", "x"]).code(2).says("give one of them");
}

#[test]
fn the_words_of_hyperfine_are_known() {
    let bench = Bench::new();
    let said = uplift(&bench, &["sweep", "--cmd", "sleep 0.0{n}", "-P", "n", "1", "5", "-D", "4", "--runs", "6"]);
    said.code(0);
    assert!(said.out().contains("best run_time: n=1 with"), "{}", said.out());
    let bench = Bench::new();
    uplift(&bench, &["sweep", "--cmd", "sleep 0.0{n}", "-L", "n", "1,3", "--runs", "6"]).code(0);
    let bench = Bench::new();
    for (arguments, said) in [
        (vec!["-P", "n", "a", "5"], "are not both numbers"),
        (vec!["-P", "n", "5", "1"], "give the smaller number first"),
        (vec!["-P", "n", "1", "1000000"], "more than 100 points"),
    ] {
        uplift(&bench, &[&["sweep", "--cmd", "sleep 0.0{n}"], arguments.as_slice()].concat()).code(2).says(said);
    }
    let runs = |arguments: &[&str]| {
        let bench = Bench::new();
        uplift(&bench, &[&["run", "--cmd", "true"], arguments].concat()).code(0);
        let of = |trial: &Value| trial["measured"]["counters"]["runs"].as_f64().unwrap();
        bench.trials().iter().map(of).sum::<f64>()
    };
    assert!(runs(&["-M", "7"]) <= 7.0);
    assert!(runs(&["-m", "30", "-M", "40"]) >= 30.0);
    uplift(&bench, &["run", "--cmd", "true", "-m", "5", "-M", "4"]).code(2).says("--min-runs 5 is more");
    uplift(&bench, &["run", "--cmd", "true", "--runs", "5", "--quick"]).code(2).says("give one of them");
}

#[test]
fn what_other_tools_measured_is_a_run() {
    let bench = Bench::new();
    let file = bench.folder.path().join("sorts.json");
    if Command::new("hyperfine")
        .args(["-N", "--runs", "3", "--style", "none", "--export-json"])
        .arg(&file)
        .args(["sleep 0.01", "sleep 0.02"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_err()
    {
        eprintln!("hyperfine is not installed (apt-get install hyperfine): a file as it writes them is taken");
        let text = r#"{"results":[{"command":"sleep 0.01","times":[0.011,0.012,0.011]},{"command":"sleep 0.02","times":[0.021,0.022,0.021]}]}"#;
        fs::write(&file, text).unwrap();
    }
    let said = uplift(&bench, &["import", "sorts.json"]);
    said.code(0).says("nothing was interleaved");
    assert!(said.out().contains("command/sorts") && said.out().contains("0.02"), "{}", said.out());
    let report = fs::read_to_string(bench.run_folder().join("report.md")).unwrap();
    assert!(report.contains("nothing was interleaved") && report.contains("run_time"), "{report}");
    uplift(&bench, &["report", "latest"]).code(0);
    assert_eq!(fs::read_to_string(bench.run_folder().join("report.md")).unwrap(), report);
    assert_eq!(bench.trials().len(), 6);
    uplift(&bench, &["import", "report.md"]).code(2);
    fs::write(bench.folder.path().join("words"), "nothing of the kind\n").unwrap();
    uplift(&bench, &["import", "words"]).code(2).says("its format is not known");
}

/// Two files of Go's benchmarks, before and after: the counters in them may be compared.
#[test]
fn benchmarks_of_go_are_runs_that_can_be_put_side_by_side() {
    let bench = Bench::new();
    for (name, bytes) in [("old.txt", 16), ("new.txt", 64)] {
        let line = |ns: u32| format!("BenchmarkFold-2  500  {ns}.5 ns/op  {bytes} B/op  2 allocs/op\n");
        let text: String = (0..8).map(|n| line(2_400 + n)).collect();
        fs::write(bench.folder.path().join(name), text).unwrap();
        uplift(&bench, &["import", name, "--out", &format!("runs-{name}")]).code(0);
    }
    let run = |name: &str| {
        let folder = fs::read_dir(bench.folder.path().join(format!("runs-{name}"))).unwrap().flatten().next().unwrap();
        folder.path().display().to_string()
    };
    let said = uplift(&bench, &["diff", &run("old.txt"), &run("new.txt")]);
    said.code(0);
    assert!(said.out().contains("allocated_bytes"), "{}", said.out());
}

/// A program that goes elsewhere, or takes its own folder away, does what programs do.
#[test]
fn a_program_may_change_or_remove_its_folder() {
    let bench = Bench::new();
    let program = "sh -c 'cd / && cd {data} && touch file && cd / && rm -r {data}'";
    uplift(&bench, &["compare", "--cmd", program, "--cmd", "sh -c 'mv {data} {data}-away'", "--runs", "3"]).code(0);
    assert!(!bench.run_folder().join("data").exists(), "nothing is left");
}

/// Standard input that never ends, and a program that reads it for ever: the time for one run ends it.
#[test]
fn a_program_that_reads_for_ever_is_ended_and_told() {
    let bench = Bench::new();
    let arguments =
        ["compare", "--cmd", "cat", "--cmd", "true", "--input", "/dev/zero", "--timeout", "200ms", "--runs", "2"];
    let said = uplift(&bench, &arguments);
    said.code(5);
    assert!(said.out().contains("run 0 of `cat`: it was not done after 200ms and was ended"), "{}", said.out());
}
