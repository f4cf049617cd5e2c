//! An open file of SQLite on a simulated disk.

use std::{
    ffi::{c_int, c_void},
    io,
    path::PathBuf,
    slice,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use engine_disk::{Disk, DiskFile};
use rusqlite::ffi;

use super::{
    RegionPointer, directory_of,
    node::{Held, Node},
};

/// What SQLite's VFS for Unix says of its disks.
const SECTOR_BYTES: c_int = 4096;

/// What SQLite has of an open file.
#[repr(C)]
pub struct OpenFile {
    pub base: ffi::sqlite3_file,
    pub handle: *mut Handle,
}

/// An open file.
pub struct Handle {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    node: Arc<Mutex<Node>>,
    /// A name that is synced with the next sync of the content.
    unsynced_name: Option<PathBuf>,
    deletes: Option<PathBuf>,
    level: c_int,
    shared_memory: Option<Held>,
}

impl Handle {
    pub fn new(
        disk: Arc<dyn Disk>,
        file: Arc<dyn DiskFile>,
        node: Arc<Mutex<Node>>,
        unsynced_name: Option<PathBuf>,
        deletes: Option<PathBuf>,
    ) -> Self {
        Self { disk, file, node, unsynced_name, deletes, level: ffi::SQLITE_LOCK_NONE, shared_memory: None }
    }

    fn node(&self) -> MutexGuard<'_, Node> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        match self.unsynced_name.take() {
            Some(path) => self.disk.sync_directory(directory_of(&path)),
            None => Ok(()),
        }
    }

    fn lock(&mut self, wanted: c_int) -> bool {
        let (level, locked) = self.node().lock(self.level, wanted);
        self.level = level;
        locked
    }

    fn unlock(&mut self, wanted: c_int) {
        let level = self.node().unlock(self.level, wanted);
        self.level = level;
    }

    fn map(&mut self, index: usize, bytes: usize, extend: bool) -> RegionPointer {
        let node = Arc::clone(&self.node);
        let mut node = node.lock().unwrap_or_else(PoisonError::into_inner);
        if self.shared_memory.is_none() {
            node.attach();
            self.shared_memory = Some(Held::default());
        }
        node.region(index, bytes, extend)
    }

    fn unmap(&mut self) {
        if let Some(mut held) = self.shared_memory.take() {
            self.node().detach(&mut held);
        }
    }

    fn close(mut self) {
        self.unmap();
        self.unlock(ffi::SQLITE_LOCK_NONE);
        if let Some(path) = self.deletes.take() {
            let _ = self.disk.remove(&path);
        }
    }
}

/// The methods of every file.
pub static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// # Safety
/// `file` is open, and no other thread uses it: SQLite keeps each connection to one thread at a time.
unsafe fn handle<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Handle {
    // SAFETY: as the caller says; `open` has put the handle there and `close` takes it away.
    unsafe { &mut *(*file.cast::<OpenFile>()).handle }
}

fn code(outcome: io::Result<()>, otherwise: c_int) -> c_int {
    match outcome {
        Ok(()) => ffi::SQLITE_OK,
        Err(error) if error.kind() == io::ErrorKind::StorageFull => ffi::SQLITE_FULL,
        Err(_) => otherwise,
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes an open file once.
    unsafe { Box::from_raw((*file.cast::<OpenFile>()).handle) }.close();
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, bytes: *mut c_void, count: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite hands in an open file and room for `count` bytes.
    let (handle, bytes) = unsafe { (handle(file), slice::from_raw_parts_mut(bytes.cast::<u8>(), count as usize)) };
    match handle.file.read_at(bytes, offset as u64) {
        Ok(there) if there == bytes.len() => ffi::SQLITE_OK,
        Ok(there) => {
            bytes[there..].fill(0);
            ffi::SQLITE_IOERR_SHORT_READ
        }
        Err(_) => ffi::SQLITE_IOERR_READ,
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, bytes: *const c_void, count: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite hands in an open file and `count` bytes.
    let (handle, bytes) = unsafe { (handle(file), slice::from_raw_parts(bytes.cast::<u8>(), count as usize)) };
    code(handle.file.write_all_at(bytes, offset as u64), ffi::SQLITE_IOERR_WRITE)
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: i64) -> c_int {
    // SAFETY: SQLite hands in an open file.
    let handle = unsafe { handle(file) };
    code(handle.file.set_length(length as u64), ffi::SQLITE_IOERR_TRUNCATE)
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: as above.
    let handle = unsafe { handle(file) };
    code(handle.sync(), ffi::SQLITE_IOERR_FSYNC)
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, length: *mut i64) -> c_int {
    // SAFETY: SQLite hands in an open file and a place for the answer.
    unsafe {
        match handle(file).file.length() {
            Ok(bytes) => {
                *length = bytes as i64;
                ffi::SQLITE_OK
            }
            Err(_) => ffi::SQLITE_IOERR_FSTAT,
        }
    }
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite hands in an open file.
    if unsafe { handle(file) }.lock(level) { ffi::SQLITE_OK } else { ffi::SQLITE_BUSY }
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite hands in an open file.
    unsafe { handle(file) }.unlock(level);
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, answer: *mut c_int) -> c_int {
    // SAFETY: SQLite hands in an open file and a place for the answer.
    unsafe { *answer = c_int::from(handle(file).node().is_reserved()) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    SECTOR_BYTES
}

unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    index: c_int,
    bytes: c_int,
    extend: c_int,
    region: *mut RegionPointer,
) -> c_int {
    // SAFETY: SQLite hands in an open file and a place for the answer.
    unsafe { *region = handle(file).map(index as usize, bytes as usize, extend != 0) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, first: c_int, count: c_int, flags: c_int) -> c_int {
    // SAFETY: SQLite hands in an open file.
    let handle = unsafe { handle(file) };
    let (first, count) = (first as usize, count as usize);
    let mut node = handle.node.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(held) = &mut handle.shared_memory else { return ffi::SQLITE_IOERR_SHMLOCK };
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        node.unlock_slots(held, first, count);
    } else if !node.lock_slots(held, first, count, flags & ffi::SQLITE_SHM_EXCLUSIVE != 0) {
        return ffi::SQLITE_BUSY;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    // SAFETY: SQLite hands in an open file. Taking the lock orders this with other connections, as for Unix.
    drop(unsafe { handle(file) }.node());
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: SQLite hands in an open file.
    unsafe { handle(file) }.unmap();
    ffi::SQLITE_OK
}
