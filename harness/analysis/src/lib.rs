//! Pure functions from records to verdicts.
