//! The stores as a whole: what they keep, what they notice, and what they answer.

mod compaction;
mod crash;
mod faults;
mod flipped;
mod formats;
mod history;
mod hooked;
mod power_loss;
mod served;
mod setups;
mod shutdown;
