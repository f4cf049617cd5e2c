//! `--dry-run`: the plan, and nothing else.

use std::fs;

use crate::bench::Bench;

/// Nothing is started or written, whatever the command.
#[test]
fn a_plan_is_printed_and_nothing_is_written() {
    for (arguments, words) in [
        (&["compare", "baseline", "same", "reference/steady"][..], "until decided"),
        (&["compare", "baseline", "same", "reference/steady", "--quick"][..], "under load"),
        (&["run", "reference/steady", "--variant", "baseline"][..], "1 scenario"),
        (&["sweep", "reference/steady", "--param", "slowdown_percent=0,5"][..], "reference/steady"),
        (&["calibrate", "reference/steady"][..], "reference/steady"),
        (&["gate", "baseline", "same", "reference/steady", "--floor", "1m"][..], "until decided"),
        (&["crash", "docdb/crud", "--variant", "optimized"][..], "cuts of each of optimized"),
        (&["saturate", "reference/stall", "--variant", "calm"][..], "reference/stall"),
    ] {
        let bench = Bench::new();
        let said = bench.uplift(&[arguments, &["--dry-run"]].concat());
        said.code(0);
        assert!(
            said.out().contains(words) && said.out().contains("Nothing was started"),
            "{arguments:?}: {}",
            said.out()
        );
        let left: Vec<_> = fs::read_dir(bench.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{arguments:?}: {left:?}");
    }
}

/// What is wrong is said as it would be without.
#[test]
fn a_plan_of_what_cannot_be_is_an_error() {
    let bench = Bench::new();
    bench.uplift(&["compare", "baseline", "sane", "reference/steady", "--dry-run"]).code(2).says("no variant `sane`");
}
