//! The command line of uplift, for the targets that a binary registers.
//!
//! A crate that implements [`uplift_sdk::TargetFactory`] and a `main` that calls [`main`] has every command. This crate knows
//! every part of the harness and wires them; it knows targets by their factories only, and computes no result itself.

pub mod exit;

mod ad_hoc;
mod archive;
mod args;
mod base_build;
mod budget;
mod catalogue;
mod cmd;
mod cuts;
mod dry_run;
mod error;
mod external;
mod finished;
mod help;
mod import;
mod launchers;
mod live;
mod other_tools;
mod output;
mod overrides;
mod power;
mod progress;
mod quick;
mod revisions;
mod scenario_files;
mod search_pages;
mod session;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use uplift_sdk::TargetFactory;

pub use uplift_sdk as target;

use crate::args::{Cli, Command};

/// Executes the command line of the process for these targets.
pub fn main(targets: &[&'static dyn TargetFactory]) -> ExitCode {
    main_with(targets, &[])
}

/// The same with scenarios for a folder that has none: files by their path within the scenario folder, with their text.
pub fn main_with(
    targets: &[&'static dyn TargetFactory],
    scenarios: &'static [(&'static str, &'static str)],
) -> ExitCode {
    scenario_files::embed(scenarios);
    // A file that reaches `ulimit -f` is then an error with a sentence, here and in agents, and not a signal.
    // SAFETY: ignoring a signal takes no handler.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    // `uplift agent` is what the harness starts for each trial: no parsing, no signal handlers, nothing in its way.
    if std::env::args_os().nth(1).is_some_and(|command| command == "agent") {
        return cmd::agent::serve(targets);
    }
    let matches = match help::dress(Cli::command()).try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            let _ = error.print();
            if let Some(word) = other_tools::word_for(&error) {
                eprintln!("\n{word}");
            }
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { exit::OK });
        }
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(exit::USAGE);
        }
    };
    let terminal = output::Terminal::of(&cli.output);
    let external = match cli.agent.as_deref().filter(|path| !path.as_os_str().is_empty()).map(external::take) {
        None => None,
        Some(Ok(targets)) => Some(targets),
        Some(Err(error)) => {
            terminal.complain(&error);
            return ExitCode::from(error.exit);
        }
    };
    let targets = external.as_deref().unwrap_or(targets);
    let outcome = match &cli.command {
        Command::Compare(args) => cmd::compare::run(args, targets, &terminal),
        Command::Gate(args) => cmd::gate::run(args, targets, &terminal),
        Command::Run(args) => cmd::run::run(args, targets, &terminal),
        Command::Profile(args) => cmd::profile::run(args, targets, &terminal),
        Command::Crash(args) => cmd::crash::run(args, targets, &terminal),
        Command::Saturate(args) => cmd::saturate::run(args, targets, &terminal),
        Command::Verify(args) => cmd::verify::run(args, targets, &terminal),
        Command::List(args) => cmd::list::run(args, targets, &terminal),
        Command::Show(args) => cmd::show::run(args, &terminal),
        Command::Report(args) => cmd::report::run(args, targets, &terminal),
        Command::Export(args) => cmd::export::run(args, &terminal),
        Command::Prune(args) => cmd::prune::run(args, &terminal),
        Command::Docker(args) => cmd::docker::run(args, &terminal),
        Command::Calibrate(args) => cmd::calibrate::run(args, targets, &terminal),
        Command::History(args) => cmd::history::run(args, &terminal),
        Command::Site(args) => cmd::site::run(args, &terminal),
        Command::Import(args) => cmd::import::run(args, targets, &terminal),
        Command::Diff(args) => cmd::diff::run(args, &terminal),
        Command::Sweep(args) => cmd::sweep::run(args, targets, &terminal),
        Command::Crossover(args) => cmd::crossover::run(args, targets, &terminal),
        Command::Doctor(args) => cmd::doctor::run(args, &terminal),
        Command::Init(args) => cmd::init::run(args, &terminal),
        Command::Man(args) => cmd::man::run(args, &terminal),
        Command::New(args) => cmd::new::run(args, &terminal),
        Command::AgentCheck(args) => cmd::agent_check::run(args, &terminal),
        Command::Completions(args) => cmd::completions::run(args, &terminal),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            if !error.is_no_error() {
                terminal.complain(&error);
            }
            ExitCode::from(error.exit)
        }
    }
}
