//! The environment variables that choose a server.

/// The environment variable that names a server.
pub const URL_VARIABLE: &str = "UPLIFT_POSTGRES_URL";
/// The environment variable that says how a server of our own is made: `binaries` or `container`.
pub const WAY_VARIABLE: &str = "UPLIFT_POSTGRES_WAY";
