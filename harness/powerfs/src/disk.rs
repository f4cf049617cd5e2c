//! The file system as a value: files and names, what is done to them, and the loss of power. It knows nothing of FUSE.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    time::SystemTime,
};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::{Kept, content::Content, image::PAGE, names::Names};

/// The number of the root directory.
pub const ROOT: u64 = 1;
/// So many names may be removed before what nobody refers to is looked for.
const REMOVED_MAX: u32 = 256;

/// An error number of the system.
pub type Errno = i32;

/// What a number stands for.
#[derive(Clone, Debug)]
pub enum Kind {
    Directory,
    File(Content),
    Symlink(OsString),
    /// A socket, pipe or device, with its `rdev`.
    Special(u32),
}

/// A file or directory without its name.
#[derive(Clone, Debug)]
pub struct Node {
    pub kind: Kind,
    /// Type and permissions, as `st_mode` has them.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub links: u32,
    pub accessed: SystemTime,
    pub modified: SystemTime,
    pub changed: SystemTime,
    /// How often the kernel refers to it.
    pub lookups: u64,
}

/// Who makes something.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// All files and names.
#[derive(Clone, Debug)]
pub struct Disk {
    nodes: BTreeMap<u64, Node>,
    names: Names,
    next: u64,
    removed: u32,
    pages: u64,
    pages_max: u64,
}

impl Disk {
    /// An empty disk of `bytes_max` bytes whose root belongs to `owner`.
    pub fn new(bytes_max: u64, owner: Owner) -> Self {
        let mut disk = Self {
            nodes: BTreeMap::new(),
            names: Names::default(),
            next: ROOT,
            removed: 0,
            pages: 0,
            pages_max: bytes_max / PAGE,
        };
        let root = disk.add(Kind::Directory, libc::S_IFDIR | 0o755, owner);
        debug_assert_eq!(root, ROOT);
        disk
    }

    fn add(&mut self, kind: Kind, mode: u32, owner: Owner) -> u64 {
        let number = self.next;
        self.next += 1;
        let now = SystemTime::now();
        let links = if matches!(kind, Kind::Directory) { 2 } else { 1 };
        let Owner { uid, gid } = owner;
        let node = Node { kind, mode, uid, gid, links, accessed: now, modified: now, changed: now, lookups: 0 };
        self.nodes.insert(number, node);
        number
    }

    pub fn node(&self, number: u64) -> Result<&Node, Errno> {
        self.nodes.get(&number).ok_or(libc::ENOENT)
    }

