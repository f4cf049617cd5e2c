//! The words of hyperfine and poop.

use crate::bench::{Bench, Said};

fn uplift(bench: &Bench, arguments: &[&str]) -> Said {
    Said(bench.command(arguments).env_remove("UPLIFT_SCENARIOS").output().unwrap())
}

/// As `poop -d 200 -f --color ansi 'true' 'false'`.
#[test]
fn the_words_of_poop_are_understood() {
    let bench = Bench::new();
    let said = uplift(
        &bench,
        &["compare", "-d", "400", "-f", "--color", "ansi", "--cmd", "true", "--cmd", "false", "--format", "json"],
    );
    said.code(0);
    let taken = bench.trials();
    assert!(taken.iter().all(|trial| trial["outcome"] == "ok" || trial["outcome"]["kind"].is_null()), "{taken:?}");
    uplift(&bench, &["compare", "-d", "200", "--quick", "--cmd", "true", "--cmd", "true"]).code(2).says("--duration");
}

#[test]
fn words_that_are_others_here_are_answered() {
    let bench = Bench::new();
    let two = ["--cmd", "true", "--cmd", "true", "--runs", "1"];
    uplift(&bench, &[&["compare", "--shell=none"][..], &two].concat()).code(0);
    uplift(&bench, &["compare", "--shell=default", "--cmd", "true; true", "--cmd", "true", "--runs", "1"]).code(0);
    uplift(&bench, &[&["compare", "--output", "inherit"][..], &two].concat()).code(2).says("between the results");
    uplift(&bench, &["compare", "sleep 1", "sleep 2"]).code(2).says("--cmd");
    for (option, answer) in [
        ("--export-json", "`--format json`"),
        ("--show-output", "`--output FILE`"),
        ("-u", "nanoseconds"),
        ("-L", "uplift sweep"),
        ("--style", "`--quiet`"),
    ] {
        uplift(&bench, &["compare", "--cmd", "true", "--cmd", "true", option, "x"]).code(2).says(answer);
    }
}
