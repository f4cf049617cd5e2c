//! `--base-ref REV`: the same binary built from another revision, in a worktree of its own.
//!
//! The worktree and its build stay under the build folder, so that the next gate against that revision costs nothing.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{error::CliError, output::Terminal};

/// Builds the running binary's package at `reference` with the profile of the running binary, and returns where the
/// binary is: its name says the revision.
pub fn build(reference: &str, terminal: &Terminal) -> Result<PathBuf, CliError> {
    let help = "--base-ref works inside the git repository that this binary was built from";
    let root = PathBuf::from(
        git(Path::new("."), &["rev-parse", "--show-toplevel"]).map_err(|why| CliError::usage(why, help))?,
    );
    // A name that begins with a dash would be an option to git.
    let wanted = format!("{reference}^{{commit}}");
    let revision = git(&root, &["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted]).map_err(|_| {
        CliError::usage(
            format!("--base-ref: there is no revision `{reference}` in `{}`", root.display()),
            "name a branch, a tag or a commit; in CI fetch it first (`fetch-depth: 0`)",
        )
    })?;
    let current = env::current_exe()
        .map_err(|error| CliError::environment(format!("could not find the running binary: {error}"), ""))?;
    // cargo puts `target/debug/name`, and `target/debug/examples/name`.
    let example = current.parent().and_then(Path::file_name) == Some(OsStr::new("examples"));
    let profile_folder = current.ancestors().nth(if example { 2 } else { 1 });
    let (Some(profile_folder), Some(name)) = (profile_folder, current.file_stem().and_then(OsStr::to_str)) else {
        return Err(CliError::usage(format!("`{}` was not built by cargo", current.display()), help));
    };
    let profile = match profile_folder.file_name().and_then(OsStr::to_str) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let builds = profile_folder.parent().unwrap_or(profile_folder).join("base-ref");
    let worktree = builds.join(revision.get(..12).unwrap_or(&revision));
    // A checkout that was interrupted, or whose repository is another one by now (a cache of CI), is made again.
    let whole = worktree.join(".git").is_file()
        && git(&worktree, &["rev-parse", "HEAD"]).is_ok_and(|head| head == revision)
        && git(&worktree, &["diff", "--quiet", "HEAD"]).is_ok();
    if !whole {
        terminal.say(&format!("checking out {reference} ({revision})"));
        fs::create_dir_all(&builds)
            .map_err(|error| CliError::environment(format!("could not create `{}`: {error}", builds.display()), ""))?;
        let _ = fs::remove_dir_all(&worktree);
        let place = worktree.display().to_string();
        git(&root, &["worktree", "prune"])
            .and_then(|_| git(&root, &["worktree", "add", "--force", "--detach", &place, &revision]))
            .map_err(|why| CliError::environment(format!("{reference} cannot be checked out: {why}"), ""))?;
    }
    terminal.say(&format!("building {name} at {reference}"));
    let target = builds.join("target");
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--profile", profile, if example { "--example" } else { "--bin" }, name])
        .current_dir(&worktree)
        .env("CARGO_TARGET_DIR", &target)
        .stdin(Stdio::null())
        // cargo reports on standard error; standard output carries results.
        .status()
        .map_err(|error| {
            CliError::environment(
                format!("could not start cargo: {error}"),
                "install Rust, or build the revision yourself and name it with --baseline-bin",
            )
        })?;
    if !status.success() {
        return Err(CliError::environment(
            format!("could not build {name} at {reference}: cargo ended with {status}"),
            "see what cargo said above",
        ));
    }
    let folder = target.join(profile_folder.file_name().unwrap_or_else(|| OsStr::new("debug")));
    let built = if example { folder.join("examples").join(name) } else { folder.join(name) };
    // The next revision is built in the same place; the run's record names the one that it measured.
    let kept = builds.join(format!("{name}-{}", revision.get(..12).unwrap_or(&revision)));
    fs::copy(&built, &kept)
        .map_err(|error| CliError::environment(format!("could not copy `{}`: {error}", built.display()), ""))?;
    Ok(kept)
}

fn git(folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("could not start git: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        Err(format!("git {} failed: {said}", arguments.first().copied().unwrap_or_default()))
    }
}
