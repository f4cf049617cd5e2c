//! The docdb target of uplift.
