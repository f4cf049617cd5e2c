//! The dataflow target of uplift.
