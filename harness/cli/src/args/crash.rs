//! `crash`.

use clap::{Args, ValueEnum};
use uplift_model::{
    crash::{CutMode, Fault},
    duration::HumanDuration,
};

use super::{
    Format,
    trials::{SelectionArgs, SetupArgs, budget},
};

/// `crash`.
#[derive(Clone, Debug, Args)]
pub struct CrashArgs {
    /// Which scenarios
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// The variant; may be given several times
    #[arg(long = "variant", value_name = "VARIANT", required = true)]
    pub variants: Vec<String>,
    /// Cuts of each variant and mode
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub cuts: u32,
    /// How they are made.
    #[command(flatten)]
    pub cutting: Cutting,
    /// What all commands that run trials share.
    #[command(flatten)]
    pub setup: SetupArgs,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// How cuts are made.
#[derive(Clone, Debug, Args, Default)]
pub struct Cutting {
    /// What dies: processes, or the disk's power [default: both where possible]
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,
    /// The latest cut, counted from the beginning of the load [default: 300ms, and longer while nothing is acknowledged by
    /// then]
    #[arg(long, value_name = "DURATION", value_parser = budget)]
    pub within: Option<HumanDuration>,
    /// Cut at each of the first N syncs; other cuts are drawn by the seed
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub every_sync: u32,
    /// Make the disk fail: `eio@sync:7`, `enospc@write:7`, `flip@open`, …
    ///
    /// The 7th sync (or write) of the load fails, or takes half of its bytes; with a `+` behind the number all after it too.
    /// `flip@open` turns one bit of what the disk holds before it is opened again.
    #[arg(long, value_name = "FAULT")]
    pub fault: Option<Fault>,
}

/// What dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Every process of the target.
    Kill,
    /// The machine: the disk keeps what was synced, and of the rest what the seed says.
    Power,
    /// The one and the other.
    Both,
}

impl Mode {
    /// The modes of cuts that it stands for.
    pub const fn modes(self) -> &'static [CutMode] {
        match self {
            Self::Kill => &[CutMode::Kill],
            Self::Power => &[CutMode::Power],
            Self::Both => &[CutMode::Kill, CutMode::Power],
        }
    }
}
