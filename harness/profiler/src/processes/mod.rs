//! Where the code of many processes lies, made one address space.
//!
//! Every process has its own, and ends while it is sampled. So each address is turned, when its sample is read, into one
//! that means the same for all: the number of the file that is mapped there in the upper 16 bits, the file's own address
//! below. Two runs of one program then have the same stacks, and what unwinds and names them needs to know nothing of
//! processes. Code that lies in no file (of a JIT compiler) has a number for each process; its names are read from
//! `perf-PID.map` when the process ends.

mod files;
pub mod perf_map;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    os::unix::fs::FileExt as _,
};

use self::files::Files;
use crate::{
    fold::GROUPS_FROM,
    maps::{self, Mapping, Module},
    perf::record::Mapped,
    unwind::Places,
};

/// Bits of an address within a file or within a process.
const ADDRESS_BITS: u32 = 48;
const ADDRESS_MASK: u64 = (1 << ADDRESS_BITS) - 1;
/// The group of a process before it runs its program.
const STARTING: &str = "[starting]";

/// Everything that is known of processes.
#[derive(Default)]
pub struct Processes {
    files: Files,
    spaces: HashMap<u32, Space>,
    /// Names of groups, by their number less [`GROUPS_FROM`], and the other way round.
    groups: Vec<String>,
    group_numbers: HashMap<String, u32>,
    /// Names of code that lies in no file, by address.
    generated: HashMap<u64, String>,
    /// This process.
    own: u32,
}

/// One process between two calls of `exec`.
#[derive(Clone, Debug, Default)]
struct Space {
    /// Executable mappings by where they begin.
    mappings: BTreeMap<u64, Placed>,
    /// Number of its code that lies in no file; 0: none yet.
    generated: u16,
    /// Addresses of such code that were sampled.
    sampled: BTreeSet<u64>,
    /// Sizes of its frames, by the address that is returned to.
    frames: HashMap<u64, Option<u64>>,
    /// Whether it is the agent's own, or a copy of it that has not called `exec`: addresses stay as they are.
    own: bool,
    name: String,
    /// Names of threads that are not called as the process is.
    threads: HashMap<u32, String>,
}

/// A mapping, and what to add to an address in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Placed {
    end: u64,
    shift: u64,
}

impl Processes {
    /// None yet; processes that this one starts begin as copies of it.
    pub fn new() -> Self {
        Self { own: std::process::id(), ..Self::default() }
    }

