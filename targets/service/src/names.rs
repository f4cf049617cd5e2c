//! Which names operations, parameters and metrics may have.

/// Names of the metrics that every service has.
pub const METRICS: [&str; 2] = ["client_cpu", "client_cores"];

/// Whether this can be the name of an operation, a parameter or a metric.
pub fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
