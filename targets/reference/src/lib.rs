//! The reference target of uplift.
