//! What searches leave behind: their record, and the pages that are rebuilt from it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use uplift_engine::{optional_file::list_optional, store::write_whole};
use uplift_model::saturation::{SATURATION_FILE, SATURATION_SCHEMA, SCALABILITY_FILE, Saturation, Scalability};
use uplift_report::{
    build::{Report, saturation, scalability},
    render::{html, markdown},
};

use crate::{args::Format, error::CliError, output::Terminal};

/// A record of a search.
pub enum SearchRecord {
    /// For the highest rate.
    Rates(Box<Saturation>),
    /// Over clients.
    Clients(Scalability),
}

impl SearchRecord {
    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Rates(record) => record.steps.is_empty(),
            Self::Clients(record) => record.points.is_empty(),
        }
    }

    /// Whether it found what was looked for.
    pub fn has_answer(&self) -> bool {
        match self {
            Self::Rates(record) => record.sustained.is_some(),
            Self::Clients(record) => scalability::fitted(record).is_ok(),
        }
    }

    const fn file(&self) -> &'static str {
        match self {
            Self::Rates(_) => SATURATION_FILE,
            Self::Clients(_) => SCALABILITY_FILE,
        }
    }

    /// The record, for programs.
    fn json(&self) -> Result<String, CliError> {
        let value = match self {
            Self::Rates(record) => serde_json::to_value(record),
            Self::Clients(record) => serde_json::to_value(record).map(|mut value| {
                // Computed from the points again whenever the record is read.
                value["fit"] = scalability::json(record);
                value
            }),
        };
        let value = value.map_err(|error| CliError::environment(format!("could not write the record: {error}"), ""))?;
        Ok(format!("{value:#}\n"))
    }

    fn report(&self) -> Report {
        match self {
            Self::Rates(record) => saturation::report(record),
            Self::Clients(record) => scalability::report(record),
        }
    }
}

/// Writes the record and its documents.
pub fn write(folder: &Path, record: &SearchRecord) -> Result<(), CliError> {
    write_file(&folder.join(record.file()), &record.json()?)?;
    write_documents(folder, record)
}

/// Writes `report.md`, `report.html` and the plots.
pub fn write_documents(folder: &Path, record: &SearchRecord) -> Result<(), CliError> {
    let report = record.report();
    for plot in &report.plots {
        write_file(&folder.join(&plot.path), &plot.file())?;
    }
    write_file(&folder.join("report.md"), &markdown::document(&report.document))?;
    let about = match record {
        SearchRecord::Rates(record) if record.objective.is_some() => {
            "a search for the highest rate that holds an objective"
        }
        SearchRecord::Rates(_) => "a search for the highest rate that is sustained",
        SearchRecord::Clients(_) => "throughput over the number of clients",
    };
    write_file(&folder.join("report.html"), &html::page(&report.document, &report.plots, about))
}

/// Prints it in the form that was asked for.
pub fn print(record: &SearchRecord, format: Format, terminal: &Terminal) -> Result<(), CliError> {
    match format {
        Format::Json => terminal.print(&record.json()?),
        format => terminal.show(&record.report().document, format, false),
    }
    Ok(())
}

fn write_file(path: &Path, text: &str) -> Result<(), CliError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .map_err(|error| CliError::environment(format!("could not create `{}`: {error}", folder.display()), ""))?;
    }
    write_whole(path, text.as_bytes())
        .map_err(|error| CliError::environment(format!("could not write `{}`: {error}", path.display()), ""))
}

/// The folder of the search that `word` means: a folder, the name of one in `out`, or the beginning of a name that only one
/// has. `None`: no search is meant.
pub fn find(word: &str, out: &Path) -> Option<PathBuf> {
    let given = PathBuf::from(word);
    if is_search(&given) {
        return Some(given);
    }
    if is_search(&out.join(word)) {
        return Some(out.join(word));
    }
    let entries = list_optional(out).ok()?;
    let mut names: Vec<String> = entries
        .iter()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| out.join(name).is_dir())
        .collect();
    names.sort();
    let named = match word {
        "latest" => names.last(),
        _ => {
            let mut matching = names.iter().filter(|name| name.starts_with(word));
            matching.next().filter(|_| matching.next().is_none())
        }
    }?;
    Some(out.join(named)).filter(|folder| is_search(folder))
}

fn is_search(folder: &Path) -> bool {
    [SATURATION_FILE, SCALABILITY_FILE].iter().any(|file| folder.join(file).is_file())
}

/// Reads the record in a folder.
pub fn load(folder: &Path) -> Result<SearchRecord, CliError> {
    let rates = folder.join(SATURATION_FILE);
    let path = if rates.is_file() { rates } else { folder.join(SCALABILITY_FILE) };
    let broken = |error: &dyn std::fmt::Display| {
        CliError::environment(format!("could not read `{}`: {error}", path.display()), "")
    };
    let text = fs::read_to_string(&path).map_err(|error| broken(&error))?;
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|error| broken(&error))?;
    let schema = value["schema"].as_u64().unwrap_or(0);
    if schema > u64::from(SATURATION_SCHEMA) {
        return Err(CliError::environment(
            format!("`{}` has schema {schema}, and this uplift reads up to {SATURATION_SCHEMA}", path.display()),
            "read it with a newer uplift",
        ));
    }
    if path.ends_with(SATURATION_FILE) {
        serde_json::from_value(value)
            .map(|record| SearchRecord::Rates(Box::new(record)))
            .map_err(|error| broken(&error))
    } else {
        serde_json::from_value(value).map(SearchRecord::Clients).map_err(|error| broken(&error))
    }
}
