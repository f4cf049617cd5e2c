//! Variants that are revisions of a repository: each checked out and built in a worktree of its own.
//!
//! Worktrees are kept inside the repository's git folder, one for each revision and build command, so that a second
//! comparison costs nothing and no tracked file is touched. The working tree is built where it is, changes and all.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use uplift_engine::plan::fnv1a;
use uplift_model::{Scenario, Table};

use crate::{catalogue::Entry, error::CliError, output::Terminal};

/// The folder of the worktrees, within the git folder that all worktrees of a repository share.
const FOLDER: &str = "uplift";
/// How much of a failed build's words is shown.
const LAST_LINES: usize = 12;
/// The most changed files that are named.
const CHANGED_MAX: usize = 8;
/// What a hook sets, and what would point git at another repository.
const GIT_VARIABLES: [&str; 4] = ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"];

/// Whether a scenario says how its program is built.
pub fn builds(scenario: &Scenario) -> bool {
    scenario.workload.get("build").is_some_and(Value::is_string)
}

/// Builds what the variants of `entry` named `names` need, and points each at its place. Scenarios without `build` and
/// without a variant with a `ref` are left as they are.
pub fn prepare(entry: &mut Entry, names: &[String], terminal: &Terminal) -> Result<(), CliError> {
    let build = entry.scenario.workload.get("build").and_then(Value::as_str).map(str::to_owned);
    let reference = |settings: &Table| settings.get("ref").and_then(Value::as_str).map(str::to_owned);
    let variants = entry.scenario.variants.iter_mut().filter(|variant| names.contains(&variant.name));
    let mut wanted: Vec<_> = variants.map(|variant| (reference(&variant.settings), variant)).collect();
    if build.is_none() && wanted.iter().all(|(reference, _)| reference.is_none()) {
        return Ok(());
    }
    let repository = Repository::here()?;
    // All names are resolved before anything is checked out: `HEAD` must mean what it meant.
    let mut commits = Vec::new();
    for (reference, _) in &wanted {
        commits.push(reference.as_deref().map(|reference| repository.commit(reference)).transpose()?);
    }
    for ((reference, variant), commit) in wanted.iter_mut().zip(commits) {
        let (folder, revision) = match (reference, commit) {
            (Some(reference), Some(commit)) => {
                let place = repository.built(reference, &commit, build.as_deref(), terminal)?;
                (place.join(&repository.prefix), format!("{reference} ({})", short(&commit)))
            }
            _ => {
                if let Some(build) = &build {
                    terminal.say(&format!("building the working tree: {build}"));
                    run_build(build, &repository.current, &repository.store()?.join("working-tree.log"))
                        .map_err(|why| failed("the working tree", &why))?;
                }
                (repository.current.clone(), repository.working_tree()?)
            }
        };
        let own = variant.settings.get("dir").and_then(Value::as_str).unwrap_or_default();
        let folder = folder.join(own);
        variant.settings.insert("dir".to_owned(), Value::String(folder.display().to_string()));
        variant.settings.insert("revision".to_owned(), Value::String(revision));
    }
    Ok(())
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

fn failed(what: &str, why: &str) -> CliError {
    CliError::environment(
        format!("{what} could not be built: {why}"),
        "make the build command succeed there, then compare again",
    )
}

struct Repository {
    root: PathBuf,
    /// Where uplift was started.
    current: PathBuf,
    /// `current` within `root`.
    prefix: PathBuf,
}

impl Repository {
    fn here() -> Result<Self, CliError> {
        let help = "revisions are those of the git repository in which uplift is started";
        let current = env::current_dir()
            .map_err(|error| CliError::environment(format!("the current folder cannot be found: {error}"), ""))?;
        let root = git(&current, &["rev-parse", "--show-toplevel"]).map_err(|why| CliError::usage(why, help))?;
        let prefix = git(&current, &["rev-parse", "--show-prefix"]).map_err(|why| CliError::usage(why, help))?;
        Ok(Self { root: root.into(), current, prefix: prefix.into() })
    }

    fn commit(&self, reference: &str) -> Result<String, CliError> {
        let wanted = format!("{reference}^{{commit}}");
        // A name that begins with a dash would be an option to git.
        git(&self.root, &["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted]).map_err(|_| {
            CliError::usage(
                format!("there is no revision `{reference}` in `{}`", self.root.display()),
                "name a branch, a tag or a commit; in CI fetch it first (`fetch-depth: 0`)",
            )
        })
    }

    /// The folder for worktrees and logs.
    fn store(&self) -> Result<PathBuf, CliError> {
        let common = git(&self.root, &["rev-parse", "--path-format=absolute", "--git-common-dir"])
            .map_err(|why| CliError::environment(why, "git 2.31 or newer is needed"))?;
        let store = Path::new(&common).join(FOLDER);
        fs::create_dir_all(&store)
            .map_err(|error| CliError::environment(format!("could not create `{}`: {error}", store.display()), ""))?;
        Ok(store)
    }

    /// The worktree of a commit, built.
    fn built(
        &self,
        reference: &str,
        commit: &str,
        build: Option<&str>,
        terminal: &Terminal,
    ) -> Result<PathBuf, CliError> {
        let store = self.store()?;
        let key = format!("{}-{:08x}", short(commit), fnv1a(build.unwrap_or_default().as_bytes()) as u32);
        let (place, stamp) = (store.join(&key), store.join(format!("{key}.built")));
        let _lock = Lock::take(&store.join(format!("{key}.lock")))
            .map_err(|error| CliError::environment(format!("could not lock `{}`: {error}", place.display()), ""))?;
        // The stamp is written last. A checkout that was tampered with, or whose repository is another by now, is made
        // again, products and all.
        let whole = stamp.is_file()
            && git(&place, &["rev-parse", "HEAD"]).is_ok_and(|head| head == commit)
            && git(&place, &["diff", "--quiet", "HEAD"]).is_ok();
        if whole {
            return Ok(place);
        }
        self.remove(&place, &stamp);
        terminal.say(&format!("checking out {reference} ({})", short(commit)));
        let shown = place.display().to_string();
        let mut outcome = git(&self.root, &["worktree", "add", "--force", "--detach", &shown, commit]).map(drop);
        if outcome.is_ok() && place.join(".gitmodules").is_file() {
            outcome = git(&place, &["submodule", "update", "--init", "--recursive"]).map(drop);
        }
        if let Err(why) = outcome {
            self.remove(&place, &stamp);
            return Err(CliError::environment(format!("{reference} could not be checked out: {why}"), ""));
        }
        if let Some(build) = build {
            terminal.say(&format!("building {reference} ({}): {build}", short(commit)));
            if let Err(why) = run_build(build, &place.join(&self.prefix), &store.join(format!("{key}.log"))) {
                self.remove(&place, &stamp);
                return Err(failed(&format!("{reference} ({})", short(commit)), &why));
            }
        }
        fs::write(&stamp, build.unwrap_or_default())
            .map_err(|error| CliError::environment(format!("could not write `{}`: {error}", stamp.display()), ""))?;
        Ok(place)
    }

    /// Takes a worktree away, and what git knows of it.
    fn remove(&self, place: &Path, stamp: &Path) {
        let _ = fs::remove_file(stamp);
        let _ = fs::remove_file(stamp.with_extension("log"));
        let _ = fs::remove_dir_all(place);
        let _ = git(&self.root, &["worktree", "prune"]);
    }

    /// What the working tree is, in words: its commit, and what differs from it.
    fn working_tree(&self) -> Result<String, CliError> {
        let problem = |why: String| CliError::environment(why, "");
        let head =
            git(&self.root, &["rev-parse", "--verify", "--quiet", "HEAD"]).unwrap_or_else(|_| "no commit".to_owned());
        let status = git(&self.root, &["status", "--porcelain", "--untracked-files=no"]).map_err(problem)?;
        let changed: Vec<&str> =
            status.lines().filter_map(|line| line.trim_start().split_once(' ')).map(|(_, file)| file.trim()).collect();
        let files = match changed.len() {
            0 => "nothing changed".to_owned(),
            count => {
                let more = if count > CHANGED_MAX { ", …" } else { "" };
                format!("{count} changed: {}{more}", changed[..count.min(CHANGED_MAX)].join(", "))
            }
        };
        Ok(format!("working tree at {}, {files}", short(&head)))
    }
}

/// Carries a build command out; on failure its last lines are the reason.
fn run_build(build: &str, folder: &Path, log: &Path) -> Result<(), String> {
    let unusable = |error: io::Error| format!("`{}` cannot be used for its output: {error}", log.display());
    let mut output =
        OpenOptions::new().create(true).truncate(true).read(true).write(true).open(log).map_err(unusable)?;
    let streams = (output.try_clone().map_err(unusable)?, output.try_clone().map_err(unusable)?);
    let mut command = Command::new("sh");
    command.args(["-c", build]).current_dir(folder).stdin(Stdio::null()).stdout(streams.0).stderr(streams.1);
    for variable in GIT_VARIABLES {
        command.env_remove(variable);
    }
    let status = command
        .status()
        .map_err(|error| format!("`{build}` could not be started in `{}`: {error}", folder.display()))?;
    if status.success() {
        return Ok(());
    }
    let mut bytes = Vec::new();
    output.seek(SeekFrom::Start(0)).and_then(|_| output.read_to_end(&mut bytes)).map_err(unusable)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
    let said = if last.is_empty() { "it printed nothing".to_owned() } else { format!("its last lines:\n{last}") };
    Err(format!("`{build}` ended with {status}; {said}"))
}

/// Held while a worktree is made: two comparisons at a time must not build in one.
struct Lock(File);

impl Lock {
    fn take(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        // SAFETY: flock on a descriptor of this process.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(file))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { libc::flock(self.0.as_raw_fd(), libc::LOCK_UN) };
    }
}

fn git(folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(arguments).stdin(Stdio::null());
    for variable in GIT_VARIABLES {
        command.env_remove(variable);
    }
    let output = command.output().map_err(|error| format!("git cannot be started: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        Err(format!("git {} failed: {said}", arguments.first().copied().unwrap_or_default()))
    }
}
