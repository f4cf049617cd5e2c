//! The `uplift` binary: the targets of this repository and nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    uplift::main(&[
        uplift_orchestration::FACTORY,
        uplift_docdb::FACTORY,
        uplift_pipeline::FACTORY,
        uplift_dataflow::FACTORY,
        uplift_command::FACTORY,
        uplift_service::FACTORY,
        uplift_reference::FACTORY,
    ])
}