    /// Takes in a process that was there before.
    pub fn adopt(&mut self, pid: u32) {
        let mut space = Space { name: comm(pid, pid).unwrap_or_else(|| format!("process {pid}")), ..Space::default() };
        let text = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        for mapping in maps::parse(&text) {
            self.place(&mut space, pid, &mapping, 0);
        }
        for entry in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let Some(tid) = entry.file_name().to_str().and_then(|tid| tid.parse().ok()) else { continue };
            if let Some(name) = comm(pid, tid).filter(|name| *name != space.name) {
                space.threads.insert(tid, name);
            }
        }
        self.spaces.insert(pid, space);
    }

    /// Takes in the mappings that process `pid` had, as a process of the number `key`.
    pub fn adopt_maps(&mut self, key: u32, pid: u32, name: &str, text: &str) {
        let mut space = Space { name: name.to_owned(), ..Space::default() };
        for mapping in maps::parse(text) {
            self.place(&mut space, pid, &mapping, 0);
        }
        self.spaces.insert(key, space);
    }

    /// A process mapped code.
    pub fn map(&mut self, mapped: &Mapped) {
        if mapped.pid == self.own {
            return;
        }
        let mut space = self.spaces.remove(&mapped.pid).unwrap_or_default();
        self.place(&mut space, mapped.pid, &mapped.mapping, mapped.inode);
        self.spaces.insert(mapped.pid, space);
    }

    fn place(&mut self, space: &mut Space, pid: u32, mapping: &Mapping, inode: u64) {
        let std::ops::Range { start, end } = mapping.range;
        // What was mapped there before is there no more.
        if let Some((_, before)) = space.mappings.range_mut(..start).next_back() {
            before.end = before.end.min(start);
        }
        let covered: Vec<u64> = space.mappings.range(start..end).map(|(from, _)| *from).collect();
        for from in covered {
            space.mappings.remove(&from);
        }
        let Some(file) = self.files.of(pid, mapping, inode) else { return };
        let shift = (u64::from(file.number) << ADDRESS_BITS).wrapping_sub(file.bias(mapping));
        space.mappings.insert(start, Placed { end, shift });
    }

    /// A process started another, or a thread.
    pub fn fork(&mut self, pid: u32, parent: u32, tid: u32, parent_tid: u32) {
        if pid == parent {
            let Some(space) = self.spaces.get_mut(&pid) else { return };
            if let Some(name) = space.threads.get(&parent_tid).cloned() {
                space.threads.insert(tid, name);
            }
            return;
        }
        let copy = if parent == self.own {
            Space { own: true, name: STARTING.to_owned(), ..Space::default() }
        } else {
            let Some(space) = self.spaces.get(&parent) else { return };
            let threads = space.threads.get(&parent_tid).map(|name| (tid, name.clone())).into_iter().collect();
            Space { threads, generated: 0, sampled: BTreeSet::new(), ..space.clone() }
        };
        self.spaces.insert(pid, copy);
    }

    /// A thread took a name; with `exec` its process runs another program from now on.
    pub fn named(&mut self, pid: u32, tid: u32, name: &str, exec: bool) {
        if exec {
            self.read_names(pid);
            self.spaces.insert(pid, Space { name: name.to_owned(), ..Space::default() });
        } else if let Some(space) = self.spaces.get_mut(&pid) {
            if space.name == name {
                space.threads.remove(&tid);
            } else {
                space.threads.insert(tid, name.to_owned());
            }
        }
    }

    /// A thread has ended.
    pub fn exit(&mut self, pid: u32, tid: u32) {
        if pid == tid {
            // Its mappings stay known: other threads may outlive the first.
            self.read_names(pid);
        }
    }

    /// The process, which becomes known where it was not.
    fn space(&mut self, pid: u32) -> &mut Space {
        if !self.spaces.contains_key(&pid) {
            self.adopt(pid);
        }
        self.spaces.entry(pid).or_default()
    }

    /// The number of the group of a thread.
    pub fn group(&mut self, pid: u32, tid: u32) -> u32 {
        let space = self.space(pid);
        let name = match space.threads.get(&tid) {
            Some(thread) => format!("{}: {thread}", space.name),
            None => space.name.clone(),
        };
        self.group_named(name)
    }

    /// The number of the group of that name.
    pub fn group_named(&mut self, name: String) -> u32 {
        let next = GROUPS_FROM + self.groups.len() as u32;
        match self.group_numbers.get(&name) {
            Some(&known) => known,
            None => {
                self.groups.push(name.clone());
                self.group_numbers.insert(name, next);
                next
            }
        }
    }

    /// An address of process `pid`, as it means the same for all.
    pub fn place_of(&mut self, pid: u32, address: u64) -> u64 {
        self.space(pid);
        let Self { files, spaces, .. } = self;
        let space = spaces.entry(pid).or_default();
        if space.own {
            return address;
        }
        if let Some((_, placed)) = space.mappings.range(..=address).next_back()
            && address < placed.end
        {
            return address.wrapping_add(placed.shift);
        }
        let address = address & ADDRESS_MASK;
        if space.generated == 0 {
            space.generated = files.take_number().unwrap_or(0);
        }
        space.sampled.insert(address);
        u64::from(space.generated) << ADDRESS_BITS | address
    }

    /// As [`Places::frame_bytes`]: of generated code, which has no tables, by what is done after the return. Python calls its
    /// functions so, without a frame pointer: `add $8, %rsp; ret`.
    fn frame_bytes(&mut self, pid: u32, address: u64) -> Option<u64> {
        let space = self.spaces.get_mut(&pid).filter(|space| !space.own)?;
        let in_file = space.mappings.range(..=address).next_back().is_some_and(|(_, placed)| address < placed.end);
        if in_file {
            return None;
        }
        *space.frames.entry(address).or_insert_with(|| {
            let mut code = [0; 5];
            fs::File::open(format!("/proc/{pid}/mem")).ok()?.read_exact_at(&mut code, address).ok()?;
            frame_of(code)
        })
    }

    /// Reads the names of what was sampled of a process's generated code.
    fn read_names(&mut self, pid: u32) {
        let Some(space) = self.spaces.get_mut(&pid) else { return };
        if space.sampled.is_empty() {
            return;
        }
        let sampled = std::mem::take(&mut space.sampled);
        let base = u64::from(space.generated) << ADDRESS_BITS;
        let names = perf_map::names_of(pid, &sampled);
        self.generated.extend(names.into_iter().map(|(address, name)| (base | address, name)));
    }

    /// Modules that were met since this was asked last.
    pub fn new_modules(&mut self) -> Vec<Module> {
        self.files.new_modules()
    }

    /// Everything that names the addresses and groups that were given; the rest is of no use without a sampler.
    pub fn finish(mut self) -> Found {
        let pids: Vec<u32> = self.spaces.keys().copied().collect();
        pids.into_iter().for_each(|pid| self.read_names(pid));
        let groups = self.groups.into_iter().zip(GROUPS_FROM..).map(|(name, number)| (number, name)).collect();
        let (modules, warnings) = self.files.finish();
        Found { modules, groups, generated: self.generated, warnings }
    }
}

