//! A disk in memory that keeps the sequence of what was done to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Disk, DiskFile};

/// A disk in memory. Clones share it.
///
/// It is as strict as POSIX lets a file system be: content survives a power loss after `sync_data` of the file, a name
/// after `sync_directory` of its directory, and neither implies the other. Between syncs, writes may survive in any
/// subset.
#[derive(Clone, Debug, Default)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

/// What happens to the writes that were not synced when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// None of them survives.
    All,
    /// All of them survive.
    Nothing,
    /// All but the newest survive, and of the newest this many thousandths of its bytes.
    TornNewest(u16),
    /// Only the newest survives: the disk wrote in another order.
    KeptNewest,
    /// Each survives or not, drawn from this seed.
    Some(u64),
}

#[derive(Clone, Debug)]
enum Act {
    Create { directory: PathBuf, path: PathBuf, file: usize },
    Rename { from: PathBuf, to: PathBuf },
    Remove { path: PathBuf },
    SyncDirectory { directory: PathBuf },
    Write { file: usize, offset: u64, bytes: Vec<u8> },
    SetLength { file: usize, length: u64 },
    SyncData { file: usize },
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
    /// Writes fail with "no space left on device" once so many bytes were written.
    space: Option<u64>,
    /// Syncs say that they were done and were not.
    ignores_syncs: bool,
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
            Act::SyncDirectory { .. } | Act::SyncData { .. } => {}
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

    /// Lets writes fail with "no space left on device" after `bytes` more bytes; `None` ends that.
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
        let survives = survivors(acts, loss);
        let mut after = state.before();
        for (index, act) in acts.iter().enumerate() {
            match survives[index] {
                Survival::Whole => after.apply(act),
                Survival::Torn(thousandths) => {
                    if let Act::Write { file, offset, bytes } = act {
                        let kept = bytes.len() * usize::from(thousandths) / 1000;
                        after.apply(&Act::Write { file: *file, offset: *offset, bytes: bytes[..kept].to_vec() });
                    }
                }
                Survival::Lost => {}
            }
        }
        after.base = (after.names.clone(), after.contents.clone());
        Self(Arc::new(Mutex::new(after)))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Survival {
    Whole,
    Torn(u16),
    Lost,
}

/// Which of `acts` survive.
fn survivors(acts: &[Act], loss: Loss) -> Vec<Survival> {
    // From the end: an act is safe if a sync of its file or directory comes after it.
    let (mut synced_files, mut synced_directories) = (BTreeSet::new(), BTreeSet::new());
    let mut safe = vec![false; acts.len()];
    for (index, act) in acts.iter().enumerate().rev() {
        safe[index] = match act {
            Act::SyncData { file } => {
                synced_files.insert(*file);
                true
            }
            Act::SyncDirectory { directory } => {
                synced_directories.insert(directory.clone());
                true
            }
            Act::Write { file, .. } | Act::SetLength { file, .. } => synced_files.contains(file),
            Act::Create { directory, .. } => synced_directories.contains(directory),
            Act::Rename { to: path, .. } | Act::Remove { path } => {
                path.parent().is_some_and(|directory| synced_directories.contains(directory))
            }
        };
    }
    let newest = (0..acts.len()).rev().find(|&index| !safe[index] && matches!(acts[index], Act::Write { .. }));
    let mut random = match loss {
        Loss::Some(seed) => seed,
        _ => 0,
    };
    (0..acts.len())
        .map(|index| {
            if safe[index] {
                return Survival::Whole;
            }
            match loss {
                Loss::All => Survival::Lost,
                Loss::Nothing => Survival::Whole,
                Loss::TornNewest(thousandths) if Some(index) == newest => Survival::Torn(thousandths),
                Loss::TornNewest(_) => Survival::Whole,
                // Names survive, so that the one write that did has a file.
                Loss::KeptNewest if Some(index) == newest || !matches!(acts[index], Act::Write { .. }) => {
                    Survival::Whole
                }
                Loss::KeptNewest => Survival::Lost,
                Loss::Some(_) => {
                    random = mix(random);
                    if random & 1 == 0 { Survival::Whole } else { Survival::Lost }
                }
            }
        })
        .collect()
}

/// The next state of SplitMix64 (Steele, Lea and Flood 2014), mixed.
const fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
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
                let file = state.contents.len();
                let act = Act::Create { directory, path: path.to_owned(), file };
                state.apply(&act);
                state.acts.push(act);
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
        let act = Act::Rename { from: from.to_owned(), to: to.to_owned() };
        state.apply(&act);
        state.acts.push(act);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let act = Act::Remove { path: path.to_owned() };
        state.apply(&act);
        state.acts.push(act);
        Ok(())
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.state().sync(Act::SyncDirectory { directory: directory.to_owned() });
        Ok(())
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
        if let Some(space) = &mut state.space {
            if *space < bytes.len() as u64 {
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
            *space -= bytes.len() as u64;
        }
        let act = Act::Write { file: self.file, offset, bytes: bytes.to_vec() };
        state.apply(&act);
        state.acts.push(act);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.state().sync(Act::SyncData { file: self.file });
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.state().contents[self.file].len() as u64)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let act = Act::SetLength { file: self.file, length };
        state.apply(&act);
        state.acts.push(act);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(file.write_all_at(b"four", 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.limit_space(None);
        file.write_all_at(b"four", 0).unwrap();
    }
}
