//! Reads the bytes of perf records; pure.
//!
//! Not the linux-perf-event-reader crate: it reads files of either byte order into types that borrow pieces of them, which
//! would be converted once more into these; of its kinds of records we ask for eight, and the split of a chain into
//! kernel and user, which is most of this file, it leaves to its caller.

use perf_event_open_sys::bindings as sys;

use super::event::REGISTERS;
use crate::maps::Mapping;

/// A record that the sampler cares about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A stack.
    Sample(Sample<'a>),
    /// A thread took a name.
    Name {
        /// The process.
        pid: u32,
        /// The thread.
        tid: u32,
        /// What it is called from now on, at most 15 bytes.
        name: String,
        /// Whether it took it because its process runs another program from now on.
        exec: bool,
    },
    /// A process mapped code.
    Mapped(Mapped),
    /// A process started another, or a thread of its own.
    Fork {
        /// The process.
        pid: u32,
        /// That which started it; the same where it is a thread.
        parent: u32,
        /// The thread.
        tid: u32,
        /// That which started it.
        parent_tid: u32,
    },
    /// A thread has ended.
    Exit {
        /// The process.
        pid: u32,
        /// The thread.
        tid: u32,
        /// When, `CLOCK_MONOTONIC`.
        time_ns: u64,
    },
    /// A thread came to a CPU or left it.
    Switch {
        /// The process.
        pid: u32,
        /// The thread.
        tid: u32,
        /// When, `CLOCK_MONOTONIC`.
        time_ns: u64,
        /// Whether it left.
        out: bool,
        /// Whether it left though it could have gone on.
        preempted: bool,
    },
    /// The ring was full.
    Lost {
        /// Records that were not written.
        records: u64,
    },
    /// The kernel stopped sampling for a while because there were too many interrupts.
    Throttled,
}

/// A mapping of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The process.
    pub pid: u32,
    /// What is mapped where.
    pub mapping: Mapping,
    /// The file's inode; 0 where it is not told.
    pub inode: u64,
}

/// One sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample<'a> {
    /// The process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// When, `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Kernel addresses, innermost first; empty where the thread was not in the kernel.
    pub kernel: Vec<u64>,
    /// User addresses as frame pointers tell, innermost first.
    pub user: Vec<u64>,
    /// The values of [`REGISTERS`] in user mode; `None` where the thread has no user mode.
    pub registers: Option<[u64; REGISTERS.len()]>,
    /// The stack from the stack pointer upwards.
    pub stack: &'a [u8],
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_ne_bytes(self.bytes(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_ne_bytes(self.bytes(8)?.try_into().ok()?))
    }

    /// Text that ends with a zero.
    fn name(&self) -> Option<String> {
        Some(String::from_utf8_lossy(self.0.split(|&byte| byte == 0).next()?).into_owned())
    }
}

/// When a record was written, `CLOCK_MONOTONIC`: a sample has it behind its thread, all others at their end.
pub fn time_ns(kind: u32, body: &[u8]) -> Option<u64> {
    let at = if kind == sys::PERF_RECORD_SAMPLE { 8 } else { body.len().checked_sub(8)? };
    Reader(body.get(at..)?).u64()
}

fn mapped(reader: &mut Reader<'_>, misc: u16) -> Option<Mapped> {
    let (pid, _) = (reader.u32()?, reader.u32()?);
    let (start, length, offset) = (reader.u64()?, reader.u64()?, reader.u64()?);
    // Device, inode and generation; a kernel may tell the build id in their place.
    let place = reader.bytes(24)?;
    let (_protection, _flags) = (reader.u32()?, reader.u32()?);
    let told = u32::from(misc) & sys::PERF_RECORD_MISC_MMAP_BUILD_ID == 0;
    let inode = if told { u64::from_ne_bytes(place[8..16].try_into().ok()?) } else { 0 };
    let name = reader.name()?.trim_end_matches(" (deleted)").to_owned();
    Some(Mapped { pid, mapping: Mapping { range: start..start.checked_add(length)?, offset, name }, inode })
}

