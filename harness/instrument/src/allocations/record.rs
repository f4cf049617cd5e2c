//! The records of a log, as `preloaded.c` writes them.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt as _};

/// Kinds of records.
const SPACE: u32 = 1;
const SAMPLE: u32 = 2;
/// The head of a record: kind and length, process and thread, six numbers, the name of the thread.
const HEAD_BYTES: usize = 80;

/// What a process has mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// Its number, from 1; a process that loads another library has another.
    pub number: u64,
    /// The process.
    pub pid: u32,
    /// The name of the process.
    pub name: String,
    /// As in `/proc/PID/maps`.
    pub maps: String,
}

/// One allocation, and the bytes that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample<'a> {
    /// The space of its process.
    pub space: u64,
    /// The process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// The name of the thread.
    pub thread: String,
    /// Bytes.
    pub weight: u64,
    /// Within the call, in the function that allocates.
    pub instruction: u64,
    /// The stack pointer of that function.
    pub stack_pointer: u64,
    /// The frame pointer of that function.
    pub frame_pointer: u64,
    /// What lies at the stack pointer.
    pub stack: &'a [u8],
}

struct Head([u8; HEAD_BYTES]);

impl Head {
    fn half(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.0[at..at + 4].try_into().unwrap_or_default())
    }

    fn word(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.0[at..at + 8].try_into().unwrap_or_default())
    }

    fn name(&self) -> String {
        let name = &self.0[64..80];
        String::from_utf8_lossy(name.split(|byte| *byte == 0).next().unwrap_or_default()).trim_end().to_owned()
    }
}

/// Reads the records in `range`.
pub fn read(
    file: &File,
    range: Range<u64>,
    space: &mut impl FnMut(Space),
    sample: &mut impl FnMut(Sample<'_>),
) -> io::Result<()> {
    let Range { start: mut at, end } = range;
    let mut payload = Vec::new();
    while at + (HEAD_BYTES as u64) <= end {
        let mut head = Head([0; HEAD_BYTES]);
        file.read_exact_at(&mut head.0, at)?;
        let (kind, bytes) = (head.half(0), u64::from(head.half(4)));
        // Whoever wrote it was ended between two words: what follows is not known to begin anywhere.
        if bytes < HEAD_BYTES as u64 || bytes > end - at {
            return Ok(());
        }
        let length = head.word(56).min(bytes - HEAD_BYTES as u64);
        payload.resize(length as usize, 0);
        file.read_exact_at(&mut payload, at + HEAD_BYTES as u64)?;
        at += bytes;
        let (pid, number) = (head.half(8), head.word(16));
        match kind {
            SPACE => {
                space(Space { number, pid, name: head.name(), maps: String::from_utf8_lossy(&payload).into_owned() })
            }
            SAMPLE => sample(Sample {
                space: number,
                pid,
                tid: head.half(12),
                thread: head.name(),
                weight: head.word(24),
                instruction: head.word(32),
                stack_pointer: head.word(40),
                frame_pointer: head.word(48),
                stack: &payload,
            }),
            _ => {}
        }
    }
    Ok(())
}
