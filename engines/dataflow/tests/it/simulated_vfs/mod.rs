//! SQLite on a simulated disk: a VFS whose writes, syncs and names are those of a [`Disk`].
//!
//! It syncs a directory where SQLite's own VFS for Unix does, and claims what that one claims of its disk. Locks and the
//! shared memory of a write-ahead log are kept in memory for the connections of this process; a loss of power takes
//! them.

mod file;
mod node;

use std::{
    collections::BTreeMap,
    ffi::{CStr, CString, OsStr, c_char, c_int, c_void},
    io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    ptr, slice,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use engine_disk::Disk;
use rusqlite::ffi;

use self::{
    file::{Handle, OpenFile},
    node::Node,
};

/// The Julian day on which Unix time begins.
const UNIX_EPOCH_JULIAN_DAY: f64 = 2_440_587.5;
const PATH_BYTES_MAX: c_int = 512;

/// A registered VFS. No connection through it may be open when it is dropped.
pub struct SimulatedVfs {
    registered: *mut ffi::sqlite3_vfs,
    name: CString,
    /// What the callbacks find through `pAppData`.
    _shared: Arc<Shared>,
}

/// What all files of a VFS share.
struct Shared {
    disk: Arc<dyn Disk>,
    nodes: Mutex<BTreeMap<PathBuf, Arc<Mutex<Node>>>>,
}

impl SimulatedVfs {
    /// Registers a VFS over `disk`, under a name of its own.
    pub fn over(disk: Arc<dyn Disk>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = CString::new(format!("simulated-{}", NEXT.fetch_add(1, Ordering::Relaxed))).unwrap();
        let shared = Arc::new(Shared { disk, nodes: Mutex::default() });
        let vfs = ffi::sqlite3_vfs {
            iVersion: 1,
            szOsFile: size_of::<OpenFile>() as c_int,
            mxPathname: PATH_BYTES_MAX,
            pNext: ptr::null_mut(),
            zName: name.as_ptr(),
            pAppData: Arc::as_ptr(&shared).cast_mut().cast(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: Some(get_last_error),
            xCurrentTimeInt64: None,
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        };
        let registered = Box::into_raw(Box::new(vfs));
        // SAFETY: the structure, its name and `pAppData` live until `drop` takes the registration back.
        let code = unsafe { ffi::sqlite3_vfs_register(registered, 0) };
        assert_eq!(code, ffi::SQLITE_OK);
        Self { registered, name, _shared: shared }
    }

    /// What it is registered as.
    pub fn name(&self) -> &str {
        self.name.to_str().unwrap()
    }
}

impl Drop for SimulatedVfs {
    fn drop(&mut self) {
        // SAFETY: it was registered and boxed by `over`; no connection uses it any more, as its documentation asks.
        unsafe {
            ffi::sqlite3_vfs_unregister(self.registered);
            drop(Box::from_raw(self.registered));
        }
    }
}

impl Shared {
    fn open(&self, path: &Path, flags: c_int) -> io::Result<Handle> {
        let creates = flags & ffi::SQLITE_OPEN_CREATE != 0;
        let file = self.disk.open(path, creates)?;
        let node = {
            let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(nodes.entry(path.to_owned()).or_default())
        };
        // As for Unix: the name of a journal or write-ahead log is synced with its content, that of a database is not.
        let journals = ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL | ffi::SQLITE_OPEN_WAL;
        let unsynced_name = (creates && flags & journals != 0).then(|| path.to_owned());
        let deletes = (flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0).then(|| path.to_owned());
        Ok(Handle::new(Arc::clone(&self.disk), file, node, unsynced_name, deletes))
    }

    fn delete(&self, path: &Path, sync_directory: bool) -> io::Result<()> {
        self.disk.remove(path)?;
        if sync_directory { self.disk.sync_directory(directory_of(path)) } else { Ok(()) }
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// # Safety
/// `vfs` is one of [`SimulatedVfs::over`] that is registered.
unsafe fn shared_of<'a>(vfs: *mut ffi::sqlite3_vfs) -> &'a Shared {
    // SAFETY: `pAppData` is the `Shared` that the registration holds.
    unsafe { &*(*vfs).pAppData.cast::<Shared>() }
}

/// # Safety
/// `name` is null or a C string that outlives the answer.
unsafe fn path_of<'a>(name: *const c_char) -> Option<&'a Path> {
    if name.is_null() {
        return None;
    }
    // SAFETY: as the caller says.
    Some(Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes())))
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    flags_in_force: *mut c_int,
) -> c_int {
    // SAFETY: SQLite hands in `szOsFile` bytes for the file and calls no method of it before this returns; names live as
    // long as the file is open.
    unsafe {
        let file = file.cast::<OpenFile>();
        (*file).base.pMethods = ptr::null();
        // Without a name it would be a temporary file, which nothing here needs.
        let Some(path) = path_of(name) else { return ffi::SQLITE_CANTOPEN };
        let Ok(handle) = shared_of(vfs).open(path, flags) else { return ffi::SQLITE_CANTOPEN };
        (*file).handle = Box::into_raw(Box::new(handle));
        (*file).base.pMethods = &raw const file::METHODS;
        if !flags_in_force.is_null() {
            *flags_in_force = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync_directory: c_int) -> c_int {
    // SAFETY: SQLite hands in its VFS and a C string.
    let (shared, path) = unsafe { (shared_of(vfs), path_of(name)) };
    let Some(path) = path else { return ffi::SQLITE_IOERR_DELETE };
    match shared.delete(path, sync_directory != 0) {
        Ok(()) => ffi::SQLITE_OK,
        Err(error) if error.kind() == io::ErrorKind::NotFound => ffi::SQLITE_IOERR_DELETE_NOENT,
        Err(_) => ffi::SQLITE_IOERR_DELETE,
    }
}

unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    answer: *mut c_int,
) -> c_int {
    // SAFETY: SQLite hands in its VFS, a C string and a place for the answer.
    unsafe {
        let Some(path) = path_of(name) else { return ffi::SQLITE_IOERR_ACCESS };
        let length = shared_of(vfs).disk.open(path, false).and_then(|file| file.length());
        // As for Unix: a file without content does not exist.
        *answer = c_int::from(length.is_ok_and(|length| flags != ffi::SQLITE_ACCESS_EXISTS || length > 0));
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    full: *mut c_char,
) -> c_int {
    // SAFETY: SQLite hands in a C string and `room` bytes for the answer.
    unsafe {
        // Paths of a simulated disk are absolute.
        let name = CStr::from_ptr(name).to_bytes_with_nul();
        if name.len() > room as usize {
            return ffi::SQLITE_CANTOPEN;
        }
        ptr::copy_nonoverlapping(name.as_ptr().cast(), full, name.len());
    }
    ffi::SQLITE_OK
}

/// A VFS must have it; SQLite's own generator is seeded by the default VFS.
unsafe extern "C" fn randomness(_: *mut ffi::sqlite3_vfs, count: c_int, bytes: *mut c_char) -> c_int {
    static STATE: AtomicU64 = AtomicU64::new(1);
    // SAFETY: SQLite hands in room for `count` bytes.
    let bytes = unsafe { slice::from_raw_parts_mut(bytes.cast::<u8>(), count as usize) };
    for byte in bytes {
        *byte = (STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed) >> 56) as u8;
    }
    count
}

unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    thread::sleep(Duration::from_micros(microseconds.max(0) as u64));
    microseconds
}

unsafe extern "C" fn current_time(_: *mut ffi::sqlite3_vfs, julian_day: *mut f64) -> c_int {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // SAFETY: SQLite hands in a place for the answer.
    unsafe { *julian_day = UNIX_EPOCH_JULIAN_DAY + now.as_secs_f64() / 86_400.0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn get_last_error(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}

/// A pointer that SQLite keeps for a shared-memory region.
type RegionPointer = *mut c_void;
