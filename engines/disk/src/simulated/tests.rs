//! The simulated disk itself.

use super::*;

fn written() -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let directory = Path::new("/d");
    disk.create_directory(directory).unwrap();
    let file = disk.open(&directory.join("a"), true).unwrap();
    file.write_all_at(b"synced", 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_directory(directory).unwrap();
    file.write_all_at(b"first", 6).unwrap();
    file.write_all_at(b"newest", 11).unwrap();
    disk
}

fn content(disk: &SimulatedDisk) -> Option<Vec<u8>> {
    disk.files().remove(Path::new("/d/a"))
}

#[test]
fn a_loss_leaves_what_it_says() {
    let disk = written();
    let end = disk.acts();
    let left = |loss| content(&disk.after_power_loss(end, loss)).unwrap();
    assert_eq!(left(Loss::All), b"synced");
    assert_eq!(left(Loss::Nothing), b"syncedfirstnewest");
    assert_eq!(left(Loss::TornNewest(500)), b"syncedfirstnew");
    assert_eq!(left(Loss::KeptNewest), b"synced\0\0\0\0\0newest");
    let some: BTreeSet<Vec<u8>> = (0..64).map(|seed| left(Loss::Some(seed))).collect();
    assert_eq!(some.len(), 4, "every subset of two writes turns up");
}

/// What a first loss left is there after a second one.
#[test]
fn losses_follow_each_other() {
    let disk = written();
    let once = disk.after_power_loss(disk.acts(), Loss::TornNewest(500));
    let file = once.open(Path::new("/d/a"), false).unwrap();
    file.write_all_at(b"again", 14).unwrap();
    assert_eq!(content(&once.after_power_loss(once.acts(), Loss::All)).unwrap(), b"syncedfirstnew");
    assert_eq!(content(&once.after_power_loss(once.acts(), Loss::Nothing)).unwrap(), b"syncedfirstnewagain");
    let copy = disk.settled_copy();
    assert_eq!(content(&copy.after_power_loss(0, Loss::All)).unwrap(), b"syncedfirstnewest");
}

#[test]
fn a_kill_loses_nothing_and_makes_nothing_durable() {
    let disk = written();
    let killed = disk.after_kill(disk.acts());
    assert_eq!((killed.acts(), killed.syncs()), (disk.acts(), disk.syncs()));
    assert_eq!(content(&killed).unwrap(), b"syncedfirstnewest");
    assert_eq!(content(&killed.after_power_loss(killed.acts(), Loss::All)).unwrap(), b"synced");
    assert_eq!(content(&disk.after_kill(2)).unwrap(), b"synced");
    // Killed before the directory was synced.
    let early = disk.after_kill(3);
    assert_eq!(content(&early.after_power_loss(early.acts(), Loss::All)), None);
    early.sync_directory(Path::new("/d")).unwrap();
    assert_eq!(content(&early.after_power_loss(early.acts(), Loss::All)).unwrap(), b"synced");
}

#[test]
fn a_name_needs_its_directory_synced_and_content_its_file() {
    let disk = written();
    assert_eq!(content(&disk.after_power_loss(1, Loss::All)), None);
    // Written and synced, but the name is not.
    assert_eq!(content(&disk.after_power_loss(3, Loss::All)), None);
    assert_eq!(content(&disk.after_power_loss(4, Loss::All)).unwrap(), b"synced");
    assert_eq!(content(&disk.after_power_loss(1, Loss::Nothing)).unwrap(), b"");
}

#[test]
fn syncs_can_be_told_apart_and_ignored() {
    let disk = written();
    let points = disk.sync_points();
    assert_eq!((points.len() as u64, disk.syncs_of(Path::new("/d/a"))), (disk.syncs(), 1));
    assert_eq!(content(&disk.after_power_loss(points[1], Loss::All)), None, "just before the directory's");
    assert_eq!(content(&disk.after_power_loss(points[1] + 1, Loss::All)).unwrap(), b"synced");
    disk.ignore_syncs();
    disk.open(Path::new("/d/a"), false).unwrap().sync_data().unwrap();
    assert_eq!(disk.sync_points(), points);
    assert_eq!(content(&disk.after_power_loss(disk.acts(), Loss::All)).unwrap(), b"synced");
}

