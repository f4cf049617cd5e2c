//! The memory that the kernel writes records into: mapped, drained, given back.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    ptr,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use perf_event_open_sys::bindings::perf_event_mmap_page;

/// A mapped ring of one event.
pub struct Ring {
    page: *mut perf_event_mmap_page,
    mapped_bytes: usize,
    data: *const u8,
    data_bytes: usize,
    scratch: Vec<u8>,
}

// SAFETY: the mapping belongs to this value alone; the kernel's side is synchronised through head and tail.
unsafe impl Send for Ring {}

impl Ring {
    /// Maps a ring of `pages` data pages, a power of two, for `event`.
    ///
    /// # Errors
    /// What the kernel said; `EPERM` where more memory is asked for than `perf_event_mlock_kb` allows.
    pub fn map(event: &OwnedFd, pages: usize) -> io::Result<Self> {
        // SAFETY: sysconf with a valid name has no preconditions.
        let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let mapped_bytes = (pages + 1) * page_bytes;
        // SAFETY: a new mapping of a perf event; its length is what the interface asks for.
        let page = unsafe {
            libc::mmap(
                ptr::null_mut(),
                mapped_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                event.as_raw_fd(),
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            page: page.cast(),
            mapped_bytes,
            // SAFETY: the data follow the first page of the mapping.
            data: unsafe { page.cast::<u8>().add(page_bytes) },
            data_bytes: pages * page_bytes,
            scratch: Vec::new(),
        })
    }

    /// Hands every whole record since the last call to `take` (type, misc, body), in order, and gives the memory back.
    pub fn drain(&mut self, mut take: impl FnMut(u32, u16, &[u8])) {
        // SAFETY: head and tail are in the mapping, which lives as long as `self`; the kernel writes the head, we the tail.
        let (head_cell, tail_cell) = unsafe {
            (AtomicU64::from_ptr(&raw mut (*self.page).data_head), AtomicU64::from_ptr(&raw mut (*self.page).data_tail))
        };
        let head = head_cell.load(Ordering::Acquire);
        let mut tail = tail_cell.load(Ordering::Relaxed);
        while tail < head {
            let mut header = [0; 8];
            self.copy(tail, &mut header);
            let kind = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
            let misc = u16::from_le_bytes([header[4], header[5]]);
            let size = u64::from(u16::from_le_bytes([header[6], header[7]]));
            if size < 8 || tail + size > head {
                // Not a record: nothing after it can be read either.
                tail = head;
                break;
            }
            let mut body = std::mem::take(&mut self.scratch);
            body.resize(size as usize - 8, 0);
            self.copy(tail + 8, &mut body);
            take(kind, misc, &body);
            self.scratch = body;
            tail += size;
        }
        fence(Ordering::Release);
        tail_cell.store(tail, Ordering::Release);
    }

    /// Copies bytes at a position of the stream, which may wrap at the end of the ring.
    fn copy(&self, position: u64, into: &mut [u8]) {
        let start = (position % self.data_bytes as u64) as usize;
        let first = into.len().min(self.data_bytes - start);
        // SAFETY: `start + first` is within the data, the rest starts at its beginning and is shorter than the ring; the
        // kernel does not write between tail and head.
        unsafe {
            ptr::copy_nonoverlapping(self.data.add(start), into.as_mut_ptr(), first);
            ptr::copy_nonoverlapping(self.data, into.as_mut_ptr().add(first), into.len() - first);
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this length and is used by nobody else.
        unsafe { libc::munmap(self.page.cast(), self.mapped_bytes) };
    }
}
