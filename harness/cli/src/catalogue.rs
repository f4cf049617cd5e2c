//! The scenario files: found, read, selected, and checked against their targets.

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use uplift_analysis::replication;
use uplift_engine::optional_file::read_optional;
use uplift_model::{Scenario, ScenarioError, metric_names::ByMetric, scenario::Bound};
use uplift_sdk::{Description, SettingsError, TargetFactory};

use crate::{
    args::SelectionArgs,
    error::{CliError, pointer, suggestion},
    overrides,
};

/// A scenario with its file, checked.
#[derive(Clone)]
pub struct Entry {
    /// The scenario, overrides applied.
    pub scenario: Scenario,
    /// What its target says of itself.
    pub description: Description,
}

impl Entry {
    /// Makes `metric` the one that decides.
    pub fn decide_by(&mut self, metric: &str) -> Result<(), CliError> {
        let known = uplift_analysis::metrics::known_names(
            self.description.operations.iter().map(AsRef::as_ref),
            self.description.metrics.iter().map(|metric| metric.spec.name.as_ref()),
        );
        if !known.iter().any(|known| known == metric) {
            return Err(CliError::usage(
                format!("--metric: `{}` has no metric `{metric}`", self.scenario.name),
                &suggestion(metric, known.iter().map(String::as_str)),
            ));
        }
        metric.clone_into(&mut self.scenario.primary);
        Ok(())
    }
}

/// Everything in the scenario folder.
pub struct Catalogue {
    /// The scenarios, by name.
    pub entries: Vec<Entry>,
}

impl Catalogue {
    /// Reads the scenarios that `selection` means (all, where it names none).
    pub fn read(selection: &SelectionArgs, targets: &[&'static dyn TargetFactory]) -> Result<Self, CliError> {
        let root = folder(selection.place.scenario_dir.as_deref())?;
        let files = files(&root)?;
        if files.is_empty() {
            return Err(CliError::usage(
                format!("`{}` holds no scenario", root.display()),
                "a scenario is a file `<target>/<name>.toml`; scenarios/README.md describes the format",
            ));
        }
        let chosen = select(&files, &selection.scenarios, targets)?;
        let common = common_gate(&root)?;
        let mut entries = Vec::new();
        for file in chosen {
            let mut entry = read_one(file, &selection.place.overrides, targets)?;
            sources_exist(&root, &entry.scenario)?;
            for (metric, bound) in &common {
                entry.scenario.gate.entry(metric.clone()).or_insert_with(|| bound.clone());
            }
            entries.push(entry);
        }
        Ok(Self { entries })
    }
}

/// A claim whose `source` names a document must be checkable: the document's figures stand in `sources/`. What is no
/// file's name (a title, an address) is left as it is.
fn sources_exist(root: &Path, scenario: &Scenario) -> Result<(), CliError> {
    for claim in &scenario.claims {
        let path = root.join("sources").join(&claim.source);
        if claim.source.ends_with(".md") && !path.is_file() {
            return Err(CliError::usage(
                format!("`{}`: a claim names the source `{}`, which does not exist", scenario.name, claim.source),
                &format!("write its title, date and figures into `{}`", path.display()),
            ));
        }
    }
    Ok(())
}

/// Thresholds of `gate.toml`, for every scenario that has no rule of its own for a metric. Only metrics that every
/// target has can be named there.
fn common_gate(root: &Path) -> Result<BTreeMap<String, Bound>, CliError> {
    let path = root.join("gate.toml");
    let shown = path.display().to_string();
    let text = match read_optional(&path) {
        Ok(Some(text)) => text,
        Ok(None) => return Ok(BTreeMap::new()),
        Err(error) => {
            return Err(CliError::usage(
                format!("could not read the rules in `{shown}`: {error}"),
                "make it a file that can be read, or remove it: without it only the scenarios' own [gate] tables hold",
            ));
        }
    };
    let ByMetric(rules) = toml::from_str(&text).map_err(|error| ScenarioError::from_toml(&shown, &text, &error))?;
    let known = uplift_analysis::metrics::known_names(std::iter::empty(), std::iter::empty());
    for name in rules.keys() {
        if !known.contains(name) {
            let near = suggestion(name, known.iter().map(String::as_str));
            return Err(
                ScenarioError::at(&shown, &text, &[name], format!("no target has a metric `{name}`"), &near).into()
            );
        }
    }
    Ok(rules)
}

#[derive(Clone, Debug)]
struct ScenarioFile {
    name: String,
    path: PathBuf,
}

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
    let here = std::env::current_dir()
        .map_err(|error| CliError::environment(format!("could not find the current folder: {error}"), ""))?;
    here.ancestors().map(|folder| folder.join("scenarios")).find(|folder| folder.is_dir()).ok_or_else(|| {
        CliError::usage(
            format!("there is no folder `scenarios` in `{}` or above it", here.display()),
            "run uplift inside its repository, or name the folder with --scenario-dir",
        )
    })
}

