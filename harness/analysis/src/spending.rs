//! Looking before the end without paying for it in false alarms: an alpha spending function.
//!
//! The error probability α is spent as information grows: α·t³ at the share t of the planned blocks (Kim and DeMets
//! 1987, power family; exponent 3 is close to O'Brien and Fleming's boundaries: hardly anything early, nearly all at
//! the end). Each look has the increment to itself. That is the union bound: it holds whatever the dependence between
//! looks, so it also holds for t statistics of trimmed means, at the price of a little power against boundaries that
//! are integrated for normal increments.

/// The planned looks, in blocks; between them nobody looks.
pub const LOOKS: [u32; 14] = [6, 8, 11, 15, 20, 27, 36, 48, 64, 85, 113, 151, 201, 268];

const EXPONENT: i32 = 3;

/// The share of α that is spent when `blocks` of `blocks_max` are done.
fn spent(blocks: u32, blocks_max: u32) -> f64 {
    (f64::from(blocks.min(blocks_max)) / f64::from(blocks_max.max(1))).powi(EXPONENT)
}

/// Whether the plan has a look at `blocks`: at the planned looks and at the end. A planned look within the last 15 % is
/// left out: it would take most of the error from the end and hardly save time.
pub fn is_look(blocks: u32, blocks_max: u32) -> bool {
    blocks >= blocks_max || (LOOKS.contains(&blocks) && is_early(blocks, blocks_max))
}

const fn is_early(look: u32, blocks_max: u32) -> bool {
    20 * look <= 17 * blocks_max
}

/// The share of α that a decision after `blocks` of at most `blocks_max` blocks may use. The last look gets all that
/// is left, also when it came early (the budget ran out) or late.
pub fn share_at(blocks: u32, blocks_max: u32, last: bool) -> f64 {
    let before = LOOKS.iter().rev().find(|&&look| look < blocks && is_early(look, blocks_max)).copied().unwrap_or(0);
    let until = if last { 1.0 } else { spent(blocks, blocks_max) };
    until - spent(before, blocks_max)
}
