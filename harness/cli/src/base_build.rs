//! `--base-ref REV`: the program that serves trials built from another revision, in a worktree of its own.
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

use uplift_engine::{Interrupt, optional_file::read_optional};

use crate::{
    error::CliError,
    exit, external,
    output::Terminal,
    revisions::repository::{OWNER_EXTENSION, Repository, Temporary, build_command, short},
};

/// How often a build that goes on is asked whether it is done.
const WATCH_EVERY: Duration = Duration::from_millis(50);
/// Profiles that cargo knows without being told.
const BUILT_IN: [&str; 4] = ["dev", "release", "test", "bench"];

/// Two builds of one program.
pub struct Builds {
    /// The revision's.
    pub base: PathBuf,
    /// The working tree's; `None`: the running program is that.
    pub head: Option<PathBuf>,
}

/// Builds the program that serves trials at `reference`, with the profile that it was built with itself. Where nobody knows
/// that profile, because the program does not lie where cargo put it, both sides are built alike.
pub fn build(reference: &str, terminal: &Terminal) -> Result<Builds, CliError> {
    let interrupt =
        Interrupt::install().map_err(|error| CliError::environment(format!("could not catch Ctrl-C: {error}"), ""))?;
    let repository = Repository::here()?;
    let revision = repository.commit(reference)?;
    let program = Program::find(&repository)?;
    let package = package_folder(&repository.root, &program.name)?;
    fs::create_dir_all(&program.builds).map_err(|error| {
        CliError::environment(format!("could not create `{}`: {error}", program.builds.display()), "")
    })?;
    terminal.say(&format!("checking out {reference} ({revision})"));
    let checkout = Temporary::check_out(&repository, program.builds.join(short(&revision)), &revision)
        .map_err(|why| CliError::environment(format!("{reference} could not be checked out: {why}"), ""))?;
    let (here, there) = (repository.root.join(&package), checkout.worktree.join(&package));
    let own_profile = profile_for(&program.profile, &here, &there, &program.builds)?;
    terminal.say(&format!("building {} at {reference}, profile {}", program.name, program.profile));
    let base = program.built(&there, own_profile.as_deref(), short(&revision), reference, &interrupt)?;
    if program.is_cargos {
        return Ok(Builds { base, head: None });
    }
    terminal.say(&format!(
        "building {} of the working tree, profile {}: `{}` is in no build folder of cargo, and how it was built is unknown",
        program.name,
        program.profile,
        program.path.display()
    ));
    let head = program.built(&here, None, "working-tree", "the working tree", &interrupt)?;
    Ok(Builds { base, head: Some(head) })
}

/// The program that serves trials: the running one, or the agent that was named.
struct Program {
    path: PathBuf,
    name: String,
    example: bool,
    profile: String,
    /// Its folder in cargo's build folder: `debug`, `release`, the name of a profile.
    folder: String,
    /// Whether it lies where cargo put it.
    is_cargos: bool,
    /// Where revisions are built.
    builds: PathBuf,
}

impl Program {
    fn find(repository: &Repository) -> Result<Self, CliError> {
        let path = external::agent()
            .map_or_else(env::current_exe, |agent| Ok(agent.to_owned()))
            .map_err(|error| CliError::environment(format!("could not find the running binary: {error}"), ""))?;
        let text = |part: Option<&OsStr>| part.and_then(OsStr::to_str).map(str::to_owned);
        let name = text(path.file_stem()).ok_or_else(|| {
            CliError::usage(format!("`{}` has a name that is no text", path.display()), "name it with --baseline-bin")
        })?;
        // cargo puts `target/debug/name`, and `target/debug/examples/name`.
        let example = path.parent().and_then(Path::file_name) == Some(OsStr::new("examples"));
        let place = path.ancestors().nth(if example { 2 } else { 1 });
        // A binary that was copied elsewhere lies in a folder whose name is no profile.
        let of_cargo = place.filter(|place| place.join(".fingerprint").is_dir() || place.join("build").is_dir());
        if let Some((folder, above)) = of_cargo.and_then(|place| Some((text(place.file_name())?, place.parent()?))) {
            let profile = if folder == "debug" { "dev".to_owned() } else { folder.clone() };
            let builds = above.join("base-ref");
            return Ok(Self { path, name, example, profile, folder, is_cargos: true, builds });
        }
        // As `cargo install` builds. No folder of the user's is written to.
        let release = || "release".to_owned();
        let builds = repository.store()?.join("base-ref");
        Ok(Self { path, name, example: false, profile: release(), folder: release(), is_cargos: false, builds })
    }

    /// Builds it in the package at `folder`; `label` names the copy that is kept.
    fn built(
        &self,
        folder: &Path,
        profile_file: Option<&Path>,
        label: &str,
        what: &str,
        interrupt: &Interrupt,
    ) -> Result<PathBuf, CliError> {
        let Self { name, profile, .. } = self;
        let target = self.builds.join("target");
        let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut cargo = build_command(&program, folder);
        cargo.args(["build", "--profile", profile, if self.example { "--example" } else { "--bin" }, name]);
        if let Some(file) = profile_file {
            cargo.arg("--config").arg(file);
        }
        // cargo reports on standard error; standard output carries results.
        cargo.env("CARGO_TARGET_DIR", &target).stdout(Stdio::null());
        let status = watched(&mut cargo, interrupt).map_err(|error| {
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
                "see what cargo said above; if {what} has no `{name}` or no profile `{profile}` in its Cargo.toml, build it yourself and name it with --baseline-bin"
            );
            return Err(CliError::environment(
                format!("could not build {name} at {what}: cargo ended with {status}"),
                &fix,
            ));
        }
        let folder = target.join(&self.folder);
        let built = if self.example { folder.join("examples").join(name) } else { folder.join(name) };
        // The next revision is built in the same place; the run's record names the one that it measured.
        let kept = self.builds.join(format!("{name}-{label}"));
        fs::copy(&built, &kept)
            .map_err(|error| CliError::environment(format!("could not copy `{}`: {error}", built.display()), ""))?;
        Ok(kept)
    }
}

/// The package's folder seen from the repository's: where the nearest `Cargo.toml` above the current folder is.
fn package_folder(root: &Path, name: &str) -> Result<PathBuf, CliError> {
    let here = env::current_dir()
        .map_err(|error| CliError::environment(format!("could not find the current folder: {error}"), ""))?;
    let (real_root, here) =
        (root.canonicalize().unwrap_or_else(|_| root.to_owned()), here.canonicalize().unwrap_or(here));
    here.ancestors()
        .take_while(|folder| folder.starts_with(&real_root))
        .find(|folder| folder.join("Cargo.toml").is_file())
        .and_then(|folder| folder.strip_prefix(&real_root).ok().map(Path::to_owned))
        .ok_or_else(|| {
            CliError::usage(
                format!("`{name}` cannot be built from `{}`: there is no Cargo.toml, here or above", here.display()),
                "run the gate inside the package that it is built from; for any other program write `uplift gate --base-ref main --build make --cmd ./program`",
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
    // Outside a repository none was made.
    let Ok(program) = Repository::here().and_then(|repository| Program::find(&repository)) else { return Vec::new() };
    let owners = fs::read_dir(&program.builds).into_iter().flatten().flatten().map(|entry| entry.path());
    owners
        .filter(|path| path.extension() == Some(OsStr::new(OWNER_EXTENSION)))
        .map(|path| path.with_extension(""))
        .filter(|checkout| checkout.is_dir())
        .collect()
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
