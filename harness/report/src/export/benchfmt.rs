//! The Go benchmark format: one line for each trial, so that `benchstat -col /variant` compares variants.
//!
//! The number of iterations is that of successful operations; units are `metric-unit`, with their directions declared.

use std::fmt::Write as _;

use uplift_analysis::metrics;
use uplift_model::{Better, MetricSpec};

use super::{Selection, groups};
use crate::{ReportInput, number::machine};

pub fn export(input: &ReportInput<'_>, selection: &Selection) -> Option<String> {
    let (mut units, mut lines): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for (planned, variant, trials) in groups(input, selection) {
        for (_, trial) in trials {
            let ok: u64 = trial.measured.iter().flat_map(|m| &m.operations).map(|operation| operation.ok).sum();
            let mut line =
                format!("Benchmark{}/variant={} {}", benchmark(&planned.scenario.name), word(variant), ok.max(1));
            for value in metrics::of_trial(trial, planned) {
                let Ok(number) = value.value else { continue };
                let unit = unit_of(&value.spec);
                let _ = write!(line, " {} {unit}", machine(number));
                let better = match value.spec.better {
                    Better::Higher => "higher",
                    Better::Lower => "lower",
                    Better::Neither => continue,
                };
                let declared = format!("Unit {unit} better={better}");
                if !units.contains(&declared) {
                    units.push(declared);
                }
            }
            lines.push(line);
        }
    }
    if lines.is_empty() {
        return None;
    }
    let environment = &input.run.environment;
    let mut text = format!("uplift-run: {}\n", input.run.id);
    for (key, value) in
        [("os", &environment.os), ("cpu", &environment.cpu_model), ("filesystem", &environment.filesystem)]
    {
        if let Some(value) = value {
            let _ = writeln!(text, "{key}: {}", value.replace('\n', " "));
        }
    }
    for line in units.iter().chain(&lines) {
        let _ = writeln!(text, "{line}");
    }
    Some(text)
}

fn unit_of(spec: &MetricSpec) -> String {
    let symbol = spec.unit.symbol().trim_start_matches('/');
    if symbol.is_empty() { spec.name.to_string() } else { format!("{}-{symbol}", spec.name) }
}

/// `docdb/crud-mix` → `DocdbCrudMix`: what follows `Benchmark` begins with a capital letter.
fn camel(name: &str) -> String {
    name.split(|c: char| !c.is_ascii_alphanumeric())
        .map(|part| {
            let mut letters = part.chars();
            letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
        })
        .collect()
}

/// A name for the benchmark that no other scenario has: where `DocdbCrudMix` could be several, the scenario's name follows.
fn benchmark(name: &str) -> String {
    let plain = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase())
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    let (target, own) = name.split_once('/').unwrap_or(("", name));
    if plain(target) && own.split('-').all(plain) {
        return camel(name);
    }
    format!("{}/scenario={}", camel(name), word(name))
}

/// A name as one part of a benchmark's; what would end it is written as in a URL, so that two names stay two.
fn word(text: &str) -> String {
    let mut word = String::new();
    for character in text.chars() {
        if character == '/' || character == '%' || character.is_whitespace() || character.is_control() {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(word, "%{byte:02X}");
            }
        } else {
            word.push(character);
        }
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_alike_stay_apart() {
        assert_eq!(benchmark("docdb/crud-write-only"), "DocdbCrudWriteOnly");
        let names = ["t/a-b", "t/a_b", "t/a.b", "t/aB", "t/a b", "t-a/b", "t/2x2", "t/2-x-2", "tA/b", "t/ab", "t/a--b"];
        let mut made: Vec<String> = names.map(benchmark).to_vec();
        made.extend(["a b", "a_b", "a/b", "a%20b"].map(word));
        made.sort();
        let count = made.len();
        made.dedup();
        assert_eq!(made.len(), count, "{made:?}");
        assert!(made.iter().all(|name| !name.contains(' ')));
    }
}
