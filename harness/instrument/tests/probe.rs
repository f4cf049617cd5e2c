//! The sync probe counts what std and raw C calls do, by kind, errors apart, and nothing else.

use std::{fs::File, io::Write as _, os::fd::AsRawFd as _};

use uplift_instrument::sync_probe;
use uplift_model::trial::SyncKind;

#[test]
fn every_kind_is_counted_exactly() {
    assert!(sync_probe::is_live());
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut file = File::create(folder.path().join("file")).unwrap();
    file.write_all(&[1; 8192]).unwrap();
    let before = sync_probe::snapshot();
    for _ in 0..7 {
        file.sync_data().unwrap();
    }
    for _ in 0..3 {
        file.sync_all().unwrap();
    }
    file.flush().unwrap();
    // SAFETY: plain system calls on a descriptor that is open, and on one that is not.
    unsafe {
        assert_eq!(libc::syncfs(file.as_raw_fd()), 0);
        assert_eq!(libc::fdatasync(-1), -1);
    }
    let mut record = sync_probe::empty_record();
    before.add_growth_to(&sync_probe::snapshot(), &mut record);
    let calls =
        |kind| record.kinds.get(&kind).map_or((0, 0, 0), |calls| (calls.calls, calls.errors, calls.latency.count()));
    assert_eq!(calls(SyncKind::Fdatasync), (8, 1, 8));
    assert_eq!(calls(SyncKind::Fsync), (3, 0, 3));
    assert_eq!(calls(SyncKind::Syncfs), (1, 0, 1));
    assert_eq!(calls(SyncKind::Msync), (0, 0, 0));
    assert_eq!(record.calls(), Some(12));
}
