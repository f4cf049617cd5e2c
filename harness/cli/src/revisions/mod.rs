//! Variants that are revisions of a repository: each checked out and built in a worktree of its own.
//!
//! Worktrees are kept inside the repository's git folder, one for each revision and build command, so that a second
//! comparison costs nothing and no tracked file is touched. The working tree is built where it is, changes and all.

pub mod repository;

use std::{fs, path::PathBuf};

use serde_json::Value;
use uplift_model::fnv1a;
use uplift_model::{Scenario, Table};

use self::repository::{Lock, Repository, git, run_build, short};
use crate::{catalogue::Entry, error::CliError, output::Terminal};

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
                let place = built(&repository, reference, &commit, build.as_deref(), terminal)?;
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

fn failed(what: &str, why: &str) -> CliError {
    CliError::environment(
        format!("{what} could not be built: {why}"),
        "make the build command succeed there, then compare again",
    )
}

/// The worktree of a commit, built.
fn built(
    repository: &Repository,
    reference: &str,
    commit: &str,
    build: Option<&str>,
    terminal: &Terminal,
) -> Result<PathBuf, CliError> {
    let store = repository.store()?;
    let key = format!("{}-{:08x}", short(commit), fnv1a(build.unwrap_or_default().as_bytes()) as u32);
    let (place, stamp) = (store.join(&key), store.join(format!("{key}.built")));
    let _lock = Lock::take(&store.join(format!("{key}.lock")))
        .map_err(|error| CliError::environment(format!("could not lock `{}`: {error}", place.display()), ""))?;
    // The stamp is written last. A checkout that was tampered with, or whose repository is another by now, is made
    // again, products and all.
    let worktree = repository.worktree(&place);
    let whole = fs::read_to_string(&stamp).is_ok_and(|made_by| made_by == build.unwrap_or_default())
        && git(&worktree, &["rev-parse", "HEAD"]).is_ok_and(|head| head == commit)
        && git(&worktree, &["diff", "--quiet", "HEAD"]).is_ok();
    if whole {
        return Ok(worktree);
    }
    let remove = || {
        let _ = fs::remove_file(&stamp);
        let _ = fs::remove_file(stamp.with_extension("log"));
        repository.remove(&place);
    };
    remove();
    terminal.say(&format!("checking out {reference} ({})", short(commit)));
    let outcome = repository.check_out(&place, commit);
    if let Err(why) = outcome {
        remove();
        return Err(CliError::environment(format!("{reference} could not be checked out: {why}"), ""));
    }
    if let Some(build) = build {
        terminal.say(&format!("building {reference} ({}): {build}", short(commit)));
        if let Err(why) = run_build(build, &worktree.join(&repository.prefix), &store.join(format!("{key}.log"))) {
            remove();
            return Err(failed(&format!("{reference} ({})", short(commit)), &why));
        }
    }
    fs::write(&stamp, build.unwrap_or_default())
        .map_err(|error| CliError::environment(format!("could not write `{}`: {error}", stamp.display()), ""))?;
    Ok(worktree)
}
