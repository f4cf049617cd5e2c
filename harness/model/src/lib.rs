//! The vocabulary of uplift: pure data, shared by every crate of the harness.
