//! What duroxide is told of an error.

use duroxide::providers::ProviderError;
use rusqlite::ErrorCode;

/// An error of SQLite in `operation`. A broken constraint stays broken, everything else may pass.
pub fn sqlite(operation: &'static str) -> impl Fn(rusqlite::Error) -> ProviderError {
    move |error| match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => ProviderError::permanent(operation, error.to_string()),
        _ => ProviderError::retryable(operation, error.to_string()),
    }
}

/// Text that should be JSON and is not.
pub fn json(operation: &'static str, what: &'static str) -> impl Fn(serde_json::Error) -> ProviderError {
    move |error| ProviderError::permanent(operation, format!("could not read {what}: {error}"))
}

/// A lock that the caller does not, or no longer, hold.
pub fn not_locked(operation: &'static str, token: &str) -> ProviderError {
    let message = format!("lock_token `{token}` holds nothing: unknown, expired, or its work was removed");
    ProviderError::permanent(operation, message)
}

/// The provider was dropped while the operation waited.
pub fn closed(operation: &'static str) -> ProviderError {
    ProviderError::permanent(operation, "the provider is closed")
}

/// The transaction that an operation was part of broke before it was carried out.
pub fn broken(error: &rusqlite::Error) -> ProviderError {
    ProviderError::retryable("transaction", error.to_string())
}

/// The operation was not carried out, and the cause is told to others: its transaction broke before it, or it panicked.
pub fn not_carried_out(operation: &'static str) -> ProviderError {
    ProviderError::retryable(operation, "it was not carried out: its transaction failed, or it panicked")
}
