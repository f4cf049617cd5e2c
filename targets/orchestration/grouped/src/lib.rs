//! A duroxide provider on SQLite with one writer and group commit.
