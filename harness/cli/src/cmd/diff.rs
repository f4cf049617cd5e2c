//! `uplift diff RUN RUN`: two stored runs side by side, as far as they may be compared.

use uplift_analysis::diff::{Side, diff};
use uplift_report::build::diff as draw;

use crate::{
    args::{DiffArgs, Format, RunArg},
    cmd::show,
    error::CliError,
    exit,
    output::Terminal,
};

/// Prints the checks first, then what both runs have. Where they share nothing, that is answered with a code.
pub fn run(args: &DiffArgs, terminal: &Terminal) -> Result<u8, CliError> {
    let load = |run: &str| show::load(&RunArg { run: run.to_owned(), out: args.out.clone() }, terminal);
    let (first, second) = (load(&args.first)?, load(&args.second)?);
    let result =
        diff(Side { run: &first.run, trials: &first.trials }, Side { run: &second.run, trials: &second.trials });
    match args.format {
        Format::Json => terminal.print(
            &serde_json::to_string_pretty(&result)
                .map_err(|error| CliError::environment(format!("could not write the difference: {error}"), ""))?,
        ),
        format => terminal.show(&draw::document(&result), format, false),
    }
    Ok(if result.scenarios.is_empty() { exit::INCOMPARABLE } else { exit::OK })
}
