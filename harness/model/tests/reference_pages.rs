//! The reference pages of the book say what the registry and the schema say: both are generated from them.
//!
//! `UPLIFT_BLESS=1 cargo test -p uplift-model --test reference_pages` writes them again.

use std::{env, fmt::Write as _, fs, path::Path};

use serde_json::Value;
use uplift_model::{
    Better, MetricClass,
    registry::{KIND_SUFFIXES, METRICS, MetricGroup},
    scenario::json_schema,
};

/// Compares a page of the book with what is generated, or writes it.
fn check(name: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    if env::var_os("UPLIFT_BLESS").is_some() {
        fs::write(&path, generated).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == generated,
        "docs/{name} is not what is generated: UPLIFT_BLESS=1 cargo test -p uplift-model --test reference_pages"
    );
}

/// A text as the cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|").replace('<', "&lt;")
}

#[test]
fn the_page_of_metrics_is_the_registry() {
    let mut page = String::from(
        "# Metrics\n\n<!-- Generated: UPLIFT_BLESS=1 cargo test -p uplift-model --test reference_pages -->\n\n\
         What the harness measures of every target, in the order of a report. ↑: more is better, ↓: less is better. A target's own\n\
         metrics stand in its README, and `uplift list --targets` prints them.\n\n\
         | class | how it is compared |\n|---|---|\n\
         | time | depends on the machine's speed: by intervals over blocks |\n\
         | counter | counts of what the program did: directly, where its spread is under 0.5 % |\n\
         | proportion | a share of attempts: by the difference of shares, clustered by block |\n\
         | info | shown, never judged |\n",
    );
    for group in MetricGroup::ALL {
        let mut entries = METRICS.iter().filter(|entry| entry.group == group).peekable();
        if entries.peek().is_none() {
            continue;
        }
        let _ = write!(page, "\n## {}\n\n| metric | unit | class | what it is |\n|---|---|---|---|\n", group.title());
        for entry in entries {
            let arrow = match entry.better {
                Better::Higher => " ↑",
                Better::Lower => " ↓",
                Better::Neither => "",
            };
            let class = match entry.class {
                MetricClass::Time => "time",
                MetricClass::Counter => "counter",
                MetricClass::Proportion => "proportion",
                MetricClass::Info => "info",
            };
            let unit = entry.unit.symbol();
            let _ = writeln!(page, "| `{}`{arrow} | {} | {class} | {} |", entry.id, cell(unit), cell(entry.about));
        }
    }
    let suffixes = KIND_SUFFIXES.map(|suffix| format!("`KIND{suffix}`")).join(", ");
    let _ = write!(page, "\nWhere a target has several kinds of operation, each has {suffixes} besides.\n");
    check("METRICS.md", &page);
}

/// The rows of a table's keys.
fn keys(page: &mut String, schema: &Value) {
    page.push_str("\n| key | default | what it is |\n|---|---|---|\n");
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let default = match &property["default"] {
            _ if required.contains(&key.as_str()) => "**required**".to_owned(),
            Value::Null => String::new(),
            Value::Object(table) if table.is_empty() => "none".to_owned(),
            Value::Array(items) if items.is_empty() => "none".to_owned(),
            Value::String(text) if text.is_empty() => "none".to_owned(),
            Value::Object(_) => "see below".to_owned(),
            value => format!("`{value}`"),
        };
        let what = match property["const"].as_str() {
            Some(only) => format!("`\"{only}\"`"),
            None => cell(property["description"].as_str().unwrap_or_default()),
        };
        let _ = writeln!(page, "| `{key}` | {default} | {what} |");
    }
}

#[test]
fn the_page_of_keys_is_the_schema() {
    let schema = json_schema();
    let mut page = String::from(
        "# Keys of a scenario file\n\n<!-- Generated: UPLIFT_BLESS=1 cargo test -p uplift-model --test reference_pages -->\n\n\
         Every key that the harness reads. `[workload]`, `[settings]` and the tables of variants are the target's:\n\
         `uplift list --targets` prints theirs.\n",
    );
    keys(&mut page, &schema);
    let tables = [
        ("Load", "`[load]`"),
        ("Phase", "`[[load.phases]]`"),
        ("TrialSpec", "`[trial]`"),
        ("DiskFile", "`[disk]`, `[claims_disk]`"),
        ("Claim", "`[[claims]]`"),
    ];
    for (name, title) in tables {
        let definition = &schema["$defs"][name];
        assert!(definition.is_object(), "{name} is no definition of the schema any more");
        let _ = write!(page, "\n## {title}\n");
        match definition["oneOf"].as_array() {
            Some(kinds) => {
                for kind in kinds {
                    let _ = write!(page, "\n{}\n", cell(kind["description"].as_str().unwrap_or_default()));
                    keys(&mut page, kind);
                }
            }
            None => keys(&mut page, definition),
        }
    }
    check("SCENARIO_KEYS.md", &page);
}
