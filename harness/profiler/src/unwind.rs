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

/// Unwinds stacks of one process.
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
        let mut unwinder = UnwinderNative::new();
        for module in modules {
            let (frames, hdr) = (module.section(".eh_frame"), module.section(".eh_frame_hdr"));
            let (text, got) = (module.section(".text"), module.section(".got"));
            let Some((eh_frame, eh_frame_svma)) = frames else { continue };
            let (eh_frame_hdr, eh_frame_hdr_svma) = hdr.unzip();
            unwinder.add_module(framehop::Module::new(
                module.name.clone(),
                module.range.clone(),
                module.bias,
                ExplicitModuleSectionInfo {
                    base_svma: 0,
                    eh_frame: Some(eh_frame),
                    eh_frame_svma: Some(eh_frame_svma),
                    eh_frame_hdr,
                    eh_frame_hdr_svma,
                    text_svma: text.map(|(_, range)| range),
                    got_svma: got.map(|(_, range)| range),
                    ..ExplicitModuleSectionInfo::default()
                },
            ));
        }
        Self { unwinder, cache: CacheNative::new() }
    }

    /// Addresses innermost first, into `frames`, which is emptied before: first the instruction itself, then the
    /// instructions that calls return to. `chain` is what frame pointers told; `stack` what lies at the stack pointer.
    pub fn unwind(&mut self, registers: Option<Registers>, chain: &[u64], stack: &[u8], frames: &mut Vec<u64>) {
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
        frames.push(ip);
        let mut address = FrameAddress::from_instruction_pointer(ip);
        while frames.len() < FRAMES_MAX {
            let caller = match self.unwinder.unwind_frame(address, &mut unwound, &mut self.cache, &mut read) {
                Ok(Some(caller)) => caller,
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
