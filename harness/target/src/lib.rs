//! What a target links: the Target trait, load generators, recorders, the sync probe and the agent.
pub mod disk;
