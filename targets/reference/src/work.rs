//! Computation whose cost is known: three functions that share an operation's steps 70/20/10.
//!
//! They are kept out of line and out of each other's code, so that a profile of the target can be checked against the
//! split.

use std::hint::black_box;

/// Parts of 100 of an operation's steps, by function.
pub const SPLIT: [u32; 3] = [70, 20, 10];

/// Carries out `steps` steps, split over the three functions.
#[inline(never)]
pub fn operation(steps: u64, seed: u64) -> u64 {
    let part = |share: u32| steps * u64::from(share) / 100;
    let mut value = reference_work_seventy(part(SPLIT[0]), seed | 1);
    value ^= reference_work_twenty(part(SPLIT[1]), value | 1);
    value ^ reference_work_ten(part(SPLIT[2]), value | 1)
}

/// One step is a dependent multiplication and a shift: nothing to run ahead of, nothing to vectorise.
#[inline(always)]
fn steps(count: u64, seed: u64, multiplier: u64) -> u64 {
    let mut value = seed;
    for _ in 0..count {
        value = black_box((value ^ (value >> 29)).wrapping_mul(multiplier));
    }
    value
}

#[inline(never)]
fn reference_work_seventy(count: u64, seed: u64) -> u64 {
    black_box(steps(count, seed, 0xbf58_476d_1ce4_e5b9))
}

#[inline(never)]
fn reference_work_twenty(count: u64, seed: u64) -> u64 {
    black_box(steps(count, seed, 0x94d0_49bb_1331_11eb))
}

#[inline(never)]
fn reference_work_ten(count: u64, seed: u64) -> u64 {
    black_box(steps(count, seed, 0x9e37_79b9_7f4a_7c15))
}

/// Allocates `blocks` blocks of 64 bytes, split over three functions as steps are.
pub fn allocate(blocks: u32) {
    if blocks == 0 {
        return;
    }
    let part = |share: u32| blocks * share / 100;
    reference_allocate_seventy(part(SPLIT[0]));
    reference_allocate_twenty(part(SPLIT[1]));
    reference_allocate_ten(part(SPLIT[2]));
}

#[inline(always)]
fn blocks(count: u32, value: u8) {
    for _ in 0..count {
        black_box(Box::new([value; 64]));
    }
}

#[inline(never)]
fn reference_allocate_seventy(count: u32) {
    blocks(black_box(count), 70);
}

#[inline(never)]
fn reference_allocate_twenty(count: u32) {
    blocks(black_box(count), 20);
}

#[inline(never)]
fn reference_allocate_ten(count: u32) {
    blocks(black_box(count), 10);
}
