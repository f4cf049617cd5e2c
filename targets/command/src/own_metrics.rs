//! Names of the target's own metrics.

/// In the order in which they are declared; values that programs print cannot have.
pub const METRICS: [&str; 23] = [
    "run_time",
    "run_time_min",
    "run_time_median",
    "run_time_max",
    "user_time",
    "system_time",
    "peak_memory",
    "minor_faults",
    "voluntary_switches",
    "involuntary_switches",
    "read_bytes",
    "storage_read_bytes",
    "instructions",
    "cycles",
    "cache_misses",
    "branch_misses",
    "callgrind_instructions",
    "allocations",
    "allocated_bytes",
    "start_cost",
    "sync_call_cost",
    "nonzero_exits",
    "left_behind",
];
