//! Runs trials: plan, launch, link, probes and store.
