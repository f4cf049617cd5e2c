//! A git repository: its revisions, and worktrees of them in which a build finds what it finds in the repository itself.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::{fd::AsRawFd as _, unix::fs::symlink},
    path::{Component, Path, PathBuf},
    process::{Command, Stdio},
};

use uplift_engine::owner::{Liveness, Owner};

use crate::error::CliError;

/// The folder of the worktrees, within the git folder that all worktrees of a repository share.
const FOLDER: &str = "uplift";
/// The extension of the file that says whose a checkout is.
pub const OWNER_EXTENSION: &str = "owner";
/// How much of a failed build's words is shown.
const LAST_LINES: usize = 12;
/// The most changed files that are named.
const CHANGED_MAX: usize = 8;
/// What a hook sets, and what would point git at another repository.
const GIT_VARIABLES: [&str; 4] = ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"];

/// The repository in which uplift was started.
pub struct Repository {
    /// Its working tree.
    pub root: PathBuf,
    /// Where uplift was started.
    pub current: PathBuf,
    /// `current` within `root`.
    pub prefix: PathBuf,
}

impl Repository {
    /// Finds it.
    pub fn here() -> Result<Self, CliError> {
        let help = "revisions are those of the git repository in which uplift is started";
        let current = env::current_dir()
            .map_err(|error| CliError::environment(format!("could not find the current folder: {error}"), ""))?;
        let root = git(&current, &["rev-parse", "--show-toplevel"]).map_err(|why| CliError::usage(why, help))?;
        let prefix = git(&current, &["rev-parse", "--show-prefix"]).map_err(|why| CliError::usage(why, help))?;
        Ok(Self { root: root.into(), current, prefix: prefix.into() })
    }

    /// The commit of a branch, a tag or a commit's name.
    pub fn commit(&self, reference: &str) -> Result<String, CliError> {
        let wanted = format!("{reference}^{{commit}}");
        // A name that begins with a dash would be an option to git.
        git(&self.root, &["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted]).map_err(|_| {
            CliError::usage(
                format!("there is no revision `{reference}` in `{}`", self.root.display()),
                "name a branch, a tag or a commit; in CI fetch it first (`fetch-depth: 0`)",
            )
        })
    }

    /// The folder for worktrees and logs, which is no part of any working tree.
    pub fn store(&self) -> Result<PathBuf, CliError> {
        let common = git(&self.root, &["rev-parse", "--path-format=absolute", "--git-common-dir"])
            .map_err(|why| CliError::environment(why, "git 2.31 or newer is needed"))?;
        let store = Path::new(&common).join(FOLDER);
        fs::create_dir_all(&store)
            .map_err(|error| CliError::environment(format!("could not create `{}`: {error}", store.display()), ""))?;
        Ok(store)
    }

    /// Where the worktree of the revision lies that is kept in `place`.
    pub fn worktree(&self, place: &Path) -> PathBuf {
        place.join(inside(&self.root))
    }

    /// Checks `commit` out in `place`, with its submodules, and returns the worktree.
    ///
    /// A build may reach beyond the repository: `path = "../library"`. So the worktree lies in `place` as the repository
    /// lies in the file system, beside links to what the repository lies beside, at every level.
    pub fn check_out(&self, place: &Path, commit: &str) -> Result<PathBuf, String> {
        self.remove(place);
        let failed = |error: io::Error| format!("could not create `{}`: {error}", place.display());
        fs::create_dir_all(place).map_err(failed)?;
        let mut own = self.root.as_path();
        while let Some(parent) = own.parent() {
            let copy = place.join(inside(parent));
            fs::create_dir_all(&copy).map_err(failed)?;
            // What cannot be listed cannot be used by a build either.
            for entry in fs::read_dir(parent).into_iter().flatten().flatten().filter(|entry| entry.path() != own) {
                let _ = symlink(entry.path(), copy.join(entry.file_name()));
            }
            own = parent;
        }
        let worktree = self.worktree(place);
        let shown = worktree.display().to_string();
        git(&self.root, &["worktree", "add", "--force", "--detach", &shown, commit])?;
        if worktree.join(".gitmodules").is_file() {
            git(&worktree, &["submodule", "update", "--init", "--recursive"])?;
        }
        Ok(worktree)
    }

    /// Takes a worktree away, and what git knows of it.
    pub fn remove(&self, place: &Path) {
        let _ = fs::remove_dir_all(place);
        let _ = git(&self.root, &["worktree", "prune"]);
    }

    /// What the working tree is, in words: its commit, and what differs from it.
    pub fn working_tree(&self) -> Result<String, CliError> {
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

/// A checkout that is taken away again, whatever comes of it.
pub struct Temporary<'a> {
    repository: &'a Repository,
    place: PathBuf,
    /// The worktree.
    pub worktree: PathBuf,
}

impl<'a> Temporary<'a> {
    /// Checks `commit` out in `place`, where a killed process may have left one.
    pub fn check_out(repository: &'a Repository, place: PathBuf, commit: &str) -> Result<Self, String> {
        let owner = owner_file(&place);
        if let Ok(Some(other)) = Owner::of_file(&owner)
            && other != Owner::current()
            && other.life() == Liveness::Alive
        {
            return Err(format!("process {} is building it in `{}`; wait for it", other.process, place.display()));
        }
        Owner::current().sign(&owner).map_err(|error| format!("could not write `{}`: {error}", owner.display()))?;
        let worktree = repository.worktree(&place);
        let temporary = Self { repository, place, worktree };
        repository.check_out(&temporary.place, commit)?;
        Ok(temporary)
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        self.repository.remove(&self.place);
        let _ = fs::remove_file(owner_file(&self.place));
    }
}

/// The file that names the process whose checkout it is.
pub fn owner_file(checkout: &Path) -> PathBuf {
    checkout.with_extension(OWNER_EXTENSION)
}

/// A path from the root of the file system, without that root.
fn inside(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

/// A commit in few letters.
pub fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

/// A command of a build: in the folder, and asked nothing.
pub fn build_command(program: &std::ffi::OsStr, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null());
    for variable in GIT_VARIABLES {
        command.env_remove(variable);
    }
    command
}

/// Carries a build command out; on failure its last lines are the reason.
pub fn run_build(build: &str, folder: &Path, log: &Path) -> Result<(), String> {
    let unusable = |error: io::Error| format!("`{}` cannot be used for its output: {error}", log.display());
    let mut output =
        OpenOptions::new().create(true).truncate(true).read(true).write(true).open(log).map_err(unusable)?;
    let streams = (output.try_clone().map_err(unusable)?, output.try_clone().map_err(unusable)?);
    let status = build_command("sh".as_ref(), folder)
        .args(["-c", build])
        .stdout(streams.0)
        .stderr(streams.1)
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
pub struct Lock(File);

impl Lock {
    /// Waits until nobody else holds it.
    pub fn take(path: &Path) -> io::Result<Self> {
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

/// Runs git in a folder; its standard output, or what it complained about.
pub fn git(folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(arguments).stdin(Stdio::null());
    for variable in GIT_VARIABLES {
        command.env_remove(variable);
    }
    let output = command.output().map_err(|error| format!("could not start git: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        Err(format!("git {} failed: {said}", arguments.first().copied().unwrap_or_default()))
    }
}
