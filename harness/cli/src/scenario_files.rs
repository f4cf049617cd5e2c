//! Where scenario files are: in a folder, or in the binary where there is none.

use std::{
    env, fmt, fs, io,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use uplift_engine::optional_file::read_optional;

use crate::error::CliError;

/// Files by their path within the scenario folder, with their text.
pub type Files = &'static [(&'static str, &'static str)];

/// Those of this binary, named before anything else happens.
static EMBEDDED: OnceLock<Files> = OnceLock::new();

/// Takes files as those of this binary.
pub fn embed(files: Files) {
    let _ = EMBEDDED.set(files);
}

/// The files of this binary, unless an agent brings targets that they are not of.
pub fn embedded() -> Files {
    if crate::external::agent().is_some() { &[] } else { EMBEDDED.get().copied().unwrap_or_default() }
}

/// A scenario's file.
#[derive(Clone, Debug)]
pub struct ScenarioFile {
    /// `target/name`.
    pub name: String,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    File(PathBuf),
    Embedded(&'static str),
}

impl ScenarioFile {
    /// Where its text is from, for people.
    pub fn path(&self) -> String {
        match &self.source {
            Source::File(path) => path.display().to_string(),
            Source::Embedded(_) => format!("{}/{}.toml", Place::Embedded(&[]), self.name),
        }
    }

    /// Its text.
    pub fn text(&self) -> io::Result<String> {
        match &self.source {
            Source::File(path) => fs::read_to_string(path),
            Source::Embedded(text) => Ok((*text).to_owned()),
        }
    }
}

/// Where the scenarios are.
pub enum Place {
    /// In a folder.
    Folder(PathBuf),
    /// In the binary.
    Embedded(Files),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::Embedded(_) => f.write_str("(built in)"),
        }
    }
}

impl Place {
    /// The folder that was asked for, else the nearest `scenarios`, else what is in the binary.
    pub fn find(asked: Option<&Path>) -> Result<Self, CliError> {
        let nearest = folder(asked);
        match (asked, nearest, embedded()) {
            (None, Err(_), files) if !files.is_empty() => Ok(Self::Embedded(files)),
            (_, nearest, _) => nearest.map(Self::Folder),
        }
    }

    /// The scenarios, by name.
    pub fn files(&self) -> Result<Vec<ScenarioFile>, CliError> {
        match self {
            Self::Folder(folder) => files(folder),
            Self::Embedded(files) => {
                let scenario = |(path, text): &(&'static str, &'static str)| {
                    let name = path.strip_suffix(".toml").filter(|name| name.contains('/'))?;
                    Some(ScenarioFile { name: name.to_owned(), source: Source::Embedded(text) })
                };
                let mut found: Vec<ScenarioFile> = files.iter().filter_map(scenario).collect();
                found.sort_by(|a, b| a.name.cmp(&b.name));
                Ok(found)
            }
        }
    }

    /// Whether there is a file of this path.
    pub fn has(&self, path: &str) -> bool {
        match self {
            Self::Folder(folder) => folder.join(path).is_file(),
            Self::Embedded(files) => files.iter().any(|(known, _)| *known == path),
        }
    }

    /// The text of a file beside the scenarios; `None` where there is none.
    pub fn text(&self, path: &str) -> io::Result<Option<String>> {
        match self {
            Self::Folder(folder) => read_optional(&folder.join(path)),
            Self::Embedded(files) => {
                Ok(files.iter().find(|(known, _)| *known == path).map(|(_, text)| (*text).to_owned()))
            }
        }
    }
}

/// The folder that was asked for, or the nearest one.
pub fn folder(asked: Option<&Path>) -> Result<PathBuf, CliError> {
    if let Some(asked) = asked {
        if asked.is_dir() {
            return Ok(asked.to_owned());
        }
        return Err(CliError::usage(
            format!("`{}` is not a folder", asked.display()),
            "name the folder that holds `<target>/<name>.toml` files with --scenario-dir",
        ));
    }
    let here = env::current_dir()
        .map_err(|error| CliError::environment(format!("could not find the current folder: {error}"), ""))?;
    here.ancestors().map(|folder| folder.join("scenarios")).find(|folder| folder.is_dir()).ok_or_else(|| {
        CliError::usage(
            format!("there is no folder `scenarios` in `{}` or above it", here.display()),
            "write scenarios there, or name their folder with --scenario-dir; `--cmd` needs none",
        )
    })
}

fn files(root: &Path) -> Result<Vec<ScenarioFile>, CliError> {
    let unreadable = |path: &Path, error: io::Error| {
        CliError::environment(format!("could not read `{}`: {error}", path.display()), "")
    };
    let mut found = Vec::new();
    for target in fs::read_dir(root).map_err(|error| unreadable(root, error))? {
        let target = target.map_err(|error| unreadable(root, error))?.path();
        if !target.is_dir() {
            continue;
        }
        for file in fs::read_dir(&target).map_err(|error| unreadable(&target, error))? {
            let path = file.map_err(|error| unreadable(&target, error))?.path();
            if is_scenario(&path) {
                let folder = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                found.push(ScenarioFile { name: format!("{folder}/{stem}"), source: Source::File(path) });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Whether a file is meant as a scenario: editors and archivers leave hidden files of the same ending, and a pipe would
/// be waited for. What cannot be looked at is taken for one, so that reading it says why.
fn is_scenario(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let ending = path.extension().is_some_and(|extension| extension == "toml");
    ending && !hidden && fs::metadata(path).map_or(true, |found| found.is_file())
}
