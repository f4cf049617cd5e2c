//! A sync call is waiting of the stage in which it is made, whoever makes it.

use std::{fs::File, io::Write as _};

use uplift_instrument::{stage::StageTable, sync_probe};
use uplift_model::trial::SyncKind;

#[test]
fn what_a_stage_waits_for_the_disk_is_no_work() {
    assert!(sync_probe::is_live());
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut file = File::create(folder.path().join("file")).unwrap();
    let table = StageTable::new(&["commit"]);
    let mut clock = table.clock("writer");
    let before = sync_probe::snapshot();
    clock.process(0);
    for _ in 0..5 {
        file.write_all(&[1; 8192]).unwrap();
        file.sync_data().unwrap();
    }
    drop(clock);
    let mut record = sync_probe::empty_record();
    before.add_growth_to(&sync_probe::snapshot(), &mut record);
    let syncs = &record.kinds[&SyncKind::Fdatasync];
    let synced_ns = syncs.latency.mean().unwrap() * syncs.calls as f64;
    let stages = table.records();
    let [commit] = stages.as_slice() else { panic!("{stages:?}") };
    // The probe's buckets have three digits.
    let off = (commit.wait_ns as f64 / synced_ns - 1.0).abs();
    assert!(off < 0.002, "{} ns of waiting, {synced_ns} ns in {} sync calls", commit.wait_ns, syncs.calls);
    assert!(commit.process_ns > 0, "{stages:?}");
}