/// The frame that this code, of x86-64, leaves.
fn frame_of(code: [u8; 5]) -> Option<u64> {
    match code {
        [0x48, 0x83, 0xc4, bytes @ 0..=0x7f, 0xc3] if cfg!(target_arch = "x86_64") => Some(bytes.into()),
        _ => None,
    }
}

/// The addresses of one process.
pub struct OfProcess<'a> {
    /// All of them.
    pub processes: &'a mut Processes,
    /// The one.
    pub pid: u32,
}

impl Places for OfProcess<'_> {
    fn place(&mut self, address: u64) -> u64 {
        self.processes.place_of(self.pid, address)
    }

    fn frame_bytes(&mut self, address: u64) -> Option<u64> {
        self.processes.frame_bytes(self.pid, address)
    }
}

/// What names addresses and groups.
#[derive(Default)]
pub struct Found {
    /// The files.
    pub modules: Vec<Module>,
    /// Names of groups by number.
    pub groups: HashMap<u32, String>,
    /// Names of generated code by address.
    pub generated: HashMap<u64, String>,
    /// What could not be read.
    pub warnings: Vec<String>,
}

fn comm(pid: u32, tid: u32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm")).ok()?.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(pid: u32, range: std::ops::Range<u64>, name: &str) -> Mapped {
        Mapped { pid, mapping: Mapping { range, offset: 0, name: name.to_owned() }, inode: 7 }
    }

    /// The dynamic loader places a program anywhere; two runs of it have the same addresses here.
    #[test]
    fn two_runs_of_a_program_have_the_same_addresses() {
        let mut processes = Processes::new();
        let (own, file) = (std::process::id(), "/no/such/file");
        for (pid, base) in [(900_001, 0x5500_0000_0000), (900_002, 0x5600_1234_0000)] {
            processes.fork(pid, own, pid, own);
            assert_eq!(processes.place_of(pid, 0x1234), 0x1234, "before exec it is a copy of this process");
            processes.named(pid, pid, "work", true);
            processes.map(&mapped(pid, base..base + 0x1000, file));
            processes.map(&mapped(pid, base + 0x1000..base + 0x2000, "//anon"));
        }
        let (one, two) = (processes.place_of(900_001, 0x5500_0000_0123), processes.place_of(900_002, 0x5600_1234_0123));
        assert_eq!(one, two);
        assert_eq!(one & ADDRESS_MASK, 0x123);
        assert_eq!(processes.group(900_001, 900_001), processes.group(900_002, 900_002));
        // What lies in no file is each process's own.
        let generated = [processes.place_of(900_001, 0x5500_0000_1000), processes.place_of(900_002, 0x5500_0000_1000)];
        assert_ne!(generated[0], generated[1]);
        processes.fork(900_001, 900_001, 900_003, 900_001);
        processes.named(900_001, 900_003, "helper", false);
        let group = processes.group(900_001, 900_003);
        let found = processes.finish();
        assert_eq!(found.groups[&group], "work: helper");
        assert_eq!(found.modules.len(), 1);
        assert!(found.warnings[0].contains(file), "{:?}", found.warnings);
    }

    #[test]
    fn what_is_mapped_over_something_takes_its_place() {
        let mut processes = Processes::new();
        processes.named(900_010, 900_010, "work", true);
        processes.map(&mapped(900_010, 0x1000..0x9000, "/no/a"));
        processes.map(&mapped(900_010, 0x3000..0x4000, "/no/b"));
        let file = |processes: &mut Processes, address| processes.place_of(900_010, address) >> ADDRESS_BITS;
        let (a, b) = (file(&mut processes, 0x1500), file(&mut processes, 0x3500));
        assert_ne!(a, b);
        assert_eq!(file(&mut processes, 0x2fff), a);
        assert_ne!(file(&mut processes, 0x5000), b);
    }
}
