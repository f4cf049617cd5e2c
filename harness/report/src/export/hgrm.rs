//! HdrHistogram percentile distribution (`.hgrm`), as its plotter reads it: one document for each variant of each
//! scenario, merged over all trials, values in microseconds.

use std::fmt::Write as _;

use uplift_model::{Histogram, file_name};

use super::{Document, Selection, groups, merged};
use crate::ReportInput;

/// Lines for each halving of the distance to 100 %.
const TICKS_PER_HALF: u32 = 5;
const NS_PER_US: f64 = 1e3;

pub fn export(input: &ReportInput<'_>, selection: &Selection) -> Vec<Document> {
    groups(input, selection)
        .into_iter()
        .filter_map(|(planned, variant, trials)| {
            let histogram = merged(&trials);
            let name = format!("{}.hgrm", file_name(&[&planned.scenario.name, variant]));
            (!histogram.is_empty()).then(|| Document { name, bytes: distribution(&histogram).into_bytes() })
        })
        .collect()
}

fn distribution(histogram: &Histogram) -> String {
    let mut text = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let hdr = histogram.to_hdr();
    let mut total = 0;
    for step in hdr.iter_quantiles(TICKS_PER_HALF) {
        total += step.count_since_last_iteration();
        let value = step.value_iterated_to() as f64 / NS_PER_US;
        let quantile = step.quantile_iterated_to();
        let _ = if quantile < 1.0 {
            writeln!(text, "{value:12.3} {quantile:2.12} {total:10} {:14.2}", 1.0 / (1.0 - quantile))
        } else {
            writeln!(text, "{value:12.3} {quantile:2.12} {total:10}")
        };
    }
    let _ = writeln!(
        text,
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]\n#[Max     = {:12.3}, Total count    = {:12}]\n#[Buckets = {:12}, SubBuckets     = {:12}]",
        hdr.mean() / NS_PER_US,
        hdr.stdev() / NS_PER_US,
        hdr.max() as f64 / NS_PER_US,
        hdr.len(),
        hdr.buckets(),
        // Twice as many sub-buckets as values that three digits tell apart, a power of two.
        2048,
    );
    text
}
