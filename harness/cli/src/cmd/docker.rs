//! `uplift docker prune`: removes what killed runs left behind on a Docker engine.

use uplift_docker::{
    Engine,
    prune::{self, Unknown},
};

use crate::{
    args::{DockerArgs, DockerCommand, PruneArgs},
    error::CliError,
    exit,
    output::Terminal,
};

/// Does what was asked for.
pub fn run(args: &DockerArgs, terminal: &Terminal) -> Result<u8, CliError> {
    match &args.command {
        DockerCommand::Prune(args) => prune(args, terminal),
    }
}

fn prune(args: &PruneArgs, terminal: &Terminal) -> Result<u8, CliError> {
    let failed = |error: uplift_docker::DockerError| CliError::environment(error.to_string(), "");
    let engine = Engine::connect().map_err(failed)?;
    let unknown = if args.unknown { Unknown::Remove } else { Unknown::Keep };
    let mut leftovers = prune::find(&engine, unknown).map_err(failed)?;
    if !args.dry_run {
        prune::prune(&engine, &mut leftovers).map_err(failed)?;
    }
    let mut text = String::new();
    let removed = if args.dry_run { "would remove" } else { "removed" };
    for leftover in &leftovers {
        let run = leftover.run.as_ref().map(|run| format!(" of run {run}")).unwrap_or_default();
        match &leftover.kept {
            None => text.push_str(&format!("{removed} {} {}{run}\n", leftover.kind, leftover.name)),
            Some(reason) => text.push_str(&format!("kept {} {}{run}: {reason}\n", leftover.kind, leftover.name)),
        }
    }
    let kept = leftovers.iter().filter(|leftover| leftover.kept.is_some()).count();
    text.push_str(&format!("docker prune: {removed} {}, kept {kept}\n", leftovers.len() - kept));
    terminal.print(&text);
    Ok(exit::OK)
}
