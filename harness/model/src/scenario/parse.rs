//! From the text of a scenario file to a validated scenario, part by part.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Bound, Claim, Complaint, Load, SCENARIO_SCHEMA, Scenario, ScenarioError, TrialSpec, VARIANT_RESERVED_KEY, Variant,
    VariantOptions, load::LoadFile, yes,
};
use crate::{
    Table,
    disk::{DiskFile, DiskModel},
    metric_names,
};

/// The file as it is written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ScenarioFile {
    /// 1.
    schema: u32,
    /// The target's name.
    target: String,
    /// One line.
    title: String,
    /// Why anybody should care.
    #[serde(default)]
    story: String,
    /// Whether `compare --quick` measures it where no scenario is named; true where it is not said.
    #[serde(default = "yes")]
    quick: bool,
    /// The metric that decides; "throughput" where it is not said.
    #[serde(default = "throughput", deserialize_with = "metric_names::name")]
    primary: String,
    /// The target's own table.
    #[serde(default)]
    workload: Table,
    /// The load.
    #[serde(default)]
    #[schemars(with = "Load")]
    load: LoadFile,
    /// How trials are taken.
    #[serde(default)]
    trial: TrialSpec,
    /// A disk to model: every sync takes at least so long, for every variant.
    #[serde(default)]
    disk: Option<DiskFile>,
    /// The disk that the published figures come from, for `--disk source`; `source` says how it was estimated.
    #[serde(default)]
    claims_disk: Option<DiskFile>,
    /// Settings that every variant shares.
    #[serde(default)]
    settings: Table,
    /// What must hold for every variant.
    #[serde(default, deserialize_with = "metric_names::keys")]
    expect: BTreeMap<String, Bound>,
    /// The variants: name → settings.
    variants: Table,
    /// Thresholds of the gate.
    #[serde(default, deserialize_with = "metric_names::keys")]
    gate: BTreeMap<String, Bound>,
    /// Published figures.
    #[serde(default)]
    claims: Vec<Claim>,
    /// The steps of a sprint in the order in which they were taken, the baseline first: names of variants.
    #[serde(default)]
    ledger: Vec<String>,
}

fn throughput() -> String {
    "throughput".to_owned()
}

/// The JSON Schema of a scenario file, without what each target adds.
pub fn json_schema() -> Value {
    schemars::schema_for!(ScenarioFile).to_value()
}

impl Scenario {
    /// Reads a scenario from the text of the file `path`; `name` is `target/file stem`.
    ///
    /// # Errors
    /// Every error points at the line and column, says the rule and what is allowed.
    pub fn parse(name: &str, path: &str, text: &str) -> Result<Self, ScenarioError> {
        let file: ScenarioFile = toml::from_str(text).map_err(|error| ScenarioError::from_toml(path, text, &error))?;
        let source = Source { path, text };
        source.check_head(&file)?;
        let load = source.load(file.load)?;
        file.trial.validate().map_err(source.of("trial"))?;
        let disk = source.disk("disk", file.disk)?;
        let claims_disk = source.claims_disk(file.claims_disk)?;
        let variants = source.variants(&file.variants, &file.settings)?;
        source.check_ledger(&file.ledger, &variants)?;
        source.check_claims(&file.claims, &variants)?;
        Ok(Self {
            name: name.to_owned(),
            target: file.target,
            title: file.title,
            story: file.story,
            quick: file.quick,
            primary: file.primary,
            workload: file.workload,
            load,
            trial: file.trial,
            disk,
            claims_disk,
            expect: file.expect,
            variants,
            gate: file.gate,
            claims: file.claims,
            ledger: file.ledger,
        })
    }
}

/// Where a scenario was read, for errors that point into it.
#[derive(Clone, Copy)]
struct Source<'a> {
    path: &'a str,
    text: &'a str,
}

impl<'a> Source<'a> {
    fn at(self, keys: &[&str], message: String, help: &str) -> ScenarioError {
        ScenarioError::at(self.path, self.text, keys, message, help)
    }

