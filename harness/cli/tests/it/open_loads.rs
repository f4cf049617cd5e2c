//! Open loads are never measured in turns: each would begin with an empty queue and end before the queue is what it will be.

use std::fs;

use crate::bench::Bench;

/// A scenario that asks for turns, or says nothing, is measured in trials, and every place says so.
#[test]
fn an_open_load_is_measured_in_trials_whatever_it_asks_for() {
    for asks in ["", "interleave = \"turns\"\n"] {
        let bench = Bench::new();
        let folder = bench.folder.path().join("scenarios/reference");
        fs::create_dir_all(&folder).unwrap();
        let text = format!(
            "schema = 1\ntarget = \"reference\"\ntitle = \"t\"\n[workload]\nwork = 100\n\
             [load]\nmode = \"open\"\nrate = 500\narrival = \"constant\"\nclients = 2\n\
             [trial]\n{asks}warmup = \"20ms\"\nturn = \"5ms\"\nrounds = 40\nwindow = \"400ms\"\n\
             [variants.a]\n[variants.b]\nslowdown_percent = 5\n"
        );
        fs::write(folder.join("open.toml"), text).unwrap();
        let compared =
            ["compare", "a", "b", "reference/open", "--scenario-dir", "scenarios", "--blocks", "2", "--seed", "1"];
        let said = bench.uplift(&compared);
        said.code(0).says("an open load is measured in trials of 400ms, not in turns");

        let run = fs::read_to_string(bench.run_folder().join("run.json")).unwrap();
        let run: serde_json::Value = serde_json::from_str(&run).unwrap();
        assert_eq!(run["scenarios"][0]["scenario"]["trial"]["interleave"], "trials");
        let warnings = run["warnings"].to_string();
        assert!(warnings.contains("reference/open: an open load is measured in trials"), "{warnings}");
        let report = fs::read_to_string(bench.run_folder().join("report.md")).unwrap();
        assert!(report.contains("every turn would begin with an empty queue"), "{report}");

        // One window each, every arrival of it, and the window as the base of the throughput.
        let trials = bench.trials();
        assert_eq!(trials.len(), 4);
        for trial in &trials {
            let turns = trial["measured"]["turns"].as_array().unwrap();
            assert_eq!(turns.len(), 1, "one window");
            let (attempts, unsent) = (turns[0]["attempts"].as_u64().unwrap(), turns[0]["unsent"].as_u64().unwrap());
            assert_eq!(attempts + unsent, 200, "400 ms of 500 arrivals a second");
            assert!(turns[0]["window_ns"].as_u64().unwrap() >= 400_000_000);
        }
    }
}

/// What asks for trials is not told that it was switched, nor is a closed load.
#[test]
fn what_asks_for_trials_was_not_switched() {
    for scenario in [["calm", "stalling", "reference/stall"], ["baseline", "same", "reference/steady"]] {
        let bench = Bench::new();
        let mut arguments = vec!["compare"];
        arguments.extend(scenario);
        arguments.extend(["--blocks", "1", "--set", "trial.window=300ms", "--set", "trial.warmup=10ms"]);
        let said = bench.uplift(&arguments);
        said.code(0);
        assert!(!said.err().contains("an open load is measured"), "{}", said.err());
    }
}
