//! Bencher Metric Format: `{"benchmark": {"measure": {"value": …, "lower_value": …, "upper_value": …}}}`.

use serde_json::{Map, Value, json};

use super::{Selection, summaries};
use crate::ReportInput;

pub fn export(input: &ReportInput<'_>, selection: &Selection) -> Option<String> {
    let mut all = Map::new();
    for summary in summaries(input, selection) {
        let mut metric = json!({ "value": summary.median });
        if let Some([low, high]) = summary.ci {
            metric["lower_value"] = json!(low);
            metric["upper_value"] = json!(high);
        }
        let benchmark = all.entry(summary.benchmark()).or_insert_with(|| Value::Object(Map::new()));
        benchmark[summary.spec.name.as_ref()] = metric;
    }
    (!all.is_empty()).then(|| format!("{:#}\n", Value::Object(all)))
}
