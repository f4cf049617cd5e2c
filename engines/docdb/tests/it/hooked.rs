//! A simulated disk that calls a test back before each sync.

use std::{fmt, io, path::Path, sync::Arc};

use engine_disk::{Disk, DiskFile, DiskLock, SimulatedDisk};

/// What is called before each sync of a file.
pub type Hook = Arc<dyn Fn() + Send + Sync>;

/// A [`SimulatedDisk`] with a hook.
pub struct HookedDisk {
    disk: SimulatedDisk,
    before_sync: Hook,
}

struct HookedFile(Arc<dyn DiskFile>, Hook);

impl HookedDisk {
    /// `disk`, with `before_sync` called before each sync of a file.
    pub fn shared(disk: &SimulatedDisk, before_sync: Hook) -> Arc<dyn Disk> {
        Arc::new(Self { disk: disk.clone(), before_sync })
    }
}

impl fmt::Debug for HookedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.disk.fmt(f)
    }
}

impl fmt::Debug for HookedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Disk for HookedDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(HookedFile(self.disk.open(path, create)?, Arc::clone(&self.before_sync))))
    }
    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }
    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        self.disk.create_directory(directory)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.disk.sync_directory(directory)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path)
    }
}

impl DiskFile for HookedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        (self.1)();
        self.0.sync_data()
    }
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
    fn set_length(&self, length: u64) -> io::Result<()> {
        self.0.set_length(length)
    }
}
