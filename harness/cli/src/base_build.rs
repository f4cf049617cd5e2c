//! `--base-ref REV`: the same binary built from another revision, in a worktree of its own.
//!
//! The worktree is there for the build only. What cargo built stays under the build folder, so that the next gate compiles
//! no dependency again; the binary stays beside it under the name of its revision.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use uplift_engine::{
    Interrupt,
    optional_file::read_optional,
    owner::{Liveness, Owner},
};

use crate::{error::CliError, exit, output::Terminal};

/// How often a build that goes on is asked whether it is done.
const WATCH_EVERY: Duration = Duration::from_millis(50);
/// The extension of the file that says whose a checkout is.
const OWNER_EXTENSION: &str = "owner";
/// Profiles that cargo knows without being told.
const BUILT_IN: [&str; 4] = ["dev", "release", "test", "bench"];

/// Builds the running binary's package at `reference` with the profile of the running binary, and returns where the
/// binary is: its name says the revision.
pub fn build(reference: &str, terminal: &Terminal) -> Result<PathBuf, CliError> {
    let interrupt =
        Interrupt::install().map_err(|error| CliError::environment(format!("Ctrl-C cannot be caught: {error}"), ""))?;
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
    let short = revision.get(..12).unwrap_or(&revision).to_owned();
    let running = Running::find()?;
    let package = package_folder(&root)?;
    fs::create_dir_all(&running.builds).map_err(|error| {
        CliError::environment(format!("could not create `{}`: {error}", running.builds.display()), "")
    })?;
    terminal.say(&format!("checking out {reference} ({revision})"));
    let worktree = Worktree::add(&root, running.builds.join(&short), &revision)
        .map_err(|why| CliError::environment(format!("{reference} cannot be checked out: {why}"), ""))?;
    let folder = worktree.place.join(&package);
    let name = &running.name;
    let profile = &running.profile;
    let own_profile = profile_for(profile, &root.join(&package), &folder, &running.builds)?;
    terminal.say(&format!("building {name} at {reference}"));
    let target = running.builds.join("target");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--profile", profile, if running.example { "--example" } else { "--bin" }, name]);
    if let Some(file) = &own_profile {
        cargo.arg("--config").arg(file);
    }
    // cargo reports on standard error; standard output carries results.
    cargo.current_dir(&folder).env("CARGO_TARGET_DIR", &target).stdin(Stdio::null()).stdout(Stdio::null());
    let status = watched(&mut cargo, &interrupt).map_err(|error| {
        CliError::environment(
            format!("could not start cargo: {error}"),
            "install Rust, or build the revision yourself and name it with --baseline-bin",
        )
    })?;
    if interrupt.is_set() {
        return Err(CliError { exit: exit::INTERRUPTED, ..CliError::environment("the build was interrupted", "") });
    }
    if !status.success() {
        let fix = format!(
            "see what cargo said above; if {reference} has no `{name}` or no profile `{profile}` in its Cargo.toml, build it yourself and name it with --baseline-bin"
        );
        return Err(CliError::environment(
            format!("could not build {name} at {reference}: cargo ended with {status}"),
            &fix,
        ));
    }
    let folder = target.join(&running.folder);
    let built = if running.example { folder.join("examples").join(name) } else { folder.join(name) };
    // The next revision is built in the same place; the run's record names the one that it measured.
    let kept = running.builds.join(format!("{name}-{short}"));
    fs::copy(&built, &kept)
        .map_err(|error| CliError::environment(format!("could not copy `{}`: {error}", built.display()), ""))?;
    Ok(kept)
}

/// The running binary, as cargo built it.
struct Running {
    name: String,
    example: bool,
    profile: String,
    /// Its folder in cargo's build folder: `debug`, `release`, the name of a profile.
    folder: String,
    /// Where other revisions are built.
    builds: PathBuf,
}

impl Running {
    fn find() -> Result<Self, CliError> {
        let current = env::current_exe()
            .map_err(|error| CliError::environment(format!("could not find the running binary: {error}"), ""))?;
        // cargo puts `target/debug/name`, and `target/debug/examples/name`.
        let example = current.parent().and_then(Path::file_name) == Some(OsStr::new("examples"));
        let place = current.ancestors().nth(if example { 2 } else { 1 });
        // A binary that was copied elsewhere lies in a folder whose name is no profile.
        let of_cargo = place.filter(|place| place.join(".fingerprint").is_dir() || place.join("build").is_dir());
        let text = |part: Option<&OsStr>| part.and_then(OsStr::to_str).map(str::to_owned);
        let parts =
            of_cargo.and_then(|place| Some((text(place.file_name())?, text(current.file_stem())?, place.parent()?)));
        let Some((folder, name, above)) = parts else {
            return Err(CliError::usage(
                format!(
                    "`{}` is in no build folder of cargo, so nobody knows with which profile it was built",
                    current.display()
                ),
                "run the binary from where cargo put it (`cargo run -- gate …`, or `target/release/…`), or build the revision yourself and name it with --baseline-bin",
            ));
        };
        let profile = if folder == "debug" { "dev".to_owned() } else { folder.clone() };
        Ok(Self { name, example, profile, folder, builds: above.join("base-ref") })
    }
}

