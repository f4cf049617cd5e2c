//! `uplift doctor --fix` and `--restore`: settings of the kernel under which a machine measures better, and back.
//!
//! Nothing is changed that cannot be put back: what was in force is written down before the first change, and the second
//! `--fix` does not take its own changes for what was there.

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use uplift_engine::{environment, optional_file::read_optional};

use crate::{error::CliError, exit, output::Terminal};

/// Takes the place of `/` in tests.
const ROOT: &str = "UPLIFT_TEST_SYSTEM_ROOT";

/// What was in force before: path → (what it was, what was written).
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Before {
    settings: BTreeMap<String, (String, String)>,
}

/// A setting of the kernel that should have another value.
struct Wish {
    path: PathBuf,
    now: String,
    wanted: &'static str,
    why: &'static str,
}

/// Changes what can be changed, and prints the command for what cannot.
pub fn fix(data_dir: &Path, terminal: &Terminal) -> Result<u8, CliError> {
    let file = state_file()?;
    let mut before = read(&file)?;
    let (mut text, mut refused) = (String::new(), Vec::new());
    for wish in wishes() {
        let key = wish.path.display().to_string();
        let known = before.settings.get(&key).cloned();
        let first = known.map_or_else(|| wish.now.clone(), |(first, _)| first);
        before.settings.insert(key.clone(), (first, wish.wanted.to_owned()));
        // Before the change: a process that is killed in between must not leave it without a way back.
        write(&file, &before)?;
        match fs::write(&wish.path, wish.wanted) {
            Ok(()) => text.push_str(&format!("set  {key}: {} → {} ({})\n", wish.now, wish.wanted, wish.why)),
            Err(error) => {
                before.settings.remove(&key);
                write(&file, &before)?;
                text.push_str(&format!("left {key}: {} ({}): {error}\n", wish.now, wish.why));
                refused.push(format!("echo {} > {key}", wish.wanted));
            }
        }
    }
    if text.is_empty() {
        text.push_str("nothing to change: what this machine lets one set is set\n");
    }
    if !refused.is_empty() {
        text.push_str(&format!("as root: sudo sh -c '{}'\n", refused.join("; ")));
    }
    if !before.settings.is_empty() {
        text.push_str(&format!("`uplift doctor --restore` puts all of it back ({})\n", file.display()));
    }
    if let Some(warning) = environment::data_dir_warning(&environment::read(data_dir)) {
        text.push_str(&format!("not changed: {warning}; name a folder on a disk with --data-dir\n"));
    }
    terminal.print(&text);
    Ok(exit::OK)
}

/// Puts back what `fix` changed, where nobody has changed it since.
pub fn restore(terminal: &Terminal) -> Result<u8, CliError> {
    let file = state_file()?;
    let mut before = read(&file)?;
    let (mut text, mut left) = (String::new(), BTreeMap::new());
    for (path, (was, written)) in std::mem::take(&mut before.settings) {
        let now = fs::read_to_string(&path).map(|now| now.trim().to_owned());
        match now {
            Ok(now) if now != written => {
                text.push_str(&format!("left {path}: it is {now} by now, and not {written}, which was written\n"));
            }
            _ => match fs::write(&path, &was) {
                Ok(()) => text.push_str(&format!("set  {path}: {written} → {was}\n")),
                Err(error) => {
                    text.push_str(&format!("left {path}: {written}: {error}; as root: echo {was} > {path}\n"));
                    left.insert(path, (was, written));
                }
            },
        }
    }
    if text.is_empty() {
        text.push_str("nothing to put back: `uplift doctor --fix` changed nothing\n");
    }
    terminal.print(&text);
    if left.is_empty() {
        return match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(CliError::environment(format!("could not remove `{}`: {error}", file.display()), ""))
            }
            _ => Ok(exit::OK),
        };
    }
    write(&file, &Before { settings: left })?;
    Ok(exit::FAILED)
}

/// What should be otherwise on this machine.
fn wishes() -> Vec<Wish> {
    let root = PathBuf::from(env::var_os(ROOT).unwrap_or_else(|| "/".into()));
    let cpus = root.join("sys/devices/system/cpu");
    let mut all = Vec::new();
    let mut wish = |path: PathBuf, wanted: &'static str, why: &'static str, is_wrong: &dyn Fn(&str) -> bool| {
        if let Ok(now) = fs::read_to_string(&path).map(|now| now.trim().to_owned())
            && is_wrong(&now)
        {
            all.push(Wish { path, now, wanted, why });
        }
    };
    let mut governors: Vec<PathBuf> = fs::read_dir(&cpus)
        .into_iter()
        .flatten()
        .flatten()
        .map(|cpu| cpu.path().join("cpufreq/scaling_governor"))
        .filter(|path| path.is_file())
        .collect();
    governors.sort();
    for path in governors {
        wish(path, "performance", "the clock does not follow the load", &|now| now != "performance");
    }
    let steady = "the clock does not depend on the temperature and on other cores";
    wish(cpus.join("intel_pstate/no_turbo"), "1", steady, &|now| now == "0");
    wish(cpus.join("cpufreq/boost"), "0", steady, &|now| now == "1");
    let level = |most: i32| move |now: &str| now.parse::<i32>().is_ok_and(|now| now > most);
    let kernel = root.join("proc/sys/kernel");
    let samples = "stacks are sampled with their kernel frames";
    wish(kernel.join("perf_event_paranoid"), "1", samples, &level(1));
    wish(kernel.join("kptr_restrict"), "0", "kernel frames have names", &level(0));
    all
}

fn state_file() -> Result<PathBuf, CliError> {
    let state = env::var_os("XDG_STATE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let home = || Some(PathBuf::from(env::var_os("HOME").filter(|path| !path.is_empty())?).join(".local/state"));
    let folder = state.or_else(home).ok_or_else(|| {
        CliError::environment("there is no place to write down what was in force: HOME is not set", "set HOME")
    })?;
    Ok(folder.join("uplift/doctor.json"))
}

fn read(file: &Path) -> Result<Before, CliError> {
    let fix = "it says what `--fix` changed: put that back by hand, then remove the file";
    match read_optional(file) {
        Ok(None) => Ok(Before::default()),
        Err(error) => Err(CliError::environment(format!("could not read `{}`: {error}", file.display()), fix)),
        Ok(Some(text)) => serde_json::from_str(&text)
            .map_err(|error| CliError::environment(format!("could not read `{}`: {error}", file.display()), fix)),
    }
}

fn write(file: &Path, before: &Before) -> Result<(), CliError> {
    let failed = |error: io::Error| {
        CliError::environment(
            format!("could not write `{}`, so nothing is changed: {error}", file.display()),
            "make its folder writable, or name another with XDG_STATE_HOME",
        )
    };
    let text = serde_json::to_string_pretty(before).map_err(|error| failed(error.into()))?;
    let new = file.with_extension("new");
    file.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
    fs::write(&new, text).and_then(|()| fs::rename(&new, file)).map_err(failed)
}
