//! From a line of a scenario to a process that can be started.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::words::{self, Placeholders};

/// Everything around the lines of a variant.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The shell, where lines are given to one.
    pub shell: Option<String>,
    /// Environment beside that of the agent.
    pub env: BTreeMap<String, String>,
    /// Working folder, where it is not the agent's.
    pub dir: Option<PathBuf>,
}

/// Where the three streams of a process go.
#[derive(Clone, Copy, Debug)]
pub struct Streams<'a> {
    /// The file that is standard input.
    pub input: Option<&'a str>,
    /// "null", "pipe", or a file.
    pub output: &'a str,
}

impl Surroundings {
    /// The process that `line` means.
    ///
    /// # Errors
    /// A line that is no command, or a file that cannot be opened: a sentence.
    pub fn command(&self, line: &str, filled: &Placeholders<'_>, streams: Streams<'_>) -> Result<Command, String> {
        let mut command = match &self.shell {
            Some(shell) => {
                let mut command = Command::new(shell);
                command.arg("-c").arg(filled.fill(line));
                command
            }
            None => {
                let words = words::split(line)?;
                let mut words = words.iter().map(|word| filled.fill(word));
                let mut command = Command::new(self.program(&words.next().unwrap_or_default()));
                command.args(words);
                command
            }
        };
        command.envs(self.env.iter().map(|(name, value)| (name, filled.fill(value))));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command.stdin(match streams.input {
            None => Stdio::null(),
            Some(input) => {
                let input = filled.fill(input);
                File::open(self.here(&input))
                    .map_err(|error| format!("the input `{input}` cannot be opened: {error}"))?
                    .into()
            }
        });
        command.stdout(match streams.output {
            "null" => Stdio::null(),
            "pipe" => Stdio::piped(),
            file => {
                let file = filled.fill(file);
                let opened = OpenOptions::new().create(true).append(true).open(self.here(&file));
                opened.map_err(|error| format!("the output `{file}` cannot be opened: {error}"))?.into()
            }
        });
        command.stderr(Stdio::piped());
        Ok(command)
    }

    /// A path as the process sees it.
    pub fn here(&self, path: &str) -> PathBuf {
        self.dir.as_ref().map_or_else(|| PathBuf::from(path), |dir| dir.join(path))
    }

    /// The program as it is given to the system: one that is named with a folder is meant from the working folder.
    fn program(&self, name: &str) -> PathBuf {
        if name.contains('/') { self.here(name) } else { PathBuf::from(name) }
    }

    /// Where the program of `line` is; `None` where only the shell knows.
    ///
    /// # Errors
    /// Why it cannot be run: a sentence.
    pub fn find(&self, line: &str, filled: &Placeholders<'_>) -> Result<Option<PathBuf>, String> {
        let name = match &self.shell {
            Some(shell) => shell.clone(),
            None => filled.fill(&words::split(line)?[0]),
        };
        let found = if name.contains('/') {
            let path = self.here(&name);
            match fs::metadata(&path) {
                Ok(found) if found.is_dir() => return Err(format!("`{name}` is a folder, not a program")),
                Ok(found) if found.permissions().mode() & 0o111 == 0 => {
                    return Err(format!(
                        "`{name}` is not executable; run `chmod +x {name}`, or name the program that reads it"
                    ));
                }
                Ok(_) => path,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(format!(
                        "there is no program `{name}`; name one that exists, from the folder `{}`",
                        self.shown_dir()
                    ));
                }
                Err(error) => return Err(format!("`{name}` cannot be looked at: {error}")),
            }
        } else {
            let path = self.env.get("PATH").map(Into::into).or_else(|| env::var_os("PATH")).unwrap_or_default();
            in_path(&name, &path).ok_or_else(|| {
                let near = if self.here(&name).is_file() {
                    format!("write `./{name}` for the file of the working folder")
                } else {
                    "install it, or name it with its folder".to_owned()
                };
                format!("there is no program `{name}` in PATH; {near}")
            })?
        };
        Ok(self.shell.is_none().then_some(found))
    }

    fn shown_dir(&self) -> String {
        let dir = self.dir.clone().or_else(|| env::current_dir().ok()).unwrap_or_default();
        dir.display().to_string()
    }
}

/// The program `name` in the folders of `path`, or of the agent's own PATH.
pub fn in_search_path(name: &str, path: Option<&str>) -> Option<PathBuf> {
    let path = path.map(Into::into).or_else(|| env::var_os("PATH")).unwrap_or_default();
    in_path(name, &path)
}

fn in_path(name: &str, path: &OsStr) -> Option<PathBuf> {
    let runs =
        |path: &Path| fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    env::split_paths(path).map(|folder| folder.join(name)).find(|path| runs(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_cannot_be_run_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("our-script"), "echo").unwrap();
        let here = Surroundings { shell: None, env: BTreeMap::new(), dir: Some(folder.path().to_owned()) };
        let filled = Placeholders { data: folder.path(), block: folder.path(), seed: 1, run: 0 };
        let find = |line: &str| here.find(line, &filled);
        assert!(find("./missing -x").unwrap_err().contains("there is no program `./missing`"));
        assert!(find("./our-script").unwrap_err().contains("chmod +x"));
        assert!(find("our-script").unwrap_err().contains("write `./our-script`"));
        assert!(find("surely-not-installed").unwrap_err().contains("in PATH"));
        assert!(find(&format!("{}/", folder.path().display())).unwrap_err().contains("is a folder"));
        assert!(find("sh -c true").unwrap().unwrap().ends_with("sh"));
    }
}
