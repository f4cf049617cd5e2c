//! A sampling profiler inside the process that it observes.
