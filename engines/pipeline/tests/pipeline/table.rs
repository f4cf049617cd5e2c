//! The stage table: every worker's stages add up to the wall time of the run, and waiting is apart from work.

use pipeline_engine::{Fault, LoadMethod, Settings, frame::Compression, profile::Profile, transform::TransformKind};
use uplift_instrument::clock;

use crate::bench::{Bench, workload};

#[test]
fn stages_of_every_worker_add_up_to_the_wall_time() {
    let settings = Settings {
        load: LoadMethod::Copy,
        partitions: 2,
        max_inflight_batches: 1,
        batch_rows: 200,
        compression: Compression::Lz4,
        ..Settings::default()
    };
    let bench = Bench::new(&workload(Profile::Small, 30_000, TransformKind::Filter), &settings);
    let start_ns = clock::now_ns();
    bench.job.run(Fault::None).unwrap();
    let wall_ns = clock::now_ns() - start_ns;
    let records = bench.job.stages.records();
    for worker in ["run", "source 0", "source 1", "transform 0", "transform 1", "writer 0"] {
        let own = records.iter().filter(|record| record.worker.as_deref() == Some(worker));
        let sum_ns: u64 = own.map(|record| record.process_ns + record.wait_ns).sum();
        assert!(sum_ns <= wall_ns, "{worker}: {sum_ns} ns of {wall_ns} ns");
        // What is left over is the start of a thread, and for the run as a whole next to nothing.
        let rest_ns_max = if worker == "run" { wall_ns / 100 } else { wall_ns / 2 };
        assert!(wall_ns - sum_ns <= rest_ns_max, "{worker}: {sum_ns} ns of {wall_ns} ns");
    }
    // The sources make all rows, the transforms drop four of five: with room for one frame somebody must have waited.
    let waited =
        |stage: &str| records.iter().filter(|record| record.stage == stage).map(|record| record.wait_ns).sum::<u64>();
    let worked = |stage: &str| {
        records.iter().filter(|record| record.stage == stage).map(|record| record.process_ns).sum::<u64>()
    };
    assert!(waited("receive") > 0 && worked("receive") > 0 && worked("send") > 0);
    for stage in ["fetch", "encode", "compress", "decompress", "decode", "transform", "checksum"] {
        assert!(worked(stage) > 0 && waited(stage) == 0, "{stage}");
    }
    // These wait for the disk, where the probe is linked that says so: a commit for its rows, the first flush for a name.
    assert!(worked("commit") > 0 && worked("flush") > 0);
}
