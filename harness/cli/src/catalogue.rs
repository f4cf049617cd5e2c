//! The scenario files: found, read, selected, and checked against their targets.

use std::{collections::BTreeMap, io::ErrorKind};

use uplift_analysis::replication;
use uplift_model::{Scenario, ScenarioError, metric_names::ByMetric, scenario::Bound};
use uplift_sdk::{Description, SettingsError, TargetFactory};

use crate::{
    args::SelectionArgs,
    error::{CliError, pointer, suggestion},
    overrides,
    scenario_files::{Place, ScenarioFile},
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
        let place = Place::find(selection.place.scenario_dir.as_deref())?;
        let files = place.files()?;
        if files.is_empty() {
            return Err(CliError::usage(
                format!("`{place}` holds no scenario"),
                "a scenario is a file `<target>/<name>.toml`; scenarios/README.md describes the format",
            ));
        }
        let chosen = select(&files, &selection.scenarios, targets)?;
        let common = common_gate(&place)?;
        let mut entries = Vec::new();
        for file in chosen {
            let mut entry = read_one(file, &selection.place.overrides, targets)?;
            sources_exist(&place, &entry.scenario)?;
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
fn sources_exist(place: &Place, scenario: &Scenario) -> Result<(), CliError> {
    for claim in &scenario.claims {
        let name = format!("sources/{}", claim.source);
        if claim.source.ends_with(".md") && !place.has(&name) {
            return Err(CliError::usage(
                format!("`{}`: a claim names the source `{}`, which does not exist", scenario.name, claim.source),
                &format!("write its title, date and figures into `{place}/{name}`"),
            ));
        }
    }
    Ok(())
}

/// Thresholds of `gate.toml`, for every scenario that has no rule of its own for a metric. Only metrics that every
/// target has can be named there.
fn common_gate(place: &Place) -> Result<BTreeMap<String, Bound>, CliError> {
    let shown = format!("{place}/gate.toml");
    let text = match place.text("gate.toml") {
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
    let path = file.path();
    let text = file.text().map_err(|error| {
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
    let loads = scenario.variants.iter().filter_map(|variant| variant.work.as_ref()).map(|work| &work.load);
    if loads.chain([&scenario.load]).any(|load| load.agents() > 0) && !factory.can_be_shared() {
        let message = format!("the target `{}` cannot be driven by several agents", scenario.target);
        return Err(ScenarioError::at(path, text, &["load", "agents"], message, "leave `agents` out").into());
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
