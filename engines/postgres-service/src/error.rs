//! Why there is no server.

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// None is available on this machine as it is.
    #[error("{state}; {remedy}")]
    Unavailable {
        /// What is not there.
        state: String,
        /// What the user can do.
        remedy: String,
    },
    /// One should have started, and did not.
    #[error("{context}: {message}")]
    Failed {
        /// What was being done.
        context: String,
        /// What went wrong, with the end of the server's log.
        message: String,
    },
}

impl ServiceError {
    pub(crate) fn unavailable(state: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Unavailable { state: state.into(), remedy: remedy.into() }
    }

    pub(crate) fn failed(context: impl Into<String>, message: impl ToString) -> Self {
        Self::Failed { context: context.into(), message: message.to_string() }
    }
}
