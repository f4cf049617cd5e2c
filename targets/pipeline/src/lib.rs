//! The pipeline target of uplift.
