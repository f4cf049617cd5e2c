//! The custom JSON of github-action-benchmark: a list of name, unit, value, range. A file of it has one direction
//! (`customSmallerIsBetter` or `customBiggerIsBetter`), so metrics of the other one are left out.

use serde_json::{Value, json};
use uplift_model::{Better, MetricClass};

use super::{Selection, summaries};
use crate::ReportInput;

pub fn export(input: &ReportInput<'_>, selection: &Selection) -> Option<String> {
    let wanted = if selection.higher_is_better { Better::Higher } else { Better::Lower };
    let all: Vec<Value> = summaries(input, selection)
        .into_iter()
        .filter(|summary| summary.is_better(wanted) && summary.spec.class != MetricClass::Info)
        .map(|summary| {
            let mut entry = json!({
                "name": format!("{}: {}", summary.benchmark(), summary.spec.name),
                "unit": summary.spec.unit.symbol(),
                "value": summary.median,
                "extra": format!("median of {} trials of run {}", summary.n, input.run.id),
            });
            if let Some([low, high]) = summary.ci {
                entry["range"] = json!(format!("{low} … {high}"));
            }
            entry
        })
        .collect();
    (!all.is_empty()).then(|| format!("{:#}\n", Value::Array(all)))
}
