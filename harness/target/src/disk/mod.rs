//! A file layer that engines write through, so that a test can take the power away.
