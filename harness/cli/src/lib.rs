//! The binary of uplift, with one file per verb.
