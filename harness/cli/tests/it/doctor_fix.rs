//! `doctor --fix` and `--restore`, on a tree of files in place of the kernel's.

use std::{fs, path::Path};

use crate::bench::{Bench, Said};

const SETTINGS: [(&str, &str, &str); 5] = [
    ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave", "performance"),
    ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "schedutil", "performance"),
    ("sys/devices/system/cpu/intel_pstate/no_turbo", "0", "1"),
    ("proc/sys/kernel/perf_event_paranoid", "4", "1"),
    ("proc/sys/kernel/kptr_restrict", "1", "0"),
];

fn system(bench: &Bench) -> std::path::PathBuf {
    let root = bench.folder.path().join("system");
    for (path, value, _) in SETTINGS {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{value}\n")).unwrap();
    }
    root
}

fn doctor(bench: &Bench, root: &Path, option: &str) -> Said {
    let mut command = bench.command(&["doctor", option]);
    command.env("UPLIFT_TEST_SYSTEM_ROOT", root).env("XDG_STATE_HOME", bench.folder.path().join("state"));
    Said(command.output().unwrap())
}

fn values(root: &Path) -> Vec<String> {
    SETTINGS.iter().map(|(path, ..)| fs::read_to_string(root.join(path)).unwrap().trim().to_owned()).collect()
}

#[test]
fn what_is_fixed_can_be_put_back() {
    let bench = Bench::new();
    let root = system(&bench);
    let before = values(&root);
    let said = doctor(&bench, &root, "--fix");
    assert!(said.code(0).out().contains("powersave → performance"), "{}", said.out());
    assert_eq!(values(&root), SETTINGS.map(|(.., wanted)| wanted.to_owned()));
    // The second time nothing is left to do, and what was there first is still known.
    assert!(doctor(&bench, &root, "--fix").code(0).out().contains("nothing to change"));
    // What somebody changed since is theirs.
    fs::write(root.join(SETTINGS[3].0), "2").unwrap();
    let said = doctor(&bench, &root, "--restore");
    assert!(said.code(0).out().contains("it is 2 by now"), "{}", said.out());
    let mut wanted = before;
    wanted[3] = "2".to_owned();
    assert_eq!(values(&root), wanted);
    assert!(doctor(&bench, &root, "--restore").code(0).out().contains("nothing to put back"));
    assert!(!bench.folder.path().join("state/uplift/doctor.json").exists());
}

#[test]
fn a_machine_that_has_none_of_it_is_left_alone() {
    let bench = Bench::new();
    let said = doctor(&bench, &bench.folder.path().join("nothing"), "--fix");
    assert!(said.code(0).out().contains("nothing to change"), "{}", said.out());
}
