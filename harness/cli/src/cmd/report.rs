//! `uplift report RUN`: rebuild the documents of a stored run from its records, byte for byte.

use crate::{
    args::StoredArgs,
    cmd::show,
    error::CliError,
    exit,
    output::{Terminal, write_documents},
};

/// Rewrites `verdicts.json`, `report.md`, `report.html` and the plots.
pub fn run(args: &StoredArgs, terminal: &Terminal) -> Result<u8, CliError> {
    let stored = show::load(&args.stored, terminal)?;
    write_documents(&stored.directory, &stored.run, &stored.trials)?;
    terminal.print(&stored.directory.join("report.md").display().to_string());
    Ok(exit::OK)
}
