//! Factories whose tables are types: what each of them would write is written here, once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uplift_model::{Table, metric::DerivedMetric};

use crate::{
    contract::{Description, OpenContext, Recovered, Target, TargetError, TargetFactory, not_reopenable},
    settings::{SettingsError, Validated, read, typed},
};

/// A factory whose workload and settings are types. It is a [`TargetFactory`] by that alone: tables are read and validated
/// before they get here, and their schemas come from the types.
///
/// A factory that has a state of its own, or settings that are not known when it is compiled, implements [`TargetFactory`]
/// itself.
pub trait TypedFactory: Sync {
    /// What all variants share: the table `[workload]`.
    type Workload: Validated + JsonSchema;
    /// What a variant is.
    type Settings: Validated + JsonSchema;

    /// The name that scenarios use: "docdb".
    const NAME: &'static str;
    /// One line for `uplift list`.
    const ABOUT: &'static str;

    /// Everything about the target that does not depend on settings. Its schemas are filled in.
    fn description() -> Description;

    /// Metrics that follow from the workload, beside those of [`TypedFactory::description`].
    fn metrics_of(workload: &Self::Workload) -> Vec<DerivedMetric> {
        let _ = workload;
        Vec::new()
    }

    /// The rules that workload and settings have together.
    ///
    /// # Errors
    /// The key that is wrong.
    fn check(workload: &Self::Workload, settings: &Self::Settings) -> Result<(), SettingsError> {
        let _ = (workload, settings);
        Ok(())
    }

    /// As [`TargetFactory::open`].
    ///
    /// # Errors
    /// As there.
    fn open(
        workload: Self::Workload,
        settings: Self::Settings,
        context: OpenContext,
    ) -> Result<Box<dyn Target>, TargetError>;

    /// As [`TargetFactory::can_reopen`].
    ///
    /// # Errors
    /// As there.
    fn can_reopen(workload: &Self::Workload, settings: &Self::Settings) -> Result<(), String> {
        let _ = (workload, settings);
        Err("this target cannot be opened on data that are there".to_owned())
    }

    /// As [`TargetFactory::reopen`].
    ///
    /// # Errors
    /// As there.
    fn reopen(
        workload: Self::Workload,
        settings: Self::Settings,
        context: OpenContext,
    ) -> Result<Box<dyn Recovered>, TargetError> {
        let _ = context;
        Err(not_reopenable(Self::can_reopen(&workload, &settings)))
    }
}

/// A workload without keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoWorkload {}

impl Validated for NoWorkload {}

/// Both tables, held to all of their rules.
fn tables<F: TypedFactory>(workload: &Table, settings: &Table) -> Result<(F::Workload, F::Settings), SettingsError> {
    let (workload, settings) = read(workload, settings)?;
    F::check(&workload, &settings)?;
    Ok((workload, settings))
}

fn tables_of<F: TypedFactory>(context: &OpenContext) -> Result<(F::Workload, F::Settings), TargetError> {
    tables::<F>(&context.workload, &context.settings).map_err(|error| TargetError::new("reading the scenario", error))
}

impl<F: TypedFactory> TargetFactory for F {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn about(&self) -> &'static str {
        F::ABOUT
    }

    fn describe(&self) -> Description {
        Description {
            workload_schema: schemars::schema_for!(F::Workload).to_value(),
            settings_schema: schemars::schema_for!(F::Settings).to_value(),
            ..F::description()
        }
    }

    fn workload_metrics(&self, workload: &Table) -> Vec<DerivedMetric> {
        // A workload that cannot be read is complained about where it is validated.
        typed("workload", workload).map_or_else(|_| Vec::new(), |workload| F::metrics_of(&workload))
    }

    fn validate(&self, workload: &Table, settings: &Table) -> Result<(), SettingsError> {
        tables::<F>(workload, settings).map(drop)
    }

    fn open(&self, context: OpenContext) -> Result<Box<dyn Target>, TargetError> {
        let (workload, settings) = tables_of::<F>(&context)?;
        <F as TypedFactory>::open(workload, settings, context)
    }

    fn can_reopen(&self, workload: &Table, settings: &Table) -> Result<(), String> {
        let (workload, settings) = tables::<F>(workload, settings).map_err(|error| error.to_string())?;
        <F as TypedFactory>::can_reopen(&workload, &settings)
    }

    fn reopen(&self, context: OpenContext) -> Result<Box<dyn Recovered>, TargetError> {
        let (workload, settings) = tables_of::<F>(&context)?;
        <F as TypedFactory>::reopen(workload, settings, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Shards;

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        shards: u32,
    }

    impl Validated for Settings {}

    impl TypedFactory for Shards {
        type Workload = NoWorkload;
        type Settings = Settings;
        const NAME: &'static str = "shards";
        const ABOUT: &'static str = "for this test";

        fn description() -> Description {
            Description::default()
        }

        fn check(_: &NoWorkload, settings: &Settings) -> Result<(), SettingsError> {
            match settings.shards {
                0 => Err(SettingsError::new("settings", "shards", "shards must be at least 1, got 0")),
                _ => Ok(()),
            }
        }

        fn open(_: NoWorkload, _: Settings, _: OpenContext) -> Result<Box<dyn Target>, TargetError> {
            Err(TargetError::engine("opening", "it opens nothing"))
        }
    }

    fn table(value: serde_json::Value) -> Table {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_typed_factory_is_a_factory() {
        let factory: &dyn TargetFactory = &Shards;
        let none = Table::new();
        let settings = |shards: i32| table(serde_json::json!({ "shards": shards }));
        assert_eq!(factory.name(), "shards");
        assert_eq!(factory.describe().settings_schema["properties"]["shards"]["type"], "integer");
        assert_eq!(factory.validate(&none, &settings(1)), Ok(()));
        assert_eq!(factory.validate(&none, &settings(0)).unwrap_err().keys, ["shards"], "a rule of both tables");
        assert_eq!(factory.validate(&none, &none).unwrap_err().table, "settings");
        let unknown = factory.validate(&table(serde_json::json!({ "share": 1 })), &settings(1)).unwrap_err();
        assert_eq!((unknown.table, unknown.keys), ("workload", vec!["share".to_owned()]));
        assert!(factory.can_reopen(&none, &settings(1)).unwrap_err().contains("cannot be opened on data"));
        assert!(factory.can_reopen(&none, &settings(0)).unwrap_err().contains("shards must be"));
    }
}
