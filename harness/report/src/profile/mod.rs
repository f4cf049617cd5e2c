//! Everything that is drawn from profile trials: graphs, files for other tools, and the sections of the report.

pub mod allocations;
pub mod firefox;
pub mod flamegraph;
pub mod pprof;
pub mod section;
pub mod stages;
pub mod tail;

use uplift_analysis::profile::{FoldedError, Profile, by_variant, differential, folded};
use uplift_model::{ProfileTrial, file_name, protocol::Profiled, run::Run};

/// Why a profile cannot be drawn.
#[derive(Debug)]
pub enum DrawError {
    /// The stacks cannot be read.
    Folded(FoldedError),
    /// The graph cannot be written.
    Graph(std::io::Error),
    /// The file for another tool cannot be written.
    Export(serde_json::Error),
}

impl std::fmt::Display for DrawError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folded(error) => error.fmt(formatter),
            Self::Graph(error) => write!(formatter, "could not draw a flame graph: {error}"),
            Self::Export(error) => write!(formatter, "could not export a profile: {error}"),
        }
    }
}

impl std::error::Error for DrawError {}

impl From<FoldedError> for DrawError {
    fn from(error: FoldedError) -> Self {
        Self::Folded(error)
    }
}

impl From<std::io::Error> for DrawError {
    fn from(error: std::io::Error) -> Self {
        Self::Graph(error)
    }
}

impl From<serde_json::Error> for DrawError {
    fn from(error: serde_json::Error) -> Self {
        Self::Export(error)
    }
}

/// A file that belongs into the folder `profiles` of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Within that folder.
    pub name: String,
    /// The whole file.
    pub bytes: Vec<u8>,
}

/// The profile of one variant of one scenario, with the words that a graph needs.
pub struct Drawn<'a> {
    /// The scenario.
    pub scenario: &'a str,
    /// The variant.
    pub variant: &'a str,
    /// Its trials.
    pub trials: Vec<&'a Profiled>,
    /// Their samples.
    pub cpu: Profile,
}

impl<'a> Drawn<'a> {
    /// The profiles of one scenario, in the order of `variants`; a variant without samples is left out.
    ///
    /// # Errors
    /// The line that is no folded stack.
    pub fn of_scenario(
        profiles: &'a [ProfileTrial],
        scenario: &'a str,
        variants: &'a [String],
    ) -> Result<Vec<Self>, FoldedError> {
        let mut trials = by_variant(profiles, scenario);
        variants
            .iter()
            .filter_map(|variant| Some((variant, trials.remove(variant.as_str())?)))
            .map(|(variant, trials)| {
                let cpu = Profile::on_cpu(&trials)?;
                Ok(Self { scenario, variant, trials, cpu })
            })
            .collect()
    }

    /// Why what does the work is not in it, where that is so.
    pub fn not_sampled(&self) -> Option<&str> {
        self.trials.iter().find_map(|one| one.not_sampled.as_deref())
    }

    /// What sampled, and what it could see.
    pub fn sampler(&self) -> String {
        self.trials.first().map_or_else(String::new, |first| {
            format!(
                "{}, {}",
                first.sampler,
                if first.kernel_frames { "kernel and user frames" } else { "user frames only" }
            )
        })
    }

    /// How the samples were taken, and how good they are, in one line.
    pub fn quality(&self) -> String {
        let Some(first) = self.trials.first() else { return String::new() };
        let lost: Option<u64> = self.trials.iter().map(|one| one.lost).sum();
        let share: f64 = self.trials.iter().map(|one| one.symbolised_share).sum::<f64>() / self.trials.len() as f64;
        // Of no stack nothing can be said.
        let named = match self.cpu.samples {
            0 => String::new(),
            _ => format!("; {:.1} % of the stacks whole and named", share * 100.0),
        };
        let others = match self.cpu.other_stacks() {
            none if none.samples == 0 => String::new(),
            some => format!(", {:.1} % too many to be told apart", some.share * 100.0),
        };
        format!(
            "{}; {} Hz over {:.1} s, {} samples, {}; {:.2} cores used{}{}",
            self.sampler(),
            first.frequency_hz,
            self.cpu.duration_ns as f64 / 1e9,
            self.cpu.samples,
            lost.map_or_else(|| "losses not counted".to_owned(), |lost| format!("{lost} lost")),
            self.cpu.cores_used(),
            named,
            others,
        )
    }
}

