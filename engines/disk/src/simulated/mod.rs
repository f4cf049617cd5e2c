//! A disk in memory that keeps the sequence of what was done to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

mod faults;
mod loss;
#[cfg(test)]
mod tests;

use self::faults::Faults;
pub use self::{
    faults::{Call, Fault},
    loss::Loss,
};
use super::{Disk, DiskFile, DiskLock};

/// A disk in memory. Clones share it.
///
/// It is as strict as POSIX lets a file system be: content survives a power loss after `sync_data` of the file, a name
/// after `sync_directory` of its directory, and neither implies the other. Between syncs, writes may survive in any
/// subset.
#[derive(Clone, Debug, Default)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Clone, Debug)]
enum Act {
    Create {
        path: PathBuf,
        file: usize,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove {
        path: PathBuf,
    },
    SyncDirectory {
        directory: PathBuf,
    },
    Write {
        file: usize,
        offset: u64,
        bytes: Vec<u8>,
    },
    SetLength {
        file: usize,
        length: u64,
    },
    SyncData {
        file: usize,
    },
    /// A sync that failed: what was written to the file since the one before will never be.
    FailedSync {
        file: usize,
    },
}

#[derive(Clone, Debug, Default)]
struct State {
    acts: Vec<Act>,
    names: BTreeMap<PathBuf, usize>,
    directories: BTreeSet<PathBuf>,
    contents: Vec<Vec<u8>>,
    /// Names and contents before the first act: what an earlier power loss left.
    base: (BTreeMap<PathBuf, usize>, Vec<Vec<u8>>),
    syncs: u64,
    /// Bytes by which files can grow before there is "no space left on device".
    space: Option<u64>,
    /// Syncs say that they were done and were not.
    ignores_syncs: bool,
    faults: Faults,
    /// Files that are locked.
    locked: BTreeSet<PathBuf>,
}

impl State {
    fn apply(&mut self, act: &Act) {
        match act {
            Act::Create { path, file, .. } => {
                self.names.insert(path.clone(), *file);
                if self.contents.len() <= *file {
                    self.contents.resize(*file + 1, Vec::new());
                }
            }
            Act::Rename { from, to } => {
                if let Some(file) = self.names.remove(from) {
                    self.names.insert(to.clone(), file);
                }
            }
            Act::Remove { path } => {
                self.names.remove(path);
            }
            Act::Write { file, offset, bytes } => write(&mut self.contents[*file], *offset, bytes),
            Act::SetLength { file, length } => self.contents[*file].resize(*length as usize, 0),
            Act::SyncDirectory { .. } | Act::SyncData { .. } | Act::FailedSync { .. } => {}
        }
    }

    /// As it was before the first act, with room for the files of all acts.
    fn before(&self) -> Self {
        let (names, mut contents) = self.base.clone();
        contents.resize(self.contents.len(), Vec::new());
        Self { directories: self.directories.clone(), names, contents, base: self.base.clone(), ..Self::default() }
    }

    fn sync(&mut self, act: Act) {
        if !self.ignores_syncs {
            self.syncs += 1;
            self.acts.push(act);
        }
    }

    fn act(&mut self, act: Act) {
        self.apply(&act);
        self.acts.push(act);
    }

    /// Gives back the space of the file `path`, which is about to lose its name.
    fn free(&mut self, path: &Path) {
        let bytes = self.names.get(path).map_or(0, |&file| self.contents[file].len() as u64);
        if let Some(space) = &mut self.space {
            *space += bytes;
        }
    }

    /// Takes the space that `file` needs to be `length` bytes long. Returns the length that there is space for.
    fn grow(&mut self, file: usize, length: u64) -> u64 {
        let present = self.contents[file].len() as u64;
        let Some(space) = &mut self.space else { return length };
        let possible = length.min(present.saturating_add(*space));
        *space -= possible.saturating_sub(present);
        possible
    }
}

/// There is no space left.
fn full() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}

fn write(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let (start, end) = (offset as usize, offset as usize + bytes.len());
    if content.len() < end {
        content.resize(end, 0);
    }
    content[start..end].copy_from_slice(bytes);
}

