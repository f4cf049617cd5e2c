//! What is allocated, of programs and of targets whose truth is known.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::bench::{Bench, Said};

/// Three functions that allocate 70, 20 and 10 of a hundred bytes, `argv[1]` times.
const SPLIT: &str = r#"
#include <stdlib.h>
static char *volatile kept;
#define PART(name, times) \
    __attribute__((noinline, noclone)) void name(int size) { \
        for (volatile int n = 0; n < times; n++) { kept = malloc(size); free(kept); } \
    }
PART(allocate_seventy, 7)
PART(allocate_twenty, 2)
PART(allocate_ten, 1)
int main(int argc, char **argv) {
    for (int n = atoi(argv[1]); n > 0; n--) { allocate_seventy(100); allocate_twenty(100); allocate_ten(100); }
    return argc - 2;
}
"#;

fn built(bench: &Bench, name: &str, arguments: &[&str]) -> PathBuf {
    let (file, program) = (bench.folder.path().join("split.c"), bench.folder.path().join(name));
    fs::write(&file, SPLIT).unwrap();
    let status = Command::new("cc").arg("-O2").args(arguments).arg("-o").args([&program, &file]).status().unwrap();
    assert!(status.success());
    program
}

fn uplift(bench: &Bench, arguments: &[&str]) -> Said {
    Said(bench.command(arguments).env_remove("UPLIFT_SCENARIOS").output().unwrap())
}

fn line(program: &Path, rounds: u32) -> String {
    format!("{} {rounds}", program.display())
}

#[track_caller]
fn has_shares(variant: &Value, names: [&str; 3]) {
    for (name, truth) in names.into_iter().zip([0.7, 0.2, 0.1]) {
        let functions = variant["functions"].as_array().unwrap();
        let share: f64 = functions
            .iter()
            .filter(|row| row["function"].as_str().unwrap().contains(name))
            .map(|row| row["share"].as_f64().unwrap())
            .sum();
        assert!((share - truth).abs() < 0.03, "{name}: {share}\n{variant}");
    }
}

#[test]
fn counts_of_programs_are_exact() {
    let bench = Bench::new();
    let (program, unseen) = (built(&bench, "split", &[]), built(&bench, "static", &["-static"]));
    let commands = [line(&program, 100), line(&program, 150), line(&unseen, 1)];
    let mut arguments = vec!["run", "--name", "few", "--name", "many", "--name", "static", "--runs", "2"];
    arguments.extend(["--count", "allocations"]);
    commands.iter().for_each(|command| arguments.extend(["--cmd", command]));
    uplift(&bench, &arguments).code(0);
    for trial in bench.trials() {
        let measured = &trial["measured"];
        let of = |name: &str| measured["gauges"][name].as_f64();
        let wanted = match trial["variant"].as_str().unwrap() {
            "few" => (Some(1_000.0), Some(100_000.0)),
            "many" => (Some(1_500.0), Some(150_000.0)),
            _ => (None, None),
        };
        assert_eq!((of("allocations"), of("allocated_bytes")), wanted, "{trial}");
        if wanted.0.is_none() {
            assert!(measured.to_string().contains("the program is static"), "{measured}");
        }
    }
}

#[test]
fn a_profile_of_a_program_shows_who_asks_for_bytes() {
    let bench = Bench::new();
    let program = built(&bench, "split", &["-fomit-frame-pointer"]);
    let commands = [line(&program, 20_000), line(&program, 40_000)];
    let said = uplift(
        &bench,
        &[
            "profile",
            "--allocations",
            "--cmd",
            &commands[0],
            "--cmd",
            &commands[1],
            "--name",
            "one",
            "--name",
            "two",
            "--sampling-window",
            "500ms",
            "--format",
            "json",
        ],
    );
    said.code(0);
    let said = said.json();
    let variants = said[0]["allocations"].as_array().unwrap();
    for (variant, calls) in variants.iter().zip([200_000.0, 400_000.0]) {
        assert_eq!(variant["calls_per_operation"], calls, "{variant}");
        assert_eq!(variant["bytes_per_operation"], calls * 100.0, "{variant}");
        assert_eq!(variant["not_sampled"], Value::Null);
        has_shares(variant, ["allocate_seventy", "allocate_twenty", "allocate_ten"]);
    }
    let folder = bench.run_folder().join("profiles");
    let folded = fs::read_to_string(folder.join("command-ad-hoc-one.allocated.folded")).unwrap();
    assert!(folded.lines().all(|line| line.starts_with("split;main;allocate_")), "{folded}");
    for end in ["one.allocated.svg", "one-to-two-allocated.after.svg", "one-to-two-allocated.before.svg"] {
        let path = folder.join(format!("command-ad-hoc-{end}"));
        assert!(fs::read_to_string(&path).is_ok_and(|svg| svg.contains("allocate_seventy")), "{}", path.display());
    }
    let markdown = fs::read_to_string(bench.run_folder().join("report.md")).unwrap();
    assert!(markdown.contains("What moved in allocations"), "{markdown}");
}

#[test]
fn a_static_program_is_said_to_be_unseen() {
    let bench = Bench::new();
    let program = built(&bench, "static", &["-static"]);
    let said =
        uplift(&bench, &["profile", "--allocations", "--cmd", &line(&program, 10), "--sampling-window", "100ms"]);
    said.code(0);
    let out = said.out();
    assert!(out.contains("the program is static") && out.contains("Nothing was seen"), "{out}");
    assert!(!out.contains("0 allocations"), "never 0: {out}");
}

#[test]
fn a_target_tells_what_each_operation_allocates() {
    let bench = Bench::new();
    let profile = |blocks: &str| -> Value {
        let set = format!("allocations_per_op={blocks}");
        let said = bench.uplift(&[
            "profile",
            "reference/steady",
            "--variant",
            "baseline",
            "--allocations",
            "--set",
            &set,
            "--sampling-window",
            "500ms",
            "--format",
            "json",
        ]);
        said.code(0);
        said.json()[0]["allocations"][0].clone()
    };
    for (blocks, calls) in [("0", 0.0), ("100", 100.0), ("200", 200.0)] {
        let variant = profile(blocks);
        let of = |name: &str| variant[name].as_f64().unwrap();
        // What the agent itself takes for the one turn is a few, however many operations it has.
        let operations = of("operations");
        assert!((0.0..20.0).contains(&(of("calls") - calls * operations)), "{variant}");
        assert!((0.0..4_096.0).contains(&(of("bytes") - calls * 64.0 * operations)), "{variant}");
        if calls > 0.0 {
            assert_eq!(variant["warnings"], Value::Array(Vec::new()));
            has_shares(&variant, ["reference_allocate_seventy", "reference_allocate_twenty", "reference_allocate_ten"]);
        }
    }
}
