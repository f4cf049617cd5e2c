//! `uplift docker prune`: removes what killed runs left behind on a Docker engine, and on the nodes of its swarm.

use std::sync::Arc;

use uplift_docker::{
    DockerError, Engine,
    prune::{self, Unknown},
    swarm,
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
    let failed = |error: DockerError| CliError::environment(error.to_string(), "");
    let engine = Arc::new(Engine::connect().map_err(failed)?);
    let mut places = vec![(String::new(), Arc::clone(&engine))];
    for (node, reached) in swarm::engines(&engine).map_err(failed)? {
        match reached {
            Ok(engine) => places.push((format!(" on node {node}"), engine)),
            Err(reason) => terminal.say(&format!("warning: node {node} is not looked at: {reason}")),
        }
    }
    let unknown = if args.unknown { Unknown::Remove } else { Unknown::Keep };
    let (mut text, mut count, mut kept) = (String::new(), 0, 0);
    let removed = if args.dry_run { "would remove" } else { "removed" };
    for (place, engine) in places {
        let mut leftovers = prune::find(&engine, unknown).map_err(failed)?;
        if !args.dry_run {
            prune::prune(&engine, &mut leftovers).map_err(failed)?;
        }
        for leftover in &leftovers {
            let run = leftover.run.as_ref().map(|run| format!(" of run {run}")).unwrap_or_default();
            let what = format!("{} {}{run}{place}", leftover.kind, leftover.name);
            match &leftover.kept {
                None => {
                    count += 1;
                    text.push_str(&format!("{removed} {what}\n"));
                }
                Some(reason) => {
                    kept += 1;
                    text.push_str(&format!("kept {what}: {reason}\n"));
                }
            }
        }
    }
    text.push_str(&format!("docker prune: {removed} {count}, kept {kept}\n"));
    terminal.print(&text);
    Ok(exit::OK)
}