    pub fn node_mut(&mut self, number: u64) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&number).ok_or(libc::ENOENT)
    }

    fn content(&mut self, number: u64) -> Result<&mut Content, Errno> {
        match &mut self.node_mut(number)?.kind {
            Kind::File(content) => Ok(content),
            Kind::Directory => Err(libc::EISDIR),
            Kind::Symlink(_) | Kind::Special(_) => Err(libc::EINVAL),
        }
    }

    fn is_directory(&self, number: u64) -> Result<bool, Errno> {
        Ok(matches!(self.node(number)?.kind, Kind::Directory))
    }

    /// Pages in use and pages there are.
    pub const fn room(&self) -> (u64, u64) {
        (self.pages, self.pages_max)
    }

    pub fn lookup(&self, directory: u64, name: &OsStr) -> Result<u64, Errno> {
        self.names.get(directory, name).ok_or(libc::ENOENT)
    }

    /// The entries of a directory: name and number.
    pub fn list(&self, directory: u64) -> Vec<(OsString, u64)> {
        self.names.list(directory).map(|(name, number)| (name.clone(), number)).collect()
    }

    /// Makes something with a name.
    pub fn make(&mut self, directory: u64, name: &OsStr, kind: Kind, mode: u32, owner: Owner) -> Result<u64, Errno> {
        if self.names.get(directory, name).is_some() {
            return Err(libc::EEXIST);
        }
        if name.len() > 255 {
            return Err(libc::ENAMETOOLONG);
        }
        let parent = self.node(directory)?;
        let group = if parent.mode & libc::S_ISGID != 0 { parent.gid } else { owner.gid };
        let is_directory = matches!(kind, Kind::Directory);
        let number = self.add(kind, mode, Owner { gid: group, ..owner });
        self.names.change(vec![((directory, name.to_owned()), Some(number))]);
        self.touch(directory, i32::from(is_directory))?;
        Ok(number)
    }

    /// A directory's content has changed, and how many directories more it has.
    fn touch(&mut self, directory: u64, links: i32) -> Result<(), Errno> {
        let node = self.node_mut(directory)?;
        node.links = node.links.saturating_add_signed(links);
        node.modified = SystemTime::now();
        node.changed = node.modified;
        Ok(())
    }

    pub fn link(&mut self, number: u64, directory: u64, name: &OsStr) -> Result<(), Errno> {
        if self.names.get(directory, name).is_some() {
            return Err(libc::EEXIST);
        }
        let node = self.node_mut(number)?;
        node.links += 1;
        node.changed = SystemTime::now();
        self.names.change(vec![((directory, name.to_owned()), Some(number))]);
        self.touch(directory, 0)
    }

    pub fn unlink(&mut self, directory: u64, name: &OsStr) -> Result<(), Errno> {
        let number = self.lookup(directory, name)?;
        if matches!(self.node(number)?.kind, Kind::Directory) {
            return Err(libc::EISDIR);
        }
        self.names.change(vec![((directory, name.to_owned()), None)]);
        self.touch(directory, 0)?;
        self.unname(number)
    }

    pub fn rmdir(&mut self, directory: u64, name: &OsStr) -> Result<(), Errno> {
        let number = self.lookup(directory, name)?;
        if !matches!(self.node(number)?.kind, Kind::Directory) {
            return Err(libc::ENOTDIR);
        }
        if !self.names.is_empty(number) {
            return Err(libc::ENOTEMPTY);
        }
        self.names.change(vec![((directory, name.to_owned()), None)]);
        self.touch(directory, -1)?;
        self.unname(number)
    }

    /// One name less stands for this.
    fn unname(&mut self, number: u64) -> Result<(), Errno> {
        let node = self.node_mut(number)?;
        node.links = if matches!(node.kind, Kind::Directory) { 0 } else { node.links.saturating_sub(1) };
        node.changed = SystemTime::now();
        self.removed += 1;
        if self.removed > REMOVED_MAX {
            self.sweep();
        }
        Ok(())
    }

    /// Renames; with `exchange` both names stay and swap what they stand for.
    pub fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr), flags: u32) -> Result<(), Errno> {
        let number = self.lookup(from.0, from.1)?;
        let replaced = self.names.get(to.0, to.1);
        let exchange = flags & libc::RENAME_EXCHANGE != 0;
        if flags & !(libc::RENAME_EXCHANGE | libc::RENAME_NOREPLACE) != 0 {
            return Err(libc::EINVAL);
        }
        if replaced.is_some() && flags & libc::RENAME_NOREPLACE != 0 {
            return Err(libc::EEXIST);
        }
        let key = |(directory, name): (u64, &OsStr)| (directory, name.to_owned());
        let moved = i32::from(self.is_directory(number)?);
        if exchange {
            let other = replaced.ok_or(libc::ENOENT)?;
            let swapped = i32::from(self.is_directory(other)?);
            self.names.change(vec![(key(from), Some(other)), (key(to), Some(number))]);
            self.touch(from.0, swapped - moved)?;
            return self.touch(to.0, moved - swapped);
        }
        if replaced == Some(number) {
            // Two names of one file: nothing happens.
            return Ok(());
        }
        if let Some(old) = replaced {
            match (moved > 0, self.is_directory(old)?) {
                (true, false) => return Err(libc::ENOTDIR),
                (false, true) => return Err(libc::EISDIR),
                (true, true) if !self.names.is_empty(old) => return Err(libc::ENOTEMPTY),
                _ => {}
            }
        }
        self.names.change(vec![(key(from), None), (key(to), Some(number))]);
        self.touch(from.0, -moved)?;
        self.touch(to.0, if replaced.is_some() { 0 } else { moved })?;
        self.node_mut(number)?.changed = SystemTime::now();
        replaced.map_or(Ok(()), |old| self.unname(old))
    }

    pub fn read(&mut self, number: u64, offset: u64, length: u64) -> Result<Vec<u8>, Errno> {
        Ok(self.content(number)?.read(offset, length))
    }

    /// Changes a file by `change`, where the disk has room for `bytes` more.
    fn change(&mut self, number: u64, bytes: u64, change: impl FnOnce(&mut Content)) -> Result<(), Errno> {
        if bytes > 0 && self.pages + bytes.div_ceil(PAGE) > self.pages_max {
            return Err(libc::ENOSPC);
        }
        let content = self.content(number)?;
        let before = content.pages();
        change(content);
        let after = content.pages();
        self.pages = (self.pages + after).saturating_sub(before);
        let node = self.node_mut(number)?;
        node.modified = SystemTime::now();
        node.changed = node.modified;
        Ok(())
    }

    pub fn write(&mut self, number: u64, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.change(number, bytes.len() as u64, |content| content.write(offset, bytes))
    }

    pub fn set_size(&mut self, number: u64, size: u64) -> Result<(), Errno> {
        self.change(number, 0, |content| content.set_size(size))
    }

    /// `fallocate`: longer, a hole, or zeros.
    pub fn allocate(&mut self, number: u64, offset: u64, length: u64, mode: i32) -> Result<(), Errno> {
        let (hole, zero) = (mode & libc::FALLOC_FL_PUNCH_HOLE != 0, mode & libc::FALLOC_FL_ZERO_RANGE != 0);
        let keeps = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
        let known = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;
        if mode & !known != 0 || hole && !keeps {
            return Err(libc::EOPNOTSUPP);
        }
        let end = offset.checked_add(length).ok_or(libc::EFBIG)?;
        let (used, most) = self.room();
        if !hole && used + length.div_ceil(PAGE) > most {
            return Err(libc::ENOSPC);
        }
        if hole || zero {
            self.change(number, 0, |content| content.zero(offset, length))?;
        }
        if !keeps && end > self.content(number)?.size() {
            self.set_size(number, end)?;
        }
        Ok(())
    }

    /// Makes a file or the names of a directory durable.
    pub fn sync(&mut self, number: u64) -> Result<(), Errno> {
        match &mut self.node_mut(number)?.kind {
            Kind::File(content) => content.sync(),
            Kind::Directory => self.names.sync(number),
            Kind::Symlink(_) | Kind::Special(_) => {}
        }
        Ok(())
    }

    /// A sync that fails.
    pub fn fail_sync(&mut self, number: u64) {
        if let Ok(content) = self.content(number) {
            content.fail_sync();
        }
    }

    /// Everything is durable.
    pub fn settle(&mut self) {
        self.names.settle();
        for node in self.nodes.values_mut() {
            if let Kind::File(content) = &mut node.kind {
                content.settle();
            }
        }
        self.sweep();
    }

    /// The kernel refers to this so many times less.
    pub fn forget(&mut self, number: u64, lookups: u64) {
        if let Some(node) = self.nodes.get_mut(&number) {
            node.lookups = node.lookups.saturating_sub(lookups);
        }
    }

    /// Forgets what no name and nobody refers to.
    fn sweep(&mut self) {
        self.removed = 0;
        let named = self.names.named();
        self.nodes.retain(|number, node| *number == ROOT || node.lookups > 0 || named.contains(number));
        let nodes = &self.nodes;
        self.names.retain(|number| nodes.contains_key(&number));
        self.pages = self
            .nodes
            .values()
            .map(|node| if let Kind::File(content) = &node.kind { content.pages() } else { 0 })
            .sum();
    }

    /// The power went and is back.
    pub fn lose(&mut self, kept: Kept, seed: u64) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        self.names.lose(kept, &mut random);
        for node in self.nodes.values_mut() {
            node.lookups = 0;
            if let Kind::File(content) = &mut node.kind {
                content.lose(kept, &mut random);
            }
        }
        // Directories whose own name did not survive are gone with all that is in them.
        let (mut reached, mut todo) = (BTreeMap::from([(ROOT, 2)]), vec![ROOT]);
        while let Some(directory) = todo.pop() {
            for (_, number) in self.list(directory) {
                let is_directory = self.nodes.get(&number).is_some_and(|node| matches!(node.kind, Kind::Directory));
                let links = reached.entry(number).or_insert(0u32);
                *links += if is_directory { 2 } else { 1 };
                if is_directory && *links == 2 {
                    todo.push(number);
                    *reached.entry(directory).or_insert(2) += 1;
                }
            }
        }
        self.nodes.retain(|number, _| reached.contains_key(number));
        for (number, node) in &mut self.nodes {
            node.links = reached[number];
        }
        self.sweep();
    }

    /// Turns one bit of one file over.
    pub fn flip(&mut self, seed: u64) -> Option<(u64, u64)> {
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x666c_6970);
        let mut files: Vec<u64> = self
            .nodes
            .iter()
            .filter(|(_, node)| matches!(&node.kind, Kind::File(content) if content.pages() > 0))
            .map(|(number, _)| *number)
            .collect();
        while !files.is_empty() {
            let number = files.swap_remove(random.random_range(0..files.len()));
            if let Some(place) = self.content(number).ok().and_then(|content| content.flip(&mut random)) {
                return Some((number, place));
            }
        }
        None
    }
}