impl SimulatedDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many acts (writes, syncs, changes of names) there were so far: the points at which power may be lost are 0
    /// to this.
    pub fn acts(&self) -> usize {
        self.state().acts.len()
    }

    /// Sync calls so far, of files and directories.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// The acts that are syncs, of files and directories: a loss at `point` comes just before that sync, one at `point + 1`
    /// just after it.
    pub fn sync_points(&self) -> Vec<usize> {
        let is_sync = |act: &Act| matches!(act, Act::SyncData { .. } | Act::SyncDirectory { .. });
        self.state().acts.iter().enumerate().filter(|(_, act)| is_sync(act)).map(|(point, _)| point).collect()
    }

    /// How often the file that is called `path` now was synced.
    pub fn syncs_of(&self, path: &Path) -> usize {
        let state = self.state();
        let Some(wanted) = state.names.get(path) else { return 0 };
        state.acts.iter().filter(|act| matches!(act, Act::SyncData { file } if file == wanted)).count()
    }

    /// From now on syncs do nothing and say that they did, as some hardware does: the counter-test of a test that finds
    /// nothing lost.
    pub fn ignore_syncs(&self) {
        self.state().ignores_syncs = true;
    }

    /// Lets calls of a kind fail.
    pub fn fail(&self, fault: Fault) {
        self.state().faults.planned.push(fault);
    }

    /// From now on no call fails.
    pub fn heal(&self) {
        self.state().faults.planned.clear();
    }

    /// How often `call` was called so far, failures included.
    pub fn calls(&self, call: Call) -> u64 {
        self.state().faults.calls(call)
    }

    /// Lets files grow by `bytes` more bytes: what does not fit fails with "no space left on device", and of a write what
    /// fits is written. Longer files by `set_length` take space too; shorter and removed ones give it back. `None` ends that.
    pub fn limit_space(&self, bytes: Option<u64>) {
        self.state().space = bytes;
    }

    /// All files with their contents, for tests that change them.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        state.names.iter().map(|(path, file)| (path.clone(), state.contents[*file].clone())).collect()
    }

    /// Flips the lowest bit of the byte at `offset` of the file `path`, as a failing medium would.
    ///
    /// # Panics
    /// Where there is no such byte.
    pub fn flip(&self, path: &Path, offset: usize) {
        let mut state = self.state();
        let file = state.names[path];
        state.contents[file][offset] ^= 1;
    }

    /// A disk of its own with the same files, all of them synced.
    pub fn settled_copy(&self) -> Self {
        let state = self.state();
        let copy = State {
            names: state.names.clone(),
            directories: state.directories.clone(),
            contents: state.contents.clone(),
            base: (state.names.clone(), state.contents.clone()),
            ..State::default()
        };
        Self(Arc::new(Mutex::new(copy)))
    }

    /// The disk as a process that is killed after the first `point` acts leaves it: everything is there, and what was not
    /// synced may be lost by a later loss of power.
    pub fn after_kill(&self, point: usize) -> Self {
        let state = self.state();
        let mut after = state.before();
        for act in &state.acts[..point.min(state.acts.len())] {
            after.apply(act);
            after.syncs += u64::from(matches!(act, Act::SyncData { .. } | Act::SyncDirectory { .. }));
            after.acts.push(act.clone());
        }
        Self(Arc::new(Mutex::new(after)))
    }

    /// The disk as a loss of power after the first `point` acts leaves it.
    ///
    /// What was synced by then survives; of the rest, names and content, what `loss` says.
    pub fn after_power_loss(&self, point: usize, loss: Loss) -> Self {
        let state = self.state();
        let acts = &state.acts[..point.min(state.acts.len())];
        let mut after = state.before();
        for (act, survival) in acts.iter().zip(loss::survivors(acts, loss)) {
            after.apply_survivor(act, survival);
        }
        after.base = (after.names.clone(), after.contents.clone());
        Self(Arc::new(Mutex::new(after)))
    }
}

impl Disk for SimulatedDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let file = match state.names.get(path) {
            Some(&file) => file,
            None if create => {
                let directory = path.parent().unwrap_or(Path::new("")).to_owned();
                if !state.directories.contains(&directory) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                state.faults.call(Call::Create)?;
                let file = state.contents.len();
                state.act(Act::Create { path: path.to_owned(), file });
                file
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(SimulatedFile { disk: self.clone(), file }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        if !state.directories.contains(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let paths = state.names.keys().chain(&state.directories).filter(|path| path.parent() == Some(directory));
        let mut names: Vec<String> =
            paths.filter_map(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        Ok(names)
    }

    /// Directories survive at once: what is tested are the engine's files.
    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.state();
        for ancestor in directory.ancestors() {
            state.directories.insert(ancestor.to_owned());
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.faults.call(Call::Rename)?;
        state.free(to);
        state.act(Act::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.faults.call(Call::Remove)?;
        state.free(path);
        state.act(Act::Remove { path: path.to_owned() });
        Ok(())
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.faults.call(Call::SyncDirectory)?;
        state.sync(Act::SyncDirectory { directory: directory.to_owned() });
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        if !self.state().locked.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimulatedLock { disk: self.clone(), path: path.to_owned() }))
    }
}

/// Ends with its owner; a killed or powered-off disk has none.
#[derive(Debug)]
struct SimulatedLock {
    disk: SimulatedDisk,
    path: PathBuf,
}

impl DiskLock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.disk.state().locked.remove(&self.path);
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    file: usize,
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state();
        let content = &state.contents[self.file];
        let start = (offset as usize).min(content.len());
        let read = buffer.len().min(content.len() - start);
        buffer[..read].copy_from_slice(&content[start..start + read]);
        Ok(read)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let failed = state.faults.call(Call::Write);
        let wanted = if failed.is_err() { bytes.len() / 2 } else { bytes.len() };
        let end = state.grow(self.file, offset + wanted as u64);
        let fits = (end.saturating_sub(offset) as usize).min(wanted);
        if fits > 0 || bytes.is_empty() {
            state.act(Act::Write { file: self.file, offset, bytes: bytes[..fits].to_vec() });
        }
        failed?;
        if fits < bytes.len() { Err(full()) } else { Ok(()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        if let Err(error) = state.faults.call(Call::Sync) {
            state.acts.push(Act::FailedSync { file: self.file });
            return Err(error);
        }
        state.sync(Act::SyncData { file: self.file });
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.state().contents[self.file].len() as u64)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.faults.call(Call::SetLength)?;
        let present = state.contents[self.file].len() as u64;
        if length < present
            && let Some(space) = &mut state.space
        {
            *space += present - length;
        } else if state.space.is_some_and(|space| length - present > space) {
            return Err(full());
        }
        state.grow(self.file, length);
        state.act(Act::SetLength { file: self.file, length });
        Ok(())
    }
}
