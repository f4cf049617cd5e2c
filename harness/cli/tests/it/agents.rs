//! Agents in other languages: the one of the documents is tested whole, and a wrong one is told what is wrong.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

use crate::bench::{Bench, repository};

fn python() -> Option<PathBuf> {
    let agent = repository().join("docs/agents/appender.py");
    // `match` came with 3.10.
    let new = Command::new("python3").args(["-c", "import sys; sys.exit(sys.version_info < (3, 10))"]).status();
    if new.is_ok_and(|status| status.success()) {
        return Some(agent);
    }
    eprintln!("skipped: there is no python3 of 3.10 or newer");
    None
}

#[test]
fn the_documented_python_agent_is_short_and_conforms() {
    let Some(agent) = python() else { return };
    let lines = fs::read_to_string(&agent).unwrap().lines().count();
    assert!(lines < 150, "docs/TARGETS.md promises under 150 lines, there are {lines}");
    let bench = Bench::new();
    let said = bench.uplift(&["agent-check", agent.to_str().unwrap()]);
    assert!(said.code(0).out().contains(", 0 failed"), "{}", said.out());
    bench.uplift(&["agent-check", agent.to_str().unwrap(), "--set", "sync=false"]).code(0);
    let said = bench.uplift(&["agent-check", agent.to_str().unwrap(), "--set", "sync=7"]);
    assert!(said.code(5).out().contains("FAIL validate: settings.sync: must be true or false"), "{}", said.out());
    bench.uplift(&["agent-check", agent.to_str().unwrap(), "--target", "other"]).code(5);
    bench.uplift(&["agent-check", "no-such-program"]).code(2).says("there is no program `no-such-program`");
}

#[test]
fn a_python_target_is_compared() {
    let Some(agent) = python() else { return };
    let bench = Bench::new();
    let scenarios = bench.folder.path().join("scenarios/py-appender");
    fs::create_dir_all(&scenarios).unwrap();
    let text = "schema = 1\ntarget = \"py-appender\"\ntitle = \"appends\"\n[load]\nclients = 2\n\
                [variants.synced]\nsync = true\n[variants.unsynced]\nsync = false\n";
    fs::write(scenarios.join("append.toml"), text).unwrap();
    let uplift = |arguments: &[&str]| {
        let mut command = bench.command(&[&["--agent", agent.to_str().unwrap()], arguments].concat());
        crate::bench::Said(command.env_remove("UPLIFT_SCENARIOS").output().unwrap())
    };
    assert!(uplift(&["list"]).code(0).out().contains("py-appender/append"));
    assert!(uplift(&["list", "--targets"]).code(0).out().contains("whether every append is synced"));
    assert!(uplift(&["verify"]).code(0).out().contains("2 passed, 0 failed"));
    let said = uplift(&["compare", "synced", "unsynced", "--quick", "--blocks", "5"]);
    let out = said.code(0).out();
    assert!(out.contains("durability is weaker") && out.contains("syncs_per_write"), "{out}");
    uplift(&["compare", "synced", "unsynced", "--set", "sink=1"]).code(2).says("unknown field `sink`");
    // A trial that fails says what the agent said.
    let said = uplift(&["run", "--variant", "synced", "--set", "load.batch=2", "--blocks", "1"]);
    said.code(5);
    assert!(said.out().contains("closed loops of single calls"), "{} {}", said.out(), said.err());
}

/// Each mistake is one that a first agent makes.
#[test]
fn mistakes_of_an_agent_are_named() {
    let Some(agent) = python() else { return };
    let good = fs::read_to_string(agent).unwrap();
    let bench = Bench::new();
    for (from, to, rule) in [
        (
            "\"ok\": len(spread), \"nothing\"",
            "\"ok\": len(spread) + 1, \"nothing\"",
            "`attempts` must be ok + nothing + failed",
        ),
        ("os.dup2(2, 1)", "print('hello')", "which is not a reply of protocol"),
        (
            "return self.ready | {",
            "time.sleep(0); return self.ready | {\"effective\": {},",
            "`effective` must be that of `ready`",
        ),
        (
            "if key not in KNOWN[table]:",
            "if key not in KNOWN[table]: continue\n            if False:",
            "it accepts the setting `no-such-key`",
        ),
        ("self.sync_calls += self.sync", "pass", "survive a power loss, it says, without one sync call"),
        ("kept = self.kept[drop:]", "kept = self.kept", "`operations` must add up to"),
        ("        sys.exit(1)", "        pass", "it must end with another code than 0"),
        ("yield {\"reply\": \"ready\"} | trial.ready", "pass", "no answer within"),
    ] {
        assert!(good.contains(from), "the documented agent has no `{from}` any more");
        let bad = bench.folder.path().join("bad.py");
        fs::write(&bad, good.replacen(from, to, 1)).unwrap();
        fs::set_permissions(&bad, fs::Permissions::from_mode(0o755)).unwrap();
        let said = bench.uplift(&["agent-check", bad.to_str().unwrap(), "--timeout", "3s"]);
        assert!(said.code(5).out().contains(rule), "`{rule}` is not in\n{}", said.out());
    }
}

#[test]
fn the_harness_s_own_agent_conforms() {
    let bench = Bench::new();
    let own = env!("CARGO_BIN_EXE_uplift");
    let said = bench.uplift(&["agent-check", own, "--target", "reference"]);
    assert!(said.code(0).out().contains(", 0 failed"), "{}", said.out());
}
