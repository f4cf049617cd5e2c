//! `uplift completions SHELL`.

use clap::CommandFactory as _;

use crate::{
    args::{Cli, CompletionsArgs},
    error::CliError,
    exit,
    output::Terminal,
};

/// Prints the completions.
pub fn run(args: &CompletionsArgs, terminal: &Terminal) -> Result<u8, CliError> {
    // Not to standard output at once: the generator panics where its reader has gone away.
    let mut text = Vec::<u8>::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "uplift", &mut text);
    terminal.print_bytes(&text);
    Ok(exit::OK)
}
