//! Makes one whole user stack of two halves: what frame pointers tell, and what unwind tables tell.
//!
//! Rust and bundled C keep frame pointers, the C library does not: a sample within it loses the function that called it,
//! and everything above where it uses the register for something else. So each sample also carries the top of its stack,
//! and is unwound by tables until that meets the chain of frame pointers, which reaches further than the copied bytes do.

use framehop::{CacheNative, ExplicitModuleSectionInfo, FrameAddress, MayAllocateDuringUnwind, UnwindRegsNative};
use framehop::{Unwinder as _, UnwinderNative};

use crate::{maps::Module, perf::event::REGISTERS};

/// The most frames of a stack; what lies beyond is cut.
pub const FRAMES_MAX: usize = 256;

/// Where the addresses of a sampled process lie.
pub trait Places {
    /// An address as the modules have it.
    fn place(&mut self, address: u64) -> u64;

    /// Bytes between the stack pointer and the return address in the function that `address` returns to, where its code
    /// tells and no table does.
    fn frame_bytes(&mut self, address: u64) -> Option<u64> {
        let _ = address;
        None
    }
}

/// Those of this process: the modules have them as they are.
#[derive(Clone, Copy, Debug)]
pub struct Own;

impl Places for Own {
    fn place(&mut self, address: u64) -> u64 {
        address
    }
}

/// Leaves a frame of so many bytes; gives the address that it returns to.
#[cfg(target_arch = "x86_64")]
fn leave(registers: &mut UnwindRegsNative, bytes: u64, read: &mut impl FnMut(u64) -> Result<u64, ()>) -> Option<u64> {
    let at = registers.sp().checked_add(bytes)?;
    let caller = read(at).ok().filter(|caller| *caller != 0)?;
    registers.set_sp(at.checked_add(8)?);
    registers.set_ip(caller);
    Some(caller)
}

/// Frames are not read from code here.
#[cfg(not(target_arch = "x86_64"))]
fn leave(_: &mut UnwindRegsNative, _: u64, _: &mut impl FnMut(u64) -> Result<u64, ()>) -> Option<u64> {
    None
}

/// Unwinds stacks.
pub struct Unwinder {
    unwinder: UnwinderNative<Vec<u8>, MayAllocateDuringUnwind>,
    cache: CacheNative<MayAllocateDuringUnwind>,
}

/// Registers in user mode.
#[derive(Clone, Copy, Debug)]
pub struct Registers([u64; REGISTERS.len()]);

impl Registers {
    /// As a sample holds them.
    pub const fn new(values: [u64; REGISTERS.len()]) -> Self {
        Self(values)
    }

    /// Of a function that calls another: within the call, its own stack and frame pointers.
    #[cfg(target_arch = "x86_64")]
    pub const fn of_caller(instruction: u64, stack: u64, frame: u64) -> Self {
        Self([frame, stack, instruction])
    }

    /// Of a function that calls another: within the call, its own stack and frame pointers.
    #[cfg(target_arch = "aarch64")]
    pub const fn of_caller(instruction: u64, stack: u64, frame: u64) -> Self {
        Self([frame, instruction.wrapping_add(1), stack, instruction])
    }

    #[cfg(target_arch = "x86_64")]
    fn parts(self) -> (u64, u64, UnwindRegsNative) {
        let [bp, sp, ip] = self.0;
        (ip, sp, UnwindRegsNative::new(ip, sp, bp))
    }

    #[cfg(target_arch = "aarch64")]
    fn parts(self) -> (u64, u64, UnwindRegsNative) {
        let [fp, lr, sp, pc] = self.0;
        (pc, sp, UnwindRegsNative::new(lr, sp, fp))
    }
}

impl Unwinder {
    /// With the unwind tables of these modules.
    pub fn new(modules: &[Module]) -> Self {
        let mut unwinder = Self { unwinder: UnwinderNative::new(), cache: CacheNative::new() };
        modules.iter().for_each(|module| unwinder.add(module));
        unwinder
    }

    /// Takes the unwind tables of one more module.
    pub fn add(&mut self, module: &Module) {
        let (frames, hdr) = (module.section(".eh_frame"), module.section(".eh_frame_hdr"));
        // Go writes its tables as debug information alone.
        let debug_frame = if frames.is_none() { module.section(".debug_frame") } else { None };
        if frames.is_none() && debug_frame.is_none() {
            return;
        }
        let (text, got) = (module.section_range(".text"), module.section_range(".got"));
        let ((eh_frame, eh_frame_svma), (eh_frame_hdr, eh_frame_hdr_svma)) = (frames.unzip(), hdr.unzip());
        self.unwinder.add_module(framehop::Module::new(
            module.name.clone(),
            module.range.clone(),
            module.bias,
            ExplicitModuleSectionInfo {
                base_svma: 0,
                eh_frame,
                eh_frame_svma,
                eh_frame_hdr,
                eh_frame_hdr_svma,
                debug_frame: debug_frame.map(|(bytes, _)| bytes),
                text_svma: text,
                got_svma: got,
                ..ExplicitModuleSectionInfo::default()
            },
        ));
    }

    /// Addresses innermost first, into `frames`, which is emptied before: first the instruction itself, then the
    /// instructions that calls return to. `chain` is what frame pointers told; `stack` what lies at the stack pointer.
    /// `places` gives addresses of the sampled process as the modules have them; `chain` is already so.
    pub fn unwind(
        &mut self,
        registers: Option<Registers>,
        chain: &[u64],
        stack: &[u8],
        places: &mut impl Places,
        frames: &mut Vec<u64>,
    ) {
        frames.clear();
        let Some(registers) = registers else {
            frames.extend(chain.iter().take(FRAMES_MAX));
            return;
        };
        let (ip, sp, mut unwound) = registers.parts();
        let mut read = |address: u64| -> Result<u64, ()> {
            let start = usize::try_from(address.checked_sub(sp).ok_or(())?).map_err(|_| ())?;
            let bytes = stack.get(start..start.checked_add(8).ok_or(())?).ok_or(())?;
            Ok(u64::from_ne_bytes(bytes.try_into().map_err(|_| ())?))
        };
        frames.push(places.place(ip));
        let mut address = FrameAddress::from_instruction_pointer(places.place(ip));
        let mut returns_to = None;
        while frames.len() < FRAMES_MAX {
            let known = returns_to.and_then(|address| places.frame_bytes(address));
            let unwound_to = match known.map(|bytes| leave(&mut unwound, bytes, &mut read)) {
                Some(Some(caller)) => Ok(Some(caller)),
                _ => self.unwinder.unwind_frame(address, &mut unwound, &mut self.cache, &mut read),
            };
            let caller = match unwound_to {
                Ok(Some(caller)) => {
                    returns_to = Some(caller);
                    // Where a call returns to may be the first byte of another module: the call itself lies before it.
                    places.place(caller.wrapping_sub(1)).wrapping_add(1)
                }
                Ok(None) => return,
                // Beyond the copied bytes, or no table: the longer of the two stories is told.
                Err(_) => break,
            };
            // The first of the chain is the instruction itself, which is no caller.
            if let Some(met) = chain.iter().skip(1).position(|&known| known == caller) {
                frames.extend(chain[met + 1..].iter().take(FRAMES_MAX - frames.len()));
                return;
            }
            frames.push(caller);
            let Some(next) = FrameAddress::from_return_address(caller) else { return };
            address = next;
        }
        if chain.len() > frames.len() {
            frames.clear();
            frames.extend(chain.iter().take(FRAMES_MAX));
        }
    }
}
