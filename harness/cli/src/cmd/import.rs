//! `uplift import FILE`: what another tool measured, as a stored run.

use uplift_sdk::TargetFactory;

use crate::{
    args::ImportArgs,
    error::CliError,
    exit,
    import::{self, formats},
    output::{Terminal, render, verdicts_of, write_documents},
};

/// Reads the file, stores it as a run, and prints it.
pub fn run(args: &ImportArgs, targets: &[&'static dyn TargetFactory], terminal: &Terminal) -> Result<u8, CliError> {
    let imported = formats::read(&args.file).map_err(|why| {
        CliError::usage(
            format!("`{}` cannot be imported: {why}", args.file.display()),
            "name a file of one of these tools",
        )
    })?;
    let (store, run, trials) = import::store(&imported, &args.file, args.variant.as_deref(), &args.out, targets)?;
    write_documents(store.directory(), &run, &trials)?;
    let style = terminal.style(args.all_metrics);
    terminal.print(&render(&run, &trials, verdicts_of(&run, &trials, &[]).as_ref(), args.format, style)?);
    for warning in &run.warnings {
        terminal.say(&format!("warning: {warning}"));
    }
    terminal.say(&format!("report: {}", store.directory().join("report.md").display()));
    Ok(exit::OK)
}
