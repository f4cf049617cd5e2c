//! What the power takes, as a program sees it.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
    thread,
};

use uplift_powerfs::{Fault, FaultKind, Kept, leftovers};

use super::mounted;

fn synced(path: &Path, bytes: &[u8]) {
    let mut file = File::create(path).unwrap();
    file.write_all(bytes).unwrap();
    file.sync_all().unwrap();
}

fn lose(disk: &mut uplift_powerfs::PowerFs, kept: Kept) {
    disk.cut();
    disk.release();
    disk.restore(kept, 1, false).unwrap();
}

#[test]
fn names_need_a_sync_of_their_directory() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let Some(mut disk) = mounted(root) else { return };
    synced(&root.join("old"), b"old");
    disk.begin(None, true, None);
    synced(&root.join("new.tmp"), b"new");
    fs::rename(root.join("new.tmp"), root.join("old")).unwrap();
    lose(&mut disk, Kept::Nothing);
    assert_eq!(fs::read(root.join("old")).unwrap(), b"old");
    assert_eq!(fs::read(root.join("new.tmp")).unwrap_err().kind(), ErrorKind::NotFound);
    synced(&root.join("new.tmp"), b"new");
    fs::rename(root.join("new.tmp"), root.join("old")).unwrap();
    File::open(root).unwrap().sync_all().unwrap();
    lose(&mut disk, Kept::Nothing);
    assert_eq!(fs::read(root.join("old")).unwrap(), b"new");
}

/// Each way of syncing counts once, and what is not synced is gone.
#[test]
fn every_way_to_sync_makes_durable() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let Some(mut disk) = mounted(root) else { return };
    let path = root.join("file");
    fs::write(&path, [0; 8192]).unwrap();
    let write = |flags, byte: u8| {
        let file = OpenOptions::new().write(true).custom_flags(flags).open(&path).unwrap();
        file.write_all_at(&[byte; 4096], 4096).unwrap();
        file
    };
    for (byte, flags) in [(1, libc::O_DSYNC), (2, libc::O_SYNC)] {
        disk.begin(None, true, None);
        write(flags, byte);
        assert_eq!(disk.syncs(), 1, "flags {flags:o}");
        lose(&mut disk, Kept::Nothing);
        assert_eq!(fs::read(&path).unwrap()[4096], byte);
    }
    disk.begin(None, true, None);
    write(0, 3).sync_data().unwrap();
    write(0, 4);
    assert_eq!(disk.syncs(), 1);
    lose(&mut disk, Kept::Nothing);
    assert_eq!(fs::read(&path).unwrap()[4096], 3);
    write(0, 5);
    lose(&mut disk, Kept::Everything);
    assert_eq!(fs::read(&path).unwrap()[4096], 5);
}

#[test]
fn a_cut_at_a_sync_comes_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let Some(mut disk) = mounted(root) else { return };
    let path = root.join("file");
    fs::write(&path, [0; 10]).unwrap();
    let reached = disk.begin(Some(3), true, None);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            (1u8..).find(|step| file.write_all_at(&[*step], u64::from(*step)).is_err() || file.sync_all().is_err())
        });
        reached.recv().unwrap();
        assert!(disk.cut_ns().is_some());
        disk.release();
        assert_eq!(writer.join().unwrap(), Some(3));
    });
    disk.restore(Kept::Nothing, 1, false).unwrap();
    assert_eq!(fs::read(&path).unwrap(), [0, 1, 2, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_failed_sync_a_full_disk_and_a_short_write_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let Some(mut disk) = mounted(root) else { return };
    let path = root.join("file");
    fs::write(&path, b"durable").unwrap();
    let fault = |kind| Some(Fault { kind, nth: 1, for_ever: false });
    disk.begin(None, true, fault(FaultKind::FailedSync));
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"dropped", 0).unwrap();
    assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(libc::EIO));
    file.sync_all().unwrap();
    drop(file);
    lose(&mut disk, Kept::Nothing);
    assert_eq!(fs::read(&path).unwrap(), b"durable", "a second sync does not write what the first one dropped");

    disk.begin(None, true, fault(FaultKind::FullDisk));
    let mut file = OpenOptions::new().write(true).open(&path).unwrap();
    assert_eq!(file.write(b"x").unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    disk.begin(None, true, fault(FaultKind::ShortWrite));
    assert_eq!(file.write(b"12345678").unwrap(), 4);
}

#[test]
fn a_flipped_bit_is_one_bit() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let Some(mut disk) = mounted(root) else { return };
    synced(&root.join("file"), &[0x55; 5_000]);
    disk.begin(None, true, None);
    disk.cut();
    disk.release();
    disk.restore(Kept::Nothing, 9, true).unwrap();
    let found = fs::read(root.join("file")).unwrap();
    let bits: u32 = found.iter().map(|byte| (byte ^ 0x55).count_ones()).sum();
    assert_eq!((found.len(), bits), (5_000, 1));
}

#[test]
fn a_full_disk_is_full_and_nothing_is_left_mounted() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let Some(disk) = mounted(root) else { return };
    drop(disk);
    let small = uplift_powerfs::PowerFs::mount(root, 64 << 10).unwrap();
    let error = fs::write(root.join("big"), vec![1; 1 << 20]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    drop(small);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(root.to_str().unwrap()), "{mounts}");
    assert!(leftovers().iter().all(|left| left.at != root));
}