fn files(root: &Path) -> Result<Vec<ScenarioFile>, CliError> {
    let unreadable = |path: &Path, error: std::io::Error| {
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
                found.push(ScenarioFile { name: format!("{folder}/{stem}"), path });
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

fn select<'a>(
    files: &'a [ScenarioFile],
    asked: &[String],
    targets: &[&'static dyn TargetFactory],
) -> Result<Vec<&'a ScenarioFile>, CliError> {
    if asked.is_empty() {
        return Ok(files.iter().filter(|file| has_target(file, targets)).collect());
    }
    let mut chosen: Vec<&ScenarioFile> = Vec::new();
    for word in asked {
        let stem = |file: &ScenarioFile| file.name.split('/').nth(1) == Some(word);
        let of_target = |file: &ScenarioFile| file.name.split('/').next() == Some(word);
        let mut matches: Vec<&ScenarioFile> = files.iter().filter(|file| &file.name == word).collect();
        if matches.is_empty() {
            matches = files.iter().filter(|file| of_target(file)).collect();
        }
        if matches.is_empty() {
            matches = files.iter().filter(|file| stem(file)).collect();
            if matches.len() > 1 {
                let names: Vec<&str> = matches.iter().map(|file| file.name.as_str()).collect();
                return Err(CliError::usage(
                    format!("`{word}` is the name of several scenarios: {}", names.join(", ")),
                    "name the target as well, as in the list",
                ));
            }
        }
        if matches.is_empty() {
            let known = files
                .iter()
                .flat_map(|file| [Some(file.name.as_str()), file.name.split('/').next(), file.name.split('/').nth(1)])
                .flatten();
            return Err(CliError::usage(
                format!("there is no scenario `{word}`"),
                &pointer(word, known, "`uplift list` shows them all"),
            ));
        }
        for file in matches {
            if !chosen.iter().any(|known| known.name == file.name) {
                chosen.push(file);
            }
        }
    }
    Ok(chosen)
}

fn has_target(file: &ScenarioFile, targets: &[&'static dyn TargetFactory]) -> bool {
    file.name.split('/').next().is_some_and(|name| targets.iter().any(|target| target.name() == name))
}

fn read_one(file: &ScenarioFile, sets: &[String], targets: &[&'static dyn TargetFactory]) -> Result<Entry, CliError> {
    let path = file.path.display().to_string();
    let text = fs::read_to_string(&file.path).map_err(|error| {
        let message = format!("could not read the scenario `{path}`: {error}");
        match error.kind() {
            ErrorKind::InvalidData => CliError::usage(message, "save it as UTF-8 text"),
            _ => CliError::environment(message, "make it a file that can be read, or take it out of the folder"),
        }
    })?;
    parse(&file.name, &path, &text, sets, targets)
}

/// Reads a scenario from its text and checks it against its target; `path` says where the text is from.
pub fn parse(
    name: &str,
    path: &str,
    text: &str,
    sets: &[String],
    targets: &[&'static dyn TargetFactory],
) -> Result<Entry, CliError> {
    let mut scenario = Scenario::parse(name, path, text)?;
    overrides::apply(&mut scenario, sets)?;
    let Some(factory) = targets.iter().find(|factory| factory.name() == scenario.target) else {
        let near = suggestion(&scenario.target, targets.iter().map(|factory| factory.name()));
        let message = format!("there is no target `{}` in this binary", scenario.target);
        return Err(ScenarioError::at(path, text, &["target"], message, &near).into());
    };
    if name.split('/').next() != Some(scenario.target.as_str()) {
        let message = format!("a scenario of target `{}` must stand in the folder `{0}`", scenario.target);
        return Err(
            ScenarioError::at(path, text, &["target"], message, "move the file, or name the folder's target").into()
        );
    }
    for variant in &scenario.variants {
        factory
            .validate(&scenario.workload, &variant.settings)
            .map_err(|error| pin(&error, &variant.name, path, text, sets))?;
    }
    let description = factory.describe_workload(&scenario.workload);
    check_metrics(&scenario, &description, path, text)?;
    Ok(Entry { scenario, description })
}

/// Points at the line where the key stands that a target complained about.
fn pin(error: &SettingsError, variant: &str, path: &str, text: &str, sets: &[String]) -> CliError {
    let keys: Vec<&str> = error.keys.iter().map(String::as_str).collect();
    let key = keys.join(".");
    let message = if key.is_empty() { error.message.clone() } else { format!("`{key}`: {}", error.message) };
    let help = "scenarios/README.md and `uplift list --targets` say what every target accepts";
    let first = keys.first().copied().unwrap_or_default();
    if sets.iter().any(|set| set.split('=').next().is_some_and(|name| name.trim_start_matches("workload.") == first)) {
        return CliError::usage(format!("--set {first}: {}", error.message), help);
    }
    let own: Vec<&str> = ["variants", variant].into_iter().chain(keys.iter().copied()).collect();
    let places: Vec<Vec<&str>> = if error.table == "workload" {
        vec![["workload"].into_iter().chain(keys.iter().copied()).collect()]
    } else {
        vec![own, ["settings"].into_iter().chain(keys.iter().copied()).collect()]
    };
    // The deeper of the two places is where the key really stands.
    let table: toml::Table = toml::from_str(text).unwrap_or_default();
    let stands = |keys: &[&str]| {
        let mut value = toml::Value::Table(table.clone());
        keys.iter().all(|key| match value.get(*key) {
            Some(inner) => {
                value = inner.clone();
                true
            }
            None => false,
        })
    };
    let place = places.iter().find(|keys| stands(keys)).unwrap_or(&places[0]);
    if error.message.starts_with("unknown field") {
        return ScenarioError::at_key(path, text, place, error.message.clone(), help).into();
    }
    ScenarioError::at(path, text, place, message, help).into()
}

fn check_metrics(scenario: &Scenario, description: &Description, path: &str, text: &str) -> Result<(), CliError> {
    // Every scenario can be run in containers.
    let boxed = uplift_docker::metrics();
    let known = uplift_analysis::metrics::known_names(
        description.operations.iter().map(AsRef::as_ref),
        description.metrics.iter().chain(&boxed).map(|metric| metric.spec.name.as_ref()),
    );
    let complain = |keys: &[&str], name: &str| -> CliError {
        let near = suggestion(name, known.iter().map(String::as_str));
        let message = format!("target `{}` has no metric `{name}`", scenario.target);
        ScenarioError::at(path, text, keys, message, &near).into()
    };
    let has = |name: &str| known.iter().any(|known| known == name);
    if !has(&scenario.primary) {
        return Err(complain(&["primary"], &scenario.primary));
    }
    for (table, names) in [("expect", scenario.expect.keys()), ("gate", scenario.gate.keys())] {
        for name in names {
            if !has(name) {
                return Err(complain(&[table, name], name));
            }
        }
    }
    for claim in &scenario.claims {
        if !claim.metric.is_empty() && !has(&claim.metric) {
            return Err(complain(&["claims"], &claim.metric));
        }
        if let Some(unknown) = claim.profile.iter().find(|name| !replication::knows_category(name)) {
            let message = format!("a claim names `{unknown}`, which is no category of a profile");
            let near = suggestion(unknown, replication::category_names());
            return Err(ScenarioError::at(path, text, &["claims"], message, &near).into());
        }
    }
    Ok(())
}
