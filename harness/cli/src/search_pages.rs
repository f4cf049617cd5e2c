//! What a search leaves in its folder beside its runs: one file with what was found, from which its pages are made again.

use std::{
    fs,
    path::{Path, PathBuf},
};

use uplift_engine::{optional_file::list_optional, store::write_whole};
use uplift_report::{
    document::{Block, Document, Figure},
    plots::Plot,
    render::{html, markdown},
};

use crate::{cmd, error::CliError};

/// The pages of a search.
pub struct SearchPages {
    /// Names its files: `saturation` is in `saturation.json`, `saturation.md` and `saturation.html`.
    pub stem: &'static str,
    /// What was found, for programs, and for making the pages again.
    pub json: String,
    /// What was found, for people.
    pub document: Document,
    /// Plots that stand in the pages after the first block; their paths are within the folder.
    pub plots: Vec<Plot>,
    /// The line below the title of the page.
    pub about: &'static str,
}

impl SearchPages {
    /// Writes every file, and gives the page.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, CliError> {
        let mut document = self.document.clone();
        if let Some(section) = document.sections.first_mut() {
            for plot in self.plots.iter().rev() {
                let figure = Figure { path: plot.path.clone(), description: plot.description.clone() };
                let at = section.blocks.len().min(1);
                section.blocks.insert(at, Block::Figure(figure));
            }
        }
        for plot in &self.plots {
            write(&folder.join(&plot.path), &plot.file())?;
        }
        write(&folder.join(format!("{}.json", self.stem)), &self.json)?;
        write(&folder.join(format!("{}.md", self.stem)), &markdown::document(&document))?;
        let page = folder.join(format!("{}.html", self.stem));
        write(&page, &html::page(&document, &self.plots, self.about))?;
        Ok(page)
    }
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| write_whole(path, text.as_bytes()));
    written.map_err(|error| {
        let message = format!("could not write `{}`: {error}", path.display());
        CliError::environment(message, "name another folder with --out")
    })
}

/// Makes the pages of a search again from its folder.
pub type Rebuild = fn(&Path) -> Result<SearchPages, CliError>;

/// The file that each kind of search leaves, and who reads it.
const KINDS: [(&str, Rebuild); 1] = [(cmd::crossover::RECORD_FILE, cmd::crossover::rebuild)];

/// A search on disk.
pub struct StoredSearch {
    /// Its folder.
    pub folder: PathBuf,
    rebuild: Rebuild,
}

impl StoredSearch {
    /// The search that `word` means: a folder, or the name (or its unique beginning) of one in `out`.
    pub fn find(word: &str, out: &Path) -> Option<Self> {
        let exact = [PathBuf::from(word), out.join(word)].into_iter().find_map(Self::of);
        exact.or_else(|| {
            let entries = list_optional(out).unwrap_or_default();
            let begins = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(word));
            let mut found = entries.iter().map(|entry| entry.path()).filter(begins);
            // Of several one cannot be meant, be they searches or runs.
            let (first, second) = (found.next()?, found.next());
            second.map_or_else(|| Self::of(first), |_| None)
        })
    }

    fn of(folder: PathBuf) -> Option<Self> {
        let (_, rebuild) = KINDS.into_iter().find(|(file, _)| folder.join(file).is_file())?;
        Some(Self { folder, rebuild })
    }

    /// Its pages, from what was recorded.
    pub fn pages(&self) -> Result<SearchPages, CliError> {
        (self.rebuild)(&self.folder)
    }
}

/// Reads what a search found. What cannot be read is said with the file.
pub fn read_record(folder: &Path, file: &str) -> Result<serde_json::Value, CliError> {
    let path = folder.join(file);
    let unreadable = |why: String| {
        let message = format!("could not read `{}`: {why}", path.display());
        CliError::environment(message, "the runs of the search are beside it: `uplift show` prints each")
    };
    let text = fs::read(&path).map_err(|error| unreadable(error.to_string()))?;
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
    match value["schema"].as_u64() {
        Some(1) => Ok(value),
        Some(newer) => Err(unreadable(format!("its schema is {newer}, and this uplift knows 1"))),
        None => Err(unreadable("it has no schema".to_owned())),
    }
}

/// That a record lacks something.
pub fn lacking(folder: &Path, file: &str, what: &str) -> CliError {
    CliError::environment(
        format!("`{}` lacks {what}, which its pages need", folder.join(file).display()),
        "measure again; the runs of the search that are beside it stay readable",
    )
}
