//! `uplift completions SHELL`.

use clap::CommandFactory as _;

use crate::{
    args::{Cli, CompletionsArgs},
    error::CliError,
    exit,
};

/// Prints the completions.
pub fn run(args: &CompletionsArgs) -> Result<u8, CliError> {
    clap_complete::generate(args.shell, &mut Cli::command(), "uplift", &mut std::io::stdout());
    Ok(exit::OK)
}
