//! Draws verdicts: terminal, markdown, JSON; computes none.
