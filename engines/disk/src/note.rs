//! Small files that are there whole or not at all.
//!
//! An engine that is closed in order leaves a note of where its files end, and takes it away before it writes again: where
//! there is a note, a file that ends elsewhere was damaged.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::Disk;

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Writes `text` as the note `path`, in place of the one before. It survives a power loss once this returns.
///
/// # Errors
/// What the system says; the note before, or none, is then there.
pub fn write_note(disk: &dyn Disk, path: &Path, text: &str) -> io::Result<()> {
    let mut new: PathBuf = path.to_owned();
    new.add_extension("new");
    let file = disk.open(&new, true)?;
    file.set_length(0)?;
    file.write_all_at(format!("{text}\n{:08x}\n", crc32fast::hash(text.as_bytes())).as_bytes(), 0)?;
    file.sync_data()?;
    disk.rename(&new, path)?;
    disk.sync_directory(directory(path))
}

/// Reads the note `path`; `None` where there is none.
///
/// # Errors
/// What the system says; `InvalidData` where it is not what was written.
pub fn read_note(disk: &dyn Disk, path: &Path) -> io::Result<Option<String>> {
    let file = match disk.open(path, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let damaged = || {
        let why = "the note of an orderly close is damaged; remove it to open the files as after a crash";
        io::Error::new(io::ErrorKind::InvalidData, why)
    };
    let bytes = file.read_all()?;
    let whole = std::str::from_utf8(&bytes).map_err(|_| damaged())?;
    let text = whole.strip_suffix('\n').and_then(|lines| lines.rsplit_once('\n'));
    match text {
        Some((text, checksum)) if checksum == format!("{:08x}", crc32fast::hash(text.as_bytes())) => {
            Ok(Some(text.to_owned()))
        }
        _ => Err(damaged()),
    }
}

/// Removes the note `path` where there is one, and syncs its directory in any case: whoever removed it before may have been
/// killed before that.
///
/// # Errors
/// What the system says.
pub fn remove_note(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed?,
    }
    disk.sync_directory(directory(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Loss, SimulatedDisk};

    #[test]
    fn a_note_is_whole_or_not_there_and_its_damage_is_noticed() {
        let disk = SimulatedDisk::new();
        let path = Path::new("/d/closed");
        disk.create_directory(Path::new("/d")).unwrap();
        write_note(&disk, path, "first").unwrap();
        let first = disk.acts();
        write_note(&disk, path, "second").unwrap();
        for point in 0..=disk.acts() {
            for loss in [Loss::All, Loss::Nothing, Loss::TornNewest(500), Loss::Some(3), Loss::Sectors(5)] {
                let after = disk.after_power_loss(point, loss);
                let found = read_note(&after, path).unwrap();
                let possible: &[Option<&str>] = match point {
                    _ if point < first => &[None, Some("first")],
                    _ if point < disk.acts() => &[Some("first"), Some("second")],
                    _ => &[Some("second")],
                };
                assert!(possible.contains(&found.as_deref()), "{point} {loss:?}: {found:?}");
            }
        }
        for offset in 0..disk.files()[path].len() {
            let flipped = disk.settled_copy();
            flipped.flip(path, offset);
            assert_eq!(read_note(&flipped, path).unwrap_err().kind(), io::ErrorKind::InvalidData, "{offset}");
        }
        remove_note(&disk, path).unwrap();
        remove_note(&disk, path).unwrap();
        assert_eq!(read_note(&disk.after_power_loss(disk.acts(), Loss::All), path).unwrap(), None);
    }
}
