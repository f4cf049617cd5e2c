//! The reference target: a target whose truth is known.
//!
//! It computes a stated number of steps, makes a stated number of sync calls, fails and stalls as it is told. Every
//! figure that the harness reports about it can be checked against the truth; the harness's own tests and its calibration
//! do that. It knows the sdk alone, and does not know how trials are planned, timed or judged.

mod metrics;
mod settings;
mod target;
mod work;

use uplift_sdk::{Description, OpenContext, Target, TargetError, TargetFactory, TypedFactory};

pub use settings::{Distribution, Fault, Settings, Workload};
pub use work::SPLIT;

/// The reference target's factory.
pub static FACTORY: &dyn TargetFactory = &Factory;

struct Factory;

impl TypedFactory for Factory {
    type Workload = Workload;
    type Settings = Settings;
    const NAME: &'static str = "reference";
    const ABOUT: &'static str = "a target whose truth is known: stated work, stated syncs, injected faults";

    fn description() -> Description {
        Description {
            unit_of_work: "operation".into(),
            operations: vec!["work".into()],
            write_kinds: vec!["work".into()],
            no_op_reasons: vec!["nothing to do".into()],
            failure_categories: vec!["injected".into(), "io".into()],
            metrics: metrics::all(),
            ..Description::default()
        }
    }

    fn open(workload: Workload, settings: Settings, context: OpenContext) -> Result<Box<dyn Target>, TargetError> {
        target::open(workload, settings, &context)
    }
}