/// Reads a record; `None` where it is of a kind that nobody asked for, or cut off.
pub fn parse(kind: u32, misc: u16, body: &[u8]) -> Option<Record<'_>> {
    let mut reader = Reader(body);
    match kind {
        sys::PERF_RECORD_SAMPLE => sample(&mut reader).map(Record::Sample),
        sys::PERF_RECORD_LOST => {
            reader.u64()?;
            Some(Record::Lost { records: reader.u64()? })
        }
        sys::PERF_RECORD_COMM => {
            let pid = reader.u32()?;
            let tid = reader.u32()?;
            let exec = u32::from(misc) & sys::PERF_RECORD_MISC_COMM_EXEC != 0;
            Some(Record::Name { pid, tid, name: reader.name()?, exec })
        }
        sys::PERF_RECORD_MMAP2 => mapped(&mut reader, misc).map(Record::Mapped),
        sys::PERF_RECORD_FORK => {
            let (pid, parent, tid, parent_tid) = (reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?);
            Some(Record::Fork { pid, parent, tid, parent_tid })
        }
        sys::PERF_RECORD_EXIT => {
            let (pid, _, tid, _) = (reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?);
            Some(Record::Exit { pid, tid, time_ns: reader.u64()? })
        }
        sys::PERF_RECORD_SWITCH => {
            // No body of its own; thread and time follow because `sample_id_all` is set.
            let pid = reader.u32()?;
            let tid = reader.u32()?;
            let time_ns = reader.u64()?;
            let is = |flag: u32| u32::from(misc) & flag != 0;
            Some(Record::Switch {
                pid,
                tid,
                time_ns,
                out: is(sys::PERF_RECORD_MISC_SWITCH_OUT),
                preempted: is(sys::PERF_RECORD_MISC_SWITCH_OUT_PREEMPT),
            })
        }
        sys::PERF_RECORD_THROTTLE => Some(Record::Throttled),
        _ => None,
    }
}

