//! OpenMetrics text: a gauge for each metric, in base units, labelled by scenario, variant and statistic.

use std::{collections::BTreeMap, fmt::Write as _};

use uplift_model::Unit;

use super::{Selection, Summary, summaries};
use crate::{ReportInput, number::machine};

pub fn export(input: &ReportInput<'_>, selection: &Selection) -> Option<String> {
    let all = summaries(input, selection);
    if all.is_empty() {
        return None;
    }
    // All samples of a family stand together.
    let mut families: BTreeMap<String, Vec<&Summary>> = BTreeMap::new();
    for summary in &all {
        families.entry(family(summary)).or_default().push(summary);
    }
    let mut text = String::new();
    for (name, members) in families {
        let Some(first) = members.first() else { continue };
        let (unit, factor) = base_unit(first.spec.unit);
        let _ = writeln!(text, "# TYPE {name} gauge");
        if let Some(unit) = unit {
            let _ = writeln!(text, "# UNIT {name} {unit}");
        }
        let _ = writeln!(text, "# HELP {name} {}", escaped(&first.spec.about));
        for summary in members {
            let labels =
                format!("scenario=\"{}\",variant=\"{}\"", escaped(&summary.scenario), escaped(&summary.variant));
            let mut sample = |statistic: &str, value: f64| {
                let _ = writeln!(text, "{name}{{{labels},statistic=\"{statistic}\"}} {}", machine(value * factor));
            };
            sample("median", summary.median);
            if let Some([low, high]) = summary.ci {
                sample("low", low);
                sample("high", high);
            }
        }
    }
    text.push_str("# EOF\n");
    Some(text)
}

/// The unit as a name ends with it, and the factor to it.
const fn base_unit(unit: Unit) -> (Option<&'static str>, f64) {
    match unit {
        Unit::Nanoseconds => (Some("seconds"), 1e-9),
        Unit::Seconds => (Some("seconds"), 1.0),
        Unit::NanosecondsPerOp => (Some("seconds_per_operation"), 1e-9),
        Unit::Bytes => (Some("bytes"), 1.0),
        Unit::BytesPerOp => (Some("bytes_per_operation"), 1.0),
        Unit::BytesPerSecond => (Some("bytes_per_second"), 1.0),
        Unit::OpsPerSecond => (Some("operations_per_second"), 1.0),
        Unit::Ratio => (Some("ratio"), 1.0),
        Unit::Count | Unit::CountPerOp | Unit::CountPerSecond | Unit::Cores => (None, 1.0),
    }
}

fn family(summary: &Summary) -> String {
    let name: String =
        summary.spec.name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    match base_unit(summary.spec.unit).0 {
        Some(unit) => format!("uplift_{name}_{unit}"),
        None => format!("uplift_{name}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