#[test]
fn a_full_disk_says_so() {
    let disk = written();
    disk.limit_space(Some(3));
    let file = disk.open(Path::new("/d/a"), false).unwrap();
    assert_eq!(file.write_all_at(b"four", 17).unwrap_err().kind(), io::ErrorKind::StorageFull);
    disk.limit_space(None);
    file.write_all_at(b"four", 17).unwrap();
}

/// Of a write what fits is written; longer files take space, shorter and removed ones give it back.
#[test]
fn space_is_what_files_grow_by() {
    let disk = written();
    let (a, b) = (Path::new("/d/a"), Path::new("/d/b"));
    let file = disk.open(a, false).unwrap();
    let length = file.length().unwrap();
    disk.limit_space(Some(5));
    file.write_all_at(b"over", 0).unwrap();
    assert_eq!(file.set_length(length + 6).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.set_length(length + 2).unwrap();
    assert_eq!(file.write_all_at(b"12345", length + 2).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert!(content(&disk).unwrap().ends_with(b"\0\x00123"), "half of it was written");
    let other = disk.open(b, true).unwrap();
    assert!(other.write_all_at(b"x", 0).is_err());
    file.set_length(4).unwrap();
    other.write_all_at(b"x", 0).unwrap();
    disk.remove(a).unwrap();
    other.write_all_at(&[1; 8], 1).unwrap();
}

/// The pages of a failing sync can be read and are gone with the power, whatever is synced later.
#[test]
fn a_failing_sync_drops_its_pages() {
    for (for_ever, later_survives) in [(false, true), (true, false)] {
        let disk = written();
        let file = disk.open(Path::new("/d/a"), false).unwrap();
        let next = disk.calls(Call::Sync);
        disk.fail(Fault { call: Call::Sync, first: next, for_ever });
        file.sync_data().unwrap_err();
        file.write_all_at(b"later", 17).unwrap();
        assert_eq!(file.sync_data().is_ok(), later_survives);
        assert_eq!(content(&disk).unwrap(), b"syncedfirstnewestlater");
        let left = content(&disk.after_kill(disk.acts()).after_power_loss(disk.acts(), Loss::Nothing)).unwrap();
        let wanted: &[u8] = if later_survives { b"synced\0\0\0\0\0\0\0\0\0\0\0later" } else { b"synced" };
        assert_eq!(left, wanted);
        // What is written again is dirty again.
        disk.heal();
        file.write_all_at(b"first", 6).unwrap();
        file.sync_data().unwrap();
        assert!(content(&disk.after_power_loss(disk.acts(), Loss::All)).unwrap().starts_with(b"syncedfirst"));
    }
}

#[test]
fn each_kind_of_call_can_fail() {
    let disk = written();
    let (a, b) = (Path::new("/d/a"), Path::new("/d/b"));
    let file = disk.open(a, false).unwrap();
    let before = disk.files();
    for call in Call::ALL {
        disk.fail(Fault::once(call, disk.calls(call)));
    }
    assert!(disk.open(b, true).is_err());
    assert!(disk.rename(a, b).is_err());
    assert!(disk.remove(a).is_err());
    assert!(disk.sync_directory(Path::new("/d")).is_err());
    assert!(file.set_length(1).is_err());
    assert!(file.sync_data().is_err());
    assert_eq!(disk.files(), before);
    assert!(file.write_all_at(b"NEWEST", 11).is_err());
    assert_eq!(content(&disk).unwrap(), b"syncedfirstNEWest", "half of it is written");
    disk.rename(a, b).unwrap();
}

#[test]
fn writes_are_torn_by_sector() {
    let disk = SimulatedDisk::new();
    disk.create_directory(Path::new("/d")).unwrap();
    let file = disk.open(Path::new("/d/a"), true).unwrap();
    file.write_all_at(&[7; 3 * 512], 100).unwrap();
    let left: BTreeSet<Vec<bool>> = (0..200)
        .map(|seed| {
            let content = content(&disk.after_power_loss(disk.acts(), Loss::Sectors(seed))).unwrap();
            [100, 512, 1024, 1536].map(|at| content.get(at) == Some(&7)).to_vec()
        })
        .collect();
    assert_eq!(left.len(), 16, "every subset of four sectors turns up");
}

#[test]
fn a_lock_has_one_owner_and_ends_with_the_power() {
    let disk = written();
    let path = Path::new("/d/lock");
    let held = disk.lock(path).unwrap();
    assert_eq!(disk.lock(path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    disk.after_kill(disk.acts()).lock(path).unwrap();
    drop(held);
    disk.lock(path).unwrap();
}
