//! `uplift calibrate [SCENARIO…]`: a variant against itself on this machine.

use uplift_analysis::calibrate::calibrations;
use uplift_model::{duration::HumanDuration, run::Intent};
use uplift_report::{build::calibration, document::Document};
use uplift_sdk::TargetFactory;

use crate::{
    archive,
    args::{CalibrateArgs, ComparisonArgs, Format, TrialArgs},
    catalogue::{Catalogue, Entry},
    error::{CliError, suggestion},
    output::Terminal,
    session::{Profiling, Session},
};

/// Measures copies, prints how much they differ, and keeps it for later comparisons.
pub fn run(args: &CalibrateArgs, targets: &[&'static dyn TargetFactory], terminal: &Terminal) -> Result<u8, CliError> {
    let (mut scenarios, mut all) = (Vec::new(), Vec::new());
    for entry in Catalogue::read(&args.selection, targets)?.entries {
        let names: Vec<String> = entry.scenario.variants.iter().map(|variant| variant.name.clone()).collect();
        if names.contains(&args.variant) {
            scenarios.push((entry, vec![args.variant.clone(), args.variant.clone()]));
        }
        all.extend(names);
    }
    if scenarios.is_empty() {
        return Err(CliError::usage(
            format!("none of these scenarios has a variant `{}`", args.variant),
            &format!("name one with --variant; {}", suggestion(&args.variant, all.iter().map(String::as_str))),
        ));
    }
    let finished = Session {
        intent: Intent::Calibrate { variant: args.variant.clone() },
        name: format!("calibrate-{}", args.variant),
        scenarios,
        trials: &args.trials,
        binaries: [None, None],
        blocks: None,
        history: true,
        profiling: Profiling::Off,
        terminal,
    }
    .execute()?;
    let found = calibrations(&finished.run, &finished.trials, &args.variant);
    match args.format {
        Format::Json => {
            let text = serde_json::to_string_pretty(&found)
                .map_err(|error| CliError::environment(format!("could not write the calibration: {error}"), ""))?;
            terminal.print(&text);
        }
        Format::Table | Format::Markdown => {
            for one in &found {
                terminal.show(&Document::of(calibration::section(one)), args.format, false);
            }
        }
    }
    if found.is_empty() {
        terminal.say("nothing was calibrated: fewer than two blocks succeeded");
    } else {
        let path = archive::store_calibrations(&args.trials.setup.out, &found)?;
        terminal.say(&format!("kept in {}; `uplift compare` on this machine uses it", path.display()));
    }
    finished.say_end(terminal);
    Ok(finished.exit())
}

/// Compares the baseline of each scenario with itself, and keeps what that shows for the comparison that follows.
pub fn floor(
    scenarios: &[(Entry, Vec<String>)],
    time: HumanDuration,
    how: &ComparisonArgs,
    terminal: &Terminal,
) -> Result<(), CliError> {
    // Scenarios of one variant each are one run; the variants of all are the same but for programs of the command line.
    let Some(variant) = scenarios.first().and_then(|(_, variants)| variants.first()) else { return Ok(()) };
    terminal.say(&format!("the A/A floor: `{variant}` against itself for {time}"));
    let trials = TrialArgs { budget: Some(time), quick: false, blocks: None, ..how.trials.clone() };
    let copies = scenarios.iter().map(|(entry, variants)| {
        let baseline = variants.first().cloned().unwrap_or_default();
        (entry.clone(), vec![baseline.clone(), baseline])
    });
    let finished = Session {
        intent: Intent::Calibrate { variant: variant.clone() },
        name: "floor".to_owned(),
        scenarios: copies.collect(),
        trials: &trials,
        binaries: [how.baseline_bin.clone(), how.baseline_bin.clone()],
        blocks: None,
        history: false,
        profiling: Profiling::Off,
        terminal,
    }
    .execute()?;
    let found = calibrations(&finished.run, &finished.trials, variant);
    if found.is_empty() {
        terminal.say("warning: there is no A/A floor: fewer than two blocks succeeded");
        return Ok(());
    }
    archive::store_calibrations(&how.trials.setup.out, &found).map(drop)
}
