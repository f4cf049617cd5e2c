//! `uplift man FOLDER`: a manual page for uplift and one for each command.

use std::fs;

use clap::CommandFactory as _;

use crate::{
    args::{Cli, ManArgs},
    error::CliError,
    exit, help,
    output::Terminal,
};

/// Writes the pages.
pub fn run(args: &ManArgs, terminal: &Terminal) -> Result<u8, CliError> {
    let place = args.folder.display();
    let command = help::dress_plain(Cli::command());
    fs::create_dir_all(&args.folder).and_then(|()| clap_mangen::generate_to(command, &args.folder)).map_err(
        |error| {
            CliError::environment(
                format!("could not write the manual to `{place}`: {error}"),
                "name a folder that can be written",
            )
        },
    )?;
    terminal.say(&format!("manual pages: {place}; read one with `man -l {place}/uplift.1`"));
    Ok(exit::OK)
}
