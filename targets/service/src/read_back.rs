//! Settings in force, as the service itself tells them, and what a write survives under them.

use std::{collections::BTreeMap, process::Command};

use uplift_sdk::{Durability, durability};

use crate::{
    driver::{Options, ask_once},
    settings::{Protocol, SettingsFrom, Variant, Workload},
};

/// Settings of Redis that say what a write survives.
const REDIS: [&str; 3] = ["appendonly", "appendfsync", "save"];
/// Those of PostgreSQL.
const POSTGRES: [&str; 3] = ["fsync", "synchronous_commit", "full_page_writes"];

/// What is in force.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    /// Name → value.
    pub settings: BTreeMap<String, String>,
    /// What an acknowledged write survives.
    pub durability: Option<Durability>,
    /// Why nothing could be read, where that is so.
    pub missing: Option<String>,
}

/// Asks the service.
pub fn read(workload: &Workload, variant: &Variant, protocol: Protocol, options: &Options) -> InForce {
    let found = match (&workload.settings_from, protocol) {
        (Some(from), _) => other(from, variant, options),
        (None, Protocol::Redis) => redis(variant, options),
        (None, Protocol::Postgres) => postgres(variant, options),
        (None, _) => Err("the service tells its settings nowhere; name a place with `settings_from`".to_owned()),
    };
    let (settings, missing) = match found {
        Ok(settings) => (settings, None),
        Err(why) => (BTreeMap::new(), Some(why)),
    };
    let of = |name: &str| settings.get(name).map(String::as_str);
    let derived = match protocol {
        Protocol::Redis => of("appendonly").map(|appendonly| {
            durability::redis(appendonly, of("appendfsync").unwrap_or_default(), of("save").unwrap_or_default())
        }),
        Protocol::Postgres => of("fsync").map(|fsync| {
            let (commit, pages) = (of("synchronous_commit"), of("full_page_writes"));
            durability::postgres(fsync, commit.unwrap_or_default(), pages.unwrap_or_default())
        }),
        _ => None,
    };
    InForce { settings, durability: derived, missing }
}

fn names<'a>(variant: &'a Variant, always: &[&'a str]) -> Vec<&'a str> {
    let own = variant.own.keys().map(String::as_str).filter(|name| !always.contains(name));
    always.iter().copied().chain(own).collect()
}

fn redis(variant: &Variant, options: &Options) -> Result<BTreeMap<String, String>, String> {
    let mut settings = BTreeMap::new();
    for name in names(variant, &REDIS) {
        // A name and its value; nothing where there is no such setting.
        let answer = ask_once(Protocol::Redis, &format!("CONFIG GET {name}"), options)?;
        if let Some((found, value)) = answer.split_once('\n') {
            settings.insert(found.to_owned(), value.to_owned());
        }
    }
    Ok(settings)
}

fn postgres(variant: &Variant, options: &Options) -> Result<BTreeMap<String, String>, String> {
    let mut settings = BTreeMap::new();
    for name in names(variant, &POSTGRES) {
        let quoted = name.replace('\'', "''");
        let value =
            ask_once(Protocol::Postgres, &format!("SELECT coalesce(current_setting('{quoted}', true), '')"), options)?;
        if !value.is_empty() {
            settings.insert(name.to_owned(), value);
        }
    }
    let version = ask_once(Protocol::Postgres, "SELECT current_setting('server_version')", options)?;
    settings.insert("server_version".to_owned(), version);
    Ok(settings)
}

fn other(from: &SettingsFrom, variant: &Variant, options: &Options) -> Result<BTreeMap<String, String>, String> {
    let text = match from {
        SettingsFrom::Http(path) => ask_once(Protocol::Http, &format!("GET {path}"), options)?,
        SettingsFrom::Command(line) => {
            let line = line.replace("{address}", &options.address.to_string());
            let words = uplift_command::words::split(&line)?;
            let output = Command::new(&words[0])
                .args(&words[1..])
                .output()
                .map_err(|error| format!("`{line}` could not be started: {error}"))?;
            if !output.status.success() {
                return Err(format!("`{line}` ended with {}", output.status));
            }
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
    };
    let all = parse(&text)?;
    Ok(all.into_iter().filter(|(name, _)| variant.own.contains_key(name)).collect())
}

/// A JSON object, or lines of `name=value` or `name value`.
fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    if text.trim_start().starts_with('{') {
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|error| format!("the settings are no JSON object: {error}"))?;
        let text = |value: serde_json::Value| match value {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        return Ok(object.into_iter().map(|(name, value)| (name, text(value))).collect());
    }
    let pair = |line: &str| {
        let (name, value) = line.split_once(['=', ' ', '\t'])?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    };
    Ok(text.lines().filter_map(pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_in_both_forms() {
        let json = parse(r#"{"a": 1, "b": "x", "c": true}"#).unwrap();
        assert_eq!((json["a"].as_str(), json["b"].as_str(), json["c"].as_str()), ("1", "x", "true"));
        assert_eq!(parse("a=1\nb = x y\nc 2\nnothing\n").unwrap().len(), 3);
        assert!(parse("{").is_err());
    }
}
