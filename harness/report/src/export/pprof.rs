//! The profile of each variant as pprof reads it: one document for each scenario and variant that was sampled.

use uplift_model::file_name;

use super::{Document, Format, Selection};
use crate::{
    ReportInput,
    build::variants,
    profile::{DrawError, Drawn, pprof},
};

pub fn export(input: &ReportInput<'_>, selection: &Selection) -> Result<Vec<Document>, DrawError> {
    let mut documents = Vec::new();
    for planned in &input.run.scenarios {
        let name = &planned.scenario.name;
        let wanted: Vec<String> =
            variants(planned).into_iter().filter(|variant| selection.has(name, variant)).map(str::to_owned).collect();
        for drawn in Drawn::of_scenario(input.profiles, name, &wanted)? {
            if !drawn.cpu.stacks.is_empty() {
                documents.push(Document {
                    name: format!("{}.{}", file_name(&[name, drawn.variant]), Format::Pprof.extension()),
                    bytes: pprof::encode(&drawn.cpu, input.run.started_unix_s)?,
                });
            }
        }
    }
    Ok(documents)
}
