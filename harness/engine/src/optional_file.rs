//! Files that may be absent. Only absence means that there is nothing: a file that is there and cannot be read would
//! otherwise be rules that are not kept, or a record that is written over.

use std::{fs, io, path::Path};

/// The text of the file; `None` where there is no such file.
///
/// # Errors
/// What keeps a file that is there from being read: permission, a folder, a link to nothing, text that is not UTF-8.
pub fn read_optional(path: &Path) -> io::Result<Option<String>> {
    read_optional_bytes(path)?
        .map(|bytes| {
            String::from_utf8(bytes).map_err(|error| {
                let place = error.utf8_error().valid_up_to();
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("it is not UTF-8 text from byte {place} on; save it as UTF-8"),
                )
            })
        })
        .transpose()
}

/// The bytes of the file; `None` where there is no such file.
///
/// # Errors
/// What keeps a file that is there from being read.
pub fn read_optional_bytes(path: &Path) -> io::Result<Option<Vec<u8>>> {
    present(path, fs::read(path))
}

/// What is in the folder; nothing where there is no such folder.
///
/// # Errors
/// What keeps a folder that is there from being read.
pub fn list_optional(path: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match present(path, fs::read_dir(path))? {
        Some(entries) => entries.collect(),
        None => Ok(Vec::new()),
    }
}

fn present<T>(path: &Path, read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::symlink_metadata(path) {
            Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "it is a link to something that is not there")),
            Err(_) => Ok(None),
        },
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_absence_means_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert_eq!(read_optional(&at("none")).unwrap(), None);
        assert!(list_optional(&at("none")).unwrap().is_empty());
        fs::write(at("text"), "ü").unwrap();
        assert_eq!(read_optional(&at("text")).unwrap().unwrap(), "ü");
        fs::write(at("latin"), b"a \xfc").unwrap();
        fs::create_dir(at("folder")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        symlink(at("loop"), at("loop")).unwrap();
        for (name, words) in
            [("latin", "from byte 2 on"), ("folder", "directory"), ("dangling", "not there"), ("loop", "")]
        {
            let error = read_optional(&at(name)).unwrap_err().to_string();
            assert!(error.contains(words), "{name}: {error}");
        }
        assert!(list_optional(&at("text")).is_err() && list_optional(&at("dangling")).is_err());
        assert_eq!(list_optional(folder.path()).unwrap().len(), 5);
    }
}
