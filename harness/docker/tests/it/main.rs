//! The launcher against a real engine. The agent is this very test binary: the launcher packs what runs, and `agent`
//! as its argument picks the tests of `inside`.

mod bench;
mod faults;
mod inside;
mod proxy;
mod runs;