/// The part of a file's name that says from what to what something moved.
pub(crate) fn pair_stem(baseline: &Drawn<'_>, candidate: &Drawn<'_>) -> String {
    file_name(&[baseline.scenario, baseline.variant, "to", candidate.variant])
}

/// Every file of a run's profiles.
///
/// # Errors
/// What cannot be drawn.
pub fn artifacts(run: &Run, profiles: &[ProfileTrial]) -> Result<Vec<Artifact>, DrawError> {
    let mut files = Vec::new();
    for planned in &run.scenarios {
        let drawn = Drawn::of_scenario(profiles, &planned.scenario.name, &planned.variants)?;
        for one in &drawn {
            of_variant(run, one, &mut files)?;
        }
        if let [baseline, candidate, ..] = drawn.as_slice() {
            of_pair(baseline, candidate, &mut files)?;
        }
        allocations::artifacts(profiles, planned, &mut files)?;
    }
    Ok(files)
}

fn of_variant(run: &Run, drawn: &Drawn<'_>, files: &mut Vec<Artifact>) -> Result<(), DrawError> {
    let stem = file_name(&[drawn.scenario, drawn.variant]);
    let mut add = |end: &str, bytes: Vec<u8>| files.push(Artifact { name: format!("{stem}.{end}"), bytes });
    let cpu = &drawn.cpu;
    add("cpu.folded", folded::write(&cpu.stacks).into_bytes());
    if !cpu.stacks.is_empty() {
        let title = format!("CPU time: {}, {}", drawn.scenario, drawn.variant);
        let subtitle = format!("{}; {}", drawn.quality(), flamegraph::COLOURS);
        add("cpu.svg", flamegraph::one(&title, &subtitle, "samples", &cpu.stacks)?);
        add("cpu.pb.gz", pprof::encode(cpu, run.started_unix_s)?);
        add("cpu.firefox.json", firefox::encode(&title, cpu, run.started_unix_s)?);
    }
    if let Some(stacks) = Profile::off_cpu(&drawn.trials)? {
        add("off-cpu.folded", folded::write(&stacks).into_bytes());
        if !stacks.is_empty() {
            let title = format!("waiting time: {}, {}", drawn.scenario, drawn.variant);
            let subtitle = format!(
                "every switch of every thread: how long it was away, by the stack with which it left; {}",
                drawn.sampler()
            );
            add("off-cpu.svg", flamegraph::one(&title, &subtitle, "us", &stacks)?);
        }
    }
    tail::artifacts(drawn, files)?;
    Ok(())
}

fn of_pair(baseline: &Drawn<'_>, candidate: &Drawn<'_>, files: &mut Vec<Artifact>) -> Result<(), DrawError> {
    let Some(text) = differential::folded(&baseline.cpu, &candidate.cpu) else { return Ok(()) };
    if text.is_empty() {
        return Ok(());
    }
    let stem = pair_stem(baseline, candidate);
    let what = format!("{}: from {} to {}", baseline.scenario, baseline.variant, candidate.variant);
    let mut add = |end: &str, bytes: Vec<u8>| files.push(Artifact { name: format!("{stem}.{end}"), bytes });
    let sampler = candidate.sampler();
    add("after.svg", flamegraph::after(&what, &sampler, &text)?);
    add("before.svg", flamegraph::before(&what, &sampler, &text)?);
    add("folded", text.into_bytes());
    Ok(())
}
