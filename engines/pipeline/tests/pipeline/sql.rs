//! DataFusion as the engine of transforms; in a build without it, or without WebAssembly, a fix.

use pipeline_engine::{Settings, TransformEngine, profile::Profile, transform::TransformKind};

use crate::bench::{Bench, workload};

fn settings() -> Settings {
    Settings { transform_engine: TransformEngine::Sql, batch_rows: 100, ..Settings::default() }
}

#[cfg(not(feature = "sql"))]
#[test]
fn a_build_without_it_says_how_to_get_it() {
    let workload = workload(Profile::Small, 10, TransformKind::Project);
    let Err(error) = Bench::try_new(&workload, &settings()) else { panic!("it was opened") };
    assert!(error.to_string().contains("--features sql"), "{error}");
}

#[cfg(not(feature = "wasm"))]
#[test]
fn a_build_without_webassembly_says_how_to_get_it() {
    let workload = workload(Profile::Small, 10, TransformKind::Project);
    let settings = Settings { transform_engine: TransformEngine::Wasm, ..settings() };
    let Err(error) = Bench::try_new(&workload, &settings) else { panic!("it was opened") };
    assert!(error.to_string().contains("--features wasm"), "{error}");
}

/// Without a transform there is nothing that it is needed for.
#[test]
fn a_copy_does_not_need_it() {
    let bench = Bench::new(&workload(Profile::Small, 10, TransformKind::None), &settings());
    bench.job.run(pipeline_engine::Fault::None).unwrap();
    bench.assert_whole();
}

#[cfg(feature = "sql")]
mod built_in {
    use pipeline_engine::{
        Fault, SqlPlan,
        error::ErrorKind,
        generator::Generator,
        stages,
        transform::{Native, Sql, Transform as _},
    };
    use uplift_instrument::stage::StageTable;

    use super::*;

    /// Planned once and planned for each batch: the same batches as Arrow's kernels make, bit for bit.
    #[test]
    fn it_agrees_with_native_on_every_row() {
        let table = StageTable::new(&stages::NAMES);
        let mut clock = table.clock("test");
        for (profile, rows) in [(Profile::Small, 20_000), (Profile::Medium, 3_000), (Profile::Large, 200)] {
            let generator = Generator::new(profile, 3);
            for kind in [TransformKind::Project, TransformKind::Filter] {
                let native = Native::new(kind, generator.schema());
                for plan in [SqlPlan::Once, SqlPlan::PerBatch] {
                    let mut sql = Sql::new(kind, generator.schema(), 500, plan, &mut clock).unwrap();
                    for first in (0..rows).step_by(500) {
                        let count = 500.min(rows - first);
                        let batch = generator.batch(first, 1, count, None).unwrap();
                        // A slice in the middle: its buffers do not begin where Arrow's do; and one with no row to keep.
                        for input in [&batch, &batch.slice(count as usize / 3, count as usize / 2), &batch.slice(1, 2)]
                        {
                            let of_sql = sql.apply(input, &mut clock).unwrap();
                            assert_eq!(of_sql, native.transform(input).unwrap(), "{profile:?} {kind:?} from {first}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn rows_arrive_through_it() {
        for sql_plan in [SqlPlan::Once, SqlPlan::PerBatch] {
            for transform in [TransformKind::Project, TransformKind::Filter] {
                let settings = Settings { sql_plan, partitions: 2, ..settings() };
                let bench = Bench::new(&workload(Profile::Small, 1_203, transform), &settings);
                bench.job.run(Fault::None).unwrap();
                bench.assert_whole();
            }
        }
    }

    /// A NULL where there must be none passes, and the destination refuses it with the name of the column.
    #[test]
    fn a_null_is_for_the_destination_to_refuse() {
        let settings = Settings { fault_at_row: 250, checkpoint_interval_bytes: 20_000, ..settings() };
        let bench = Bench::new(&workload(Profile::Small, 1_000, TransformKind::Project), &settings);
        let error = bench.job.run(Fault::NotNull).expect_err("the NULL arrived");
        assert!(matches!(&error.kind, ErrorKind::Constraint(message) if message.contains("created_at")), "{error}");
        bench.assert_prefix();
        bench.job.run(Fault::None).unwrap();
        bench.assert_whole();
    }
}
