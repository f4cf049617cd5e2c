//! The example of docs/TARGETS.md is the file that is built and run here.

use std::{env, fs, process::Command};

use tempfile::TempDir;

#[test]
fn the_documented_target_has_every_verb() {
    let root = crate::bench::repository();
    let example = fs::read_to_string(root.join("harness/cli/examples/own_target.rs")).unwrap();
    let document = fs::read_to_string(root.join("docs/TARGETS.md")).unwrap();
    assert!(
        document.contains(example.trim()),
        "docs/TARGETS.md does not show harness/cli/examples/own_target.rs as it is"
    );
    let scenario = document.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();

    // Cargo builds examples with the tests, beside the folder of the test binaries.
    let binary = env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples/own_target");
    assert!(binary.is_file(), "{} is not built; run `cargo test --workspace` or name `--examples`", binary.display());
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let scenarios = folder.path().join("scenarios/appender");
    fs::create_dir_all(&scenarios).unwrap();
    fs::write(scenarios.join("append.toml"), scenario).unwrap();
    let uplift = |arguments: &[&str]| {
        let output = Command::new(&binary).args(arguments).current_dir(folder.path()).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {text}");
        text
    };
    assert!(uplift(&["verify"]).contains("2 passed, 0 failed"));
    let compared = uplift(&["compare", "synced", "unsynced", "--quick", "--blocks", "5"]);
    assert!(compared.contains("durability is weaker"), "{compared}");
    assert!(compared.contains("syncs_per_write"), "{compared}");
}
