//! Why a pipeline run ended before its end.

use arrow_schema::ArrowError;

/// A run that failed, with the place where it did.
#[derive(Debug, thiserror::Error)]
#[error("{context}: {kind}")]
pub struct PipelineError {
    /// What was being done, and by which worker: "flushing a batch".
    pub context: String,
    /// What went wrong.
    pub kind: ErrorKind,
}

/// What can go wrong in a run.
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// The destination refused a row: a NOT NULL column, a duplicate key.
    #[error("the destination refused a row: {0}")]
    Constraint(String),
    /// The destination went away.
    #[error("the destination closed the connection: {0}")]
    DestinationLost(String),
    /// There is no room for more rows.
    #[error("the destination has no room left: {0}")]
    DiskFull(String),
    /// The transform's module trapped.
    #[error("the transform trapped: {0}")]
    TransformTrap(String),
    /// The transform ran longer than it may.
    #[error("the transform was stopped after {limit_ms} ms for one batch, which is `transform_timeout`")]
    TransformTimeout {
        /// The limit.
        limit_ms: u64,
    },
    /// The transform refused the batch.
    #[error("the transform failed: {0}")]
    Transform(String),
    /// The source ended before it had given what it announced.
    #[error("the source of partition {partition} ended after {rows} of {expected} rows")]
    SourceEndedEarly {
        /// The partition.
        partition: u32,
        /// Rows that had come.
        rows: u64,
        /// Rows that it announced.
        expected: u64,
    },
    /// The source could not be read.
    #[error("the source failed: {0}")]
    Source(String),
    /// A frame is not what was sent.
    #[error("a frame was damaged on its way: {0}")]
    Corrupt(String),
    /// Anything else that the destination says.
    #[error("{0}")]
    Destination(String),
    /// A neighbour ended first; its error is the one that matters.
    #[error("a neighbouring stage ended")]
    NeighbourEnded,
    /// Something outside is missing.
    #[error("{state}; {remedy}")]
    Unavailable {
        /// What is not there.
        state: String,
        /// What the user can do.
        remedy: String,
        /// The service that is missing, where one is.
        missing: Option<&'static str>,
    },
}

/// Names of the failure categories, in the order of [`PipelineError::category`].
pub const CATEGORIES: [&str; 8] = [
    "constraint",
    "destination lost",
    "disk full",
    "transform",
    "source",
    "damaged frame",
    "destination",
    "unavailable",
];

impl PipelineError {
    /// An error with its context.
    pub fn new(context: impl Into<String>, kind: ErrorKind) -> Self {
        Self { context: context.into(), kind }
    }

    /// Index into [`CATEGORIES`].
    pub fn category(&self) -> u8 {
        match &self.kind {
            ErrorKind::Constraint(_) => 0,
            ErrorKind::DestinationLost(_) => 1,
            ErrorKind::DiskFull(_) => 2,
            ErrorKind::TransformTrap(_) | ErrorKind::TransformTimeout { .. } | ErrorKind::Transform(_) => 3,
            ErrorKind::SourceEndedEarly { .. } | ErrorKind::Source(_) => 4,
            ErrorKind::Corrupt(_) => 5,
            ErrorKind::Destination(_) | ErrorKind::NeighbourEnded => 6,
            ErrorKind::Unavailable { .. } => 7,
        }
    }

    /// A failure of Arrow's kernels or its format, which only damaged frames can cause here.
    pub fn arrow(context: &str, error: &ArrowError) -> Self {
        Self::new(context, ErrorKind::Corrupt(error.to_string()))
    }

    /// A file operation of a destination.
    pub fn io(context: &str, error: &std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                ErrorKind::DiskFull(error.to_string())
            }
            _ => ErrorKind::Destination(error.to_string()),
        };
        Self::new(context, kind)
    }
}

/// The result of anything in a run.
pub type Result<T, E = PipelineError> = std::result::Result<T, E>;
