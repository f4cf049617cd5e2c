//! The `uplift` binary: the targets of this repository, their scenarios, and nothing else.

use std::process::ExitCode;

include!(concat!(env!("OUT_DIR"), "/scenarios.rs"));

fn main() -> ExitCode {
    uplift::main_with(
        &[
            uplift_orchestration::FACTORY,
            uplift_docdb::FACTORY,
            uplift_pipeline::FACTORY,
            uplift_dataflow::FACTORY,
            uplift_command::FACTORY,
            uplift_service::FACTORY,
            uplift_reference::FACTORY,
        ],
        SCENARIOS,
    )
}