    /// Pins what is wrong with a key of `table`.
    fn of(self, table: &'static str) -> impl Fn(Complaint) -> ScenarioError + 'a {
        move |(key, message, help)| self.at(&[table, key], message, help)
    }

    fn check_head(self, file: &ScenarioFile) -> Result<(), ScenarioError> {
        if file.schema != SCENARIO_SCHEMA {
            return Err(self.at(
                &["schema"],
                format!("schema {} is not known: this uplift reads schema {SCENARIO_SCHEMA}", file.schema),
                "write `schema = 1`, or use the uplift that wrote the file",
            ));
        }
        if file.title.trim().is_empty() {
            let help = "say in one line what the scenario measures";
            return Err(self.at(&["title"], "the title is empty".to_owned(), help));
        }
        if file.variants.is_empty() {
            let help = "add a table such as `[variants.baseline]`";
            return Err(self.at(&["variants"], "the scenario has no variant".to_owned(), help));
        }
        Ok(())
    }

    fn load(self, load: LoadFile) -> Result<Load, ScenarioError> {
        let load = load.load().map_err(self.of("load"))?;
        load.validate().map_err(self.of("load"))?;
        Ok(load)
    }

    fn disk(self, table: &'static str, disk: Option<DiskFile>) -> Result<Option<DiskModel>, ScenarioError> {
        disk.map(DiskFile::model).transpose().map_err(self.of(table))
    }

    fn claims_disk(self, disk: Option<DiskFile>) -> Result<Option<DiskModel>, ScenarioError> {
        let disk = self.disk("claims_disk", disk)?;
        if disk.as_ref().is_some_and(|disk| disk.source.is_none()) {
            return Err(self.at(
                &["claims_disk"],
                "the disk of the claims does not say how it was estimated".to_owned(),
                "write `source = \"…\"`: which of the published figures it follows from, and how",
            ));
        }
        Ok(disk)
    }

    /// The variants, each with the settings that all share.
    fn variants(self, tables: &Table, shared: &Table) -> Result<Vec<Variant>, ScenarioError> {
        tables.iter().map(|(name, table)| self.variant(name, table, shared)).collect()
    }

    fn variant(self, name: &str, table: &Value, shared: &Table) -> Result<Variant, ScenarioError> {
        // It names folders and files of a run.
        let fits = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
        if !name.chars().all(fits) || !name.starts_with(|first: char| first.is_ascii_alphanumeric()) {
            return Err(ScenarioError::at_key(
                self.path,
                self.text,
                &["variants", name],
                format!("`{name}` cannot be a variant's name"),
                "write letters, digits, `-`, `_` and `.`, beginning with a letter or a digit",
            ));
        }
        let Value::Object(own) = table else {
            return Err(self.at(
                &["variants", name],
                format!("variant `{name}` is not a table"),
                "write `[variants.name]` and its settings below, or `name = { key = value }`",
            ));
        };
        let mut settings = shared.clone();
        let mut uplift = VariantOptions::default();
        for (key, value) in own {
            if key == VARIANT_RESERVED_KEY {
                uplift = serde_json::from_value(value.clone()).map_err(|error| {
                    self.at(
                        &["variants", name, key],
                        format!("variant `{name}`: {error}"),
                        "known keys: memory_bytes, launch (\"process\" or \"docker\")",
                    )
                })?;
            } else {
                settings.insert(key.clone(), value.clone());
            }
        }
        Ok(Variant { name: name.to_owned(), settings, uplift, work: None })
    }

    /// `wanted` is the name of a variant.
    fn check_known(self, key: &str, what: &str, wanted: &str, variants: &[Variant]) -> Result<(), ScenarioError> {
        if variants.iter().any(|variant| variant.name == wanted) {
            return Ok(());
        }
        let names = variants.iter().map(|variant| variant.name.as_str()).collect::<Vec<_>>().join(", ");
        let message = format!("{what} names `{wanted}`, which is not a variant");
        Err(self.at(&[key], message, &format!("variants here: {names}")))
    }

    fn check_ledger(self, ledger: &[String], variants: &[Variant]) -> Result<(), ScenarioError> {
        for (index, step) in ledger.iter().enumerate() {
            self.check_known("ledger", "the ledger", step, variants)?;
            if ledger[..index].contains(step) {
                let help = "name each variant once, in the order in which the steps were taken";
                return Err(self.at(&["ledger"], format!("the ledger names `{step}` twice"), help));
            }
        }
        if ledger.len() == 1 {
            let help = "name the baseline and what followed it, or leave the key out";
            return Err(self.at(&["ledger"], "a ledger of one step compares nothing".to_owned(), help));
        }
        Ok(())
    }

    fn check_claims(self, claims: &[Claim], variants: &[Variant]) -> Result<(), ScenarioError> {
        for claim in claims {
            if let Some((message, help)) = claim.complaint() {
                return Err(self.at(&["claims"], message, help));
            }
            for variant in [Some(&claim.variant), claim.against.as_ref()].into_iter().flatten() {
                self.check_known("claims", "a claim", variant, variants)?;
            }
        }
        Ok(())
    }
}