fn sample<'a>(reader: &mut Reader<'a>) -> Option<Sample<'a>> {
    let pid = reader.u32()?;
    let tid = reader.u32()?;
    let time_ns = reader.u64()?;
    let length = reader.u64()? as usize;
    let (mut kernel, mut user) = (Vec::new(), Vec::new());
    let mut in_kernel = false;
    let chain = reader.bytes(length.checked_mul(8)?)?;
    for address in chain.chunks_exact(8) {
        match u64::from_ne_bytes(address.try_into().ok()?) {
            sys::PERF_CONTEXT_KERNEL => in_kernel = true,
            sys::PERF_CONTEXT_USER => in_kernel = false,
            marker if marker >= sys::PERF_CONTEXT_MAX => {}
            address if in_kernel => kernel.push(address),
            address => user.push(address),
        }
    }
    let abi = reader.u64()?;
    let registers = if abi == u64::from(sys::PERF_SAMPLE_REGS_ABI_NONE) {
        None
    } else {
        let mut values = [0; REGISTERS.len()];
        for value in &mut values {
            *value = reader.u64()?;
        }
        Some(values)
    };
    let stack_bytes = reader.u64()? as usize;
    let mut stack = reader.bytes(stack_bytes)?;
    if stack_bytes > 0 {
        let copied = reader.u64()? as usize;
        stack = stack.get(..copied)?;
    }
    Some(Sample { pid, tid, time_ns, kernel, user, registers, stack })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(values: &[u64]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_ne_bytes()).collect()
    }

    fn thread(pid: u32, tid: u32) -> u64 {
        let [a, b] = [pid.to_ne_bytes(), tid.to_ne_bytes()];
        u64::from_ne_bytes([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]])
    }

    #[test]
    fn a_sample_is_split_into_kernel_and_user() {
        let mut values = vec![thread(7, 9), 1_000, 5, sys::PERF_CONTEXT_KERNEL, 0xffff_8000, sys::PERF_CONTEXT_USER];
        values.extend([0x40, 0x50, sys::PERF_SAMPLE_REGS_ABI_64.into()]);
        values.extend((0..REGISTERS.len() as u64).map(|register| 100 + register));
        values.extend([16, 0xaaaa, 0xbbbb, 8]);
        let bytes = words(&values);
        let Some(Record::Sample(sample)) = parse(sys::PERF_RECORD_SAMPLE, 0, &bytes) else { panic!("no sample") };
        assert_eq!((sample.pid, sample.tid, sample.time_ns), (7, 9, 1_000));
        assert_eq!((sample.kernel, sample.user), (vec![0xffff_8000], vec![0x40, 0x50]));
        assert_eq!(sample.registers.unwrap()[0], 100);
        assert_eq!(sample.stack, words(&[0xaaaa]), "only what was copied");
    }

    #[test]
    fn a_sample_that_is_cut_off_is_none() {
        let values = [thread(7, 9), 1_000, 2, 0x40, 0x50, 0, 0];
        let bytes = words(&values);
        assert!(parse(sys::PERF_RECORD_SAMPLE, 0, &bytes).is_some());
        for cut in 0..bytes.len() {
            assert_eq!(parse(sys::PERF_RECORD_SAMPLE, 0, &bytes[..cut]), None, "cut at {cut}");
        }
        assert_eq!(parse(sys::PERF_RECORD_SAMPLE, 0, &words(&[0, 0, u64::MAX])), None);
    }

    #[test]
    fn what_processes_do_is_read() {
        let mut map = words(&[thread(7, 9), 0x1000, 0x2000, 0x3000, 0, 42, 0, 0]);
        map.extend(b"/bin/a b (deleted)\0\0\0\0\0\0");
        map.extend(words(&[thread(7, 9), 77]));
        let mapping = Mapping { range: 0x1000..0x3000, offset: 0x3000, name: "/bin/a b".to_owned() };
        assert_eq!(parse(sys::PERF_RECORD_MMAP2, 0, &map), Some(Record::Mapped(Mapped { pid: 7, mapping, inode: 42 })));
        assert_eq!(time_ns(sys::PERF_RECORD_MMAP2, &map), Some(77));
        let fork = words(&[thread(7, 3), thread(9, 5), 1_000, thread(7, 9), 1_000]);
        assert_eq!(
            parse(sys::PERF_RECORD_FORK, 0, &fork),
            Some(Record::Fork { pid: 7, parent: 3, tid: 9, parent_tid: 5 })
        );
        assert_eq!(parse(sys::PERF_RECORD_EXIT, 0, &fork), Some(Record::Exit { pid: 7, tid: 9, time_ns: 1_000 }));
    }

    #[test]
    fn switches_names_and_losses_are_read() {
        let misc = (sys::PERF_RECORD_MISC_SWITCH_OUT | sys::PERF_RECORD_MISC_SWITCH_OUT_PREEMPT) as u16;
        assert_eq!(
            parse(sys::PERF_RECORD_SWITCH, misc, &words(&[thread(7, 9), 5])),
            Some(Record::Switch { pid: 7, tid: 9, time_ns: 5, out: true, preempted: true })
        );
        assert_eq!(parse(sys::PERF_RECORD_LOST, 0, &words(&[1, 42])), Some(Record::Lost { records: 42 }));
        let mut name = words(&[thread(7, 9)]);
        name.extend(b"client-0\0\0\0\0\0\0\0\0junk");
        assert_eq!(
            parse(sys::PERF_RECORD_COMM, 0, &name),
            Some(Record::Name { pid: 7, tid: 9, name: "client-0".to_owned(), exec: false })
        );
        assert_eq!(parse(sys::PERF_RECORD_READ, 0, &words(&[0, 0, 0])), None);
    }
}
