//! `uplift list`: scenarios, targets, schemas.

use serde_json::{Value, json};
use uplift_report::{
    document::{Column, Document, Section, Table, Text},
    render::markdown,
};
use uplift_sdk::TargetFactory;

use crate::{
    args::{Format, ListArgs},
    catalogue::Catalogue,
    error::CliError,
    exit,
    output::Terminal,
};

/// Prints what there is.
pub fn run(args: &ListArgs, targets: &[&'static dyn TargetFactory], terminal: &Terminal) -> Result<u8, CliError> {
    if args.schema {
        let schemas: serde_json::Map<_, _> = targets
            .iter()
            .map(|target| {
                let description = target.describe();
                let schema =
                    json!({ "workload": description.workload_schema, "settings": description.settings_schema });
                (target.name().to_owned(), schema)
            })
            .collect();
        let all = json!({ "scenario": uplift_model::scenario::json_schema(), "targets": schemas });
        terminal.print(&format!("{all:#}"));
        return Ok(exit::OK);
    }
    if args.disks {
        list_disks(args.format, terminal);
        return Ok(exit::OK);
    }
    if args.targets {
        list_targets(targets, terminal);
        return Ok(exit::OK);
    }
    let catalogue = Catalogue::read(&args.selection, targets)?;
    let mut text = String::new();
    match args.format {
        Format::Json => {
            let all: Vec<_> = catalogue
                .entries
                .iter()
                .map(|entry| {
                    let scenario = &entry.scenario;
                    let variants: Vec<&str> = scenario.variants.iter().map(|variant| variant.name.as_str()).collect();
                    json!({ "name": scenario.name, "target": scenario.target, "title": scenario.title, "primary": scenario.primary, "variants": variants })
                })
                .collect();
            text = format!("{:#}", json!(all));
        }
        Format::Markdown => {
            let columns = vec![Column::words("scenario"), Column::words("what it measures"), Column::words("variants")];
            let mut table = Table::new("Scenarios", columns);
            for entry in &catalogue.entries {
                let names: Vec<&str> = entry.scenario.variants.iter().map(|variant| variant.name.as_str()).collect();
                table.row(vec![
                    Text::code(&entry.scenario.name).into(),
                    Text::plain(&entry.scenario.title).into(),
                    Text::plain(names.join(", ")).into(),
                ]);
            }
            let mut section = Section::new("scenarios", "Scenarios");
            section.table(table);
            text = markdown::document(&Document::of(section));
        }
        Format::Table => {
            let mut target = "";
            for entry in &catalogue.entries {
                if entry.scenario.target != target {
                    target = &entry.scenario.target;
                    let about =
                        targets.iter().find(|factory| factory.name() == target).map_or("", |factory| factory.about());
                    text.push_str(&format!("\n{target}: {about}\n"));
                }
                let names: Vec<&str> = entry.scenario.variants.iter().map(|variant| variant.name.as_str()).collect();
                text.push_str(&format!("  {:<34} {}\n", entry.scenario.name, entry.scenario.title));
                text.push_str(&format!("  {:<34} variants: {}\n", "", names.join(", ")));
            }
            text.push_str("\ncompare two variants with `uplift compare BASE CANDIDATE [SCENARIO…]`\n");
        }
    }
    terminal.print(text.trim_start_matches('\n'));
    Ok(exit::OK)
}

/// The words that a property may be, where there are only so many; `schema` holds what it refers to.
fn values<'a>(schema: &'a Value, property: &'a Value) -> Vec<&'a str> {
    let words = |key: &str| property.get(key).and_then(Value::as_array).into_iter().flatten();
    let referred = property
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|path| schema.pointer(path.trim_start_matches('#')))
        .map(|definition| values(schema, definition));
    let mut found: Vec<&str> = words("enum").filter_map(Value::as_str).collect();
    found.extend(property.get("const").and_then(Value::as_str));
    found.extend(referred.into_iter().flatten());
    found.extend(["oneOf", "anyOf"].into_iter().flat_map(words).flat_map(|inner| values(schema, inner)));
    found
}

fn list_targets(targets: &[&'static dyn TargetFactory], terminal: &Terminal) {
    let mut text = String::new();
    for target in targets {
        let description = target.describe();
        text.push_str(&format!("{}: {}\n", target.name(), target.about()));
        for (name, schema) in [("workload", &description.workload_schema), ("settings", &description.settings_schema)] {
            text.push_str(&format!("  {name}:\n"));
            for (key, property) in schema.get("properties").and_then(|value| value.as_object()).into_iter().flatten() {
                let about =
                    property.get("description").and_then(|value| value.as_str()).unwrap_or("").replace('\n', " ");
                let values = values(schema, property);
                let values =
                    if values.is_empty() { String::new() } else { format!(" [one of: {}]", values.join(", ")) };
                let default = match property.get("default") {
                    None | Some(Value::Null) => String::new(),
                    Some(value) => format!(" [default: {value}]"),
                };
                text.push_str(&format!("    {key:<24} {about}{values}{default}\n"));
            }
        }
        let metrics: Vec<String> = description
            .metrics
            .iter()
            .map(|metric| format!("    {:<24} {}\n", metric.spec.name, metric.spec.about))
            .collect();
        if !metrics.is_empty() {
            text.push_str("  metrics of its own:\n");
            text.push_str(&metrics.concat());
        }
        text.push('\n');
    }
    terminal.print(text.trim_end());
}

fn list_disks(format: Format, terminal: &Terminal) {
    let disks = uplift_model::disk::presets();
    if format == Format::Json {
        terminal.print(&format!("{:#}", json!(disks)));
        return;
    }
    let mut text = String::new();
    for disk in disks {
        let source = disk.source.as_deref().unwrap_or_default();
        text.push_str(&format!("{}\n    {source}\n", disk.words()));
    }
    terminal.print(&text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_property_are_found_wherever_they_stand() {
        let schema = json!({
            "properties": {
                "named": { "$ref": "#/$defs/Named" },
                "perhaps": { "anyOf": [{ "$ref": "#/$defs/Named" }, { "type": "null" }] },
                "plain": { "enum": ["x", "y"] },
                "number": { "type": "integer" },
            },
            "$defs": { "Named": { "oneOf": [{ "const": "a" }, { "const": "b" }] } },
        });
        let of = |name: &str| values(&schema, &schema["properties"][name]);
        assert_eq!((of("named"), of("perhaps")), (vec!["a", "b"], vec!["a", "b"]));
        assert_eq!((of("plain"), of("number")), (vec!["x", "y"], vec![]));
    }
}
