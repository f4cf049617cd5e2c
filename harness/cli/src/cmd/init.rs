//! `uplift init [FOLDER]`: writes the scenarios of this binary out, to be read and changed.

use std::fs;

use crate::{args::InitArgs, error::CliError, exit, output::Terminal, scenario_files};

/// Writes them; a file that is there already stays as it is.
pub fn run(args: &InitArgs, terminal: &Terminal) -> Result<u8, CliError> {
    let files = scenario_files::embedded();
    if files.is_empty() {
        return Err(CliError::usage(
            "this binary has no scenarios of its own",
            "write your own: scenarios/README.md of uplift describes the format; `uplift new` writes a first one",
        ));
    }
    let (mut written, mut kept) = (0, Vec::new());
    for (name, text) in files {
        let path = args.folder.join(name);
        if path.exists() {
            if fs::read(&path).ok().as_deref() != Some(text.as_bytes()) {
                kept.push(*name);
            }
            continue;
        }
        let parent = path.parent().unwrap_or(&args.folder);
        fs::create_dir_all(parent).and_then(|()| fs::write(&path, text)).map_err(|error| {
            CliError::environment(
                format!("could not create `{}`: {error}", path.display()),
                "name a folder that can be written",
            )
        })?;
        written += 1;
    }
    terminal
        .say(&format!("{written} files are written to `{}`; `uplift list` shows the scenarios", args.folder.display()));
    if !kept.is_empty() {
        terminal.say(&format!("left as they are, because they were there and are different: {}", kept.join(", ")));
    }
    Ok(exit::OK)
}
