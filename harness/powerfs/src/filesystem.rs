//! Requests of the kernel, each answered from the disk.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use crate::{
    disk::{Disk, Errno, Kind, Node, Owner},
    image::PAGE,
    switch::{State, Switch},
};

/// Nobody changes the disk behind the kernel's back.
const FOR_EVER: Duration = Duration::from_secs(86_400);

/// The kernel's side of a disk.
pub struct Requests {
    pub switch: Arc<Switch>,
}

fn error(number: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(number)
}

fn owner(request: &Request) -> Owner {
    Owner { uid: request.uid(), gid: request.gid() }
}

fn file_type(node: &Node) -> FileType {
    match node.mode & libc::S_IFMT {
        libc::S_IFDIR => FileType::Directory,
        libc::S_IFLNK => FileType::Symlink,
        libc::S_IFSOCK => FileType::Socket,
        libc::S_IFIFO => FileType::NamedPipe,
        libc::S_IFCHR => FileType::CharDevice,
        libc::S_IFBLK => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}

fn attributes(number: u64, node: &Node) -> FileAttr {
    let (size, pages) = match &node.kind {
        Kind::File(content) => (content.size(), content.pages()),
        Kind::Symlink(target) => (target.len() as u64, 0),
        Kind::Directory => (PAGE, 1),
        Kind::Special(_) => (0, 0),
    };
    FileAttr {
        ino: INodeNo(number),
        size,
        blocks: pages * PAGE / 512,
        atime: node.accessed,
        mtime: node.modified,
        ctime: node.changed,
        crtime: node.changed,
        kind: file_type(node),
        perm: (node.mode & 0o7777) as u16,
        nlink: node.links,
        uid: node.uid,
        gid: node.gid,
        rdev: if let Kind::Special(device) = node.kind { device } else { 0 },
        blksize: PAGE as u32,
        flags: 0,
    }
}

impl Requests {
    /// Does something with the disk, while there is power.
    fn with<T>(&self, act: impl FnOnce(&mut Disk) -> Result<T, Errno>) -> Result<T, Errno> {
        act(&mut self.switch.enter()?.disk)
    }

    /// The attributes of something to which the kernel refers from now on.
    fn referred(&self, find: impl FnOnce(&mut Disk) -> Result<u64, Errno>) -> Result<FileAttr, Errno> {
        self.with(|disk| {
            let number = find(disk)?;
            let node = disk.node_mut(number)?;
            node.lookups += 1;
            Ok(attributes(number, node))
        })
    }

    fn entry(&self, reply: ReplyEntry, find: impl FnOnce(&mut Disk) -> Result<u64, Errno>) {
        match self.referred(find) {
            Ok(found) => reply.entry(&FOR_EVER, &found, Generation(0)),
            Err(number) => reply.error(error(number)),
        }
    }

    fn empty(&self, reply: ReplyEmpty, act: impl FnOnce(&mut Disk) -> Result<(), Errno>) {
        answer(reply, self.with(act));
    }
}

fn answer(reply: ReplyEmpty, result: Result<(), Errno>) {
    match result {
        Ok(()) => reply.ok(),
        Err(number) => reply.error(error(number)),
    }
}

fn time(time: TimeOrNow) -> SystemTime {
    match time {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    }
}

impl Filesystem for Requests {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entry(reply, |disk| disk.lookup(parent.0, name));
    }

    fn forget(&self, _: &Request, number: INodeNo, lookups: u64) {
        self.switch.state().disk.forget(number.0, lookups);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.with(|disk| disk.node(number.0).map(|node| attributes(number.0, node))) {
            Ok(found) => reply.attr(&FOR_EVER, &found),
            Err(number) => reply.error(error(number)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = |disk: &mut Disk| {
            if let Some(size) = size {
                disk.set_size(number.0, size)?;
            }
            let node = disk.node_mut(number.0)?;
            node.mode = mode.map_or(node.mode, |mode| node.mode & libc::S_IFMT | mode & 0o7777);
            node.uid = uid.unwrap_or(node.uid);
            node.gid = gid.unwrap_or(node.gid);
            node.accessed = accessed.map_or(node.accessed, time);
            node.modified = modified.map_or(node.modified, time);
            node.changed = SystemTime::now();
            Ok(attributes(number.0, node))
        };
        match self.with(set) {
            Ok(found) => reply.attr(&FOR_EVER, &found),
            Err(number) => reply.error(error(number)),
        }
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        let target = self.with(|disk| match &disk.node(number.0)?.kind {
            Kind::Symlink(target) => Ok(target.clone()),
            _ => Err(libc::EINVAL),
        });
        match target {
            Ok(target) => reply.data(target.as_bytes()),
            Err(number) => reply.error(error(number)),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let kind = match mode & libc::S_IFMT {
            libc::S_IFREG | 0 => Kind::File(Default::default()),
            _ => Kind::Special(rdev),
        };
        self.entry(reply, |disk| disk.make(parent.0, name, kind, mode & !umask, owner(request)));
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let mode = libc::S_IFDIR | mode & !umask & 0o7777;
        self.entry(reply, |disk| disk.make(parent.0, name, Kind::Directory, mode, owner(request)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.empty(reply, |disk| disk.unlink(parent.0, name));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.empty(reply, |disk| disk.rmdir(parent.0, name));
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let kind = Kind::Symlink(target.as_os_str().to_owned());
        self.entry(reply, |disk| disk.make(parent.0, name, kind, libc::S_IFLNK | 0o777, owner(request)));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.empty(reply, |disk| disk.rename((parent.0, name), (new_parent.0, new_name), flags.bits()));
    }

    fn link(&self, _: &Request, number: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entry(reply, |disk| disk.link(number.0, parent.0, name).map(|()| number.0));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let mode = libc::S_IFREG | mode & !umask & 0o7777;
        let kind = Kind::File(Default::default());
        match self.referred(|disk| disk.make(parent.0, name, kind, mode, owner(request))) {
            Ok(made) => reply.created(&FOR_EVER, &made, Generation(0), FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
            Err(number) => reply.error(error(number)),
        }
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.with(|disk| disk.read(number.0, offset, u64::from(size))) {
            Ok(bytes) => reply.data(&bytes),
            Err(number) => reply.error(error(number)),
        }
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.switch.write(number.0, offset, bytes) {
            Ok(taken) => reply.written(taken as u32),
            Err(number) => reply.error(error(number)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer(reply, self.switch.sync(number.0));
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer(reply, self.switch.sync(number.0));
    }

    fn readdir(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listed = self.with(|disk| {
            let found = disk.list(number.0);
            let typed = found
                .into_iter()
                .filter_map(|(name, number)| disk.node(number).ok().map(|node| (name, number, file_type(node))));
            Ok(typed.collect::<Vec<_>>())
        });
        match listed {
            Ok(listed) => {
                let dots = [".", ".."].map(|name| (name.into(), number.0, FileType::Directory));
                let all = dots.into_iter().chain(listed);
                for (next, (name, number, kind)) in (1..).zip(all).skip(offset as usize) {
                    if reply.add(INodeNo(number), next, kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(number) => reply.error(error(number)),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let State { disk, .. } = &*self.switch.state();
        let (used, all) = disk.room();
        let free = all.saturating_sub(used);
        reply.statfs(all, free, free, 1 << 32, 1 << 32, PAGE as u32, 255, PAGE as u32);
    }

    fn fallocate(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        self.empty(reply, |disk| disk.allocate(number.0, offset, length, mode));
    }

    fn copy_file_range(
        &self,
        _: &Request,
        from: INodeNo,
        _: FileHandle,
        from_offset: u64,
        to: INodeNo,
        _: FileHandle,
        to_offset: u64,
        length: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        // What does not fit an answer is asked for again.
        let length = length.min(16 << 20);
        let copied = self
            .with(|disk| disk.read(from.0, from_offset, length))
            .and_then(|bytes| self.switch.write(to.0, to_offset, &bytes));
        match copied {
            Ok(count) => reply.written(count as u32),
            Err(number) => reply.error(error(number)),
        }
    }
}