/// The package's folder seen from the repository's: where the nearest `Cargo.toml` above the current folder is.
fn package_folder(root: &Path) -> Result<PathBuf, CliError> {
    let here = env::current_dir()
        .map_err(|error| CliError::environment(format!("the current folder cannot be found: {error}"), ""))?;
    let (real_root, here) =
        (root.canonicalize().unwrap_or_else(|_| root.to_owned()), here.canonicalize().unwrap_or(here));
    here.ancestors()
        .take_while(|folder| folder.starts_with(&real_root))
        .find(|folder| folder.join("Cargo.toml").is_file())
        .and_then(|folder| folder.strip_prefix(&real_root).ok().map(Path::to_owned))
        .ok_or_else(|| {
            CliError::usage(
                format!("there is no Cargo.toml in `{}` or above it in its repository", here.display()),
                "run the gate inside the package that this binary is built from",
            )
        })
}

/// Where the revision does not define the profile of the running binary and the present state does: a file that defines it.
fn profile_for(profile: &str, here: &Path, there: &Path, builds: &Path) -> Result<Option<PathBuf>, CliError> {
    if BUILT_IN.contains(&profile) || profiles(there)?.contains_key(profile) {
        return Ok(None);
    }
    let Some(own) = profiles(here)?.remove(profile) else { return Ok(None) };
    let all =
        toml::Table::from_iter([("profile".to_owned(), toml::Table::from_iter([(profile.to_owned(), own)]).into())]);
    let file = builds.join("profile.toml");
    fs::write(&file, all.to_string())
        .map_err(|error| CliError::environment(format!("`{}` cannot be written: {error}", file.display()), ""))?;
    Ok(Some(file))
}

/// The profiles that a package's `Cargo.toml` and cargo's configuration beside it define.
fn profiles(package: &Path) -> Result<toml::Table, CliError> {
    let mut all = toml::Table::new();
    for name in ["Cargo.toml", ".cargo/config.toml"] {
        let path = package.join(name);
        let text = read_optional(&path)
            .map_err(|error| CliError::environment(format!("could not read `{}`: {error}", path.display()), ""))?;
        let table: toml::Table = text.and_then(|text| toml::from_str(&text).ok()).unwrap_or_default();
        if let Some(toml::Value::Table(profiles)) = table.get("profile") {
            all.extend(profiles.clone());
        }
    }
    Ok(all)
}

/// Checkouts that are there, of gates that go on or were killed.
pub fn checkouts() -> Vec<PathBuf> {
    // A binary that cargo did not put where it is has built none.
    let Ok(running) = Running::find() else { return Vec::new() };
    let owners = fs::read_dir(&running.builds).into_iter().flatten().flatten().map(|entry| entry.path());
    owners
        .filter(|path| path.extension() == Some(OsStr::new(OWNER_EXTENSION)))
        .map(|path| path.with_extension(""))
        .filter(|checkout| checkout.is_dir())
        .collect()
}

/// The file that names the process whose checkout it is.
pub fn owner_file(checkout: &Path) -> PathBuf {
    checkout.with_extension(OWNER_EXTENSION)
}

/// A checkout that is taken away again, whatever comes of it.
struct Worktree<'a> {
    root: &'a Path,
    place: PathBuf,
}

impl<'a> Worktree<'a> {
    fn add(root: &'a Path, place: PathBuf, revision: &str) -> Result<Self, String> {
        let owner = owner_file(&place);
        if let Ok(Some(other)) = Owner::of_file(&owner)
            && other != Owner::current()
            && other.life() == Liveness::Alive
        {
            return Err(format!("process {} is building it in `{}`; wait for it", other.process, place.display()));
        }
        Owner::current().sign(&owner).map_err(|error| format!("could not write `{}`: {error}", owner.display()))?;
        let worktree = Self { root, place };
        // What a killed gate left behind.
        worktree.remove();
        let place = worktree.place.display().to_string();
        git(root, &["worktree", "add", "--force", "--detach", &place, revision])?;
        Ok(worktree)
    }

    fn remove(&self) {
        let _ = fs::remove_dir_all(&self.place);
        let _ = git(self.root, &["worktree", "prune"]);
    }
}

impl Drop for Worktree<'_> {
    fn drop(&mut self) {
        self.remove();
        let _ = fs::remove_file(owner_file(&self.place));
    }
}

/// Runs a command to its end, or until the user has had enough.
fn watched(command: &mut Command, interrupt: &Interrupt) -> std::io::Result<ExitStatus> {
    let mut child = command.spawn()?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if interrupt.is_set() {
            child.kill()?;
            return child.wait();
        }
        thread::sleep(WATCH_EVERY);
    }
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
