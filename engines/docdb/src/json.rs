//! Documents are JSON: what is not is refused before anything is written.

use serde::de::IgnoredAny;

use crate::{
    error::{StoreError, StoreErrorKind},
    store::{DOCUMENT_BYTES_MAX, Request},
};

/// Checks a request's document, where it has one.
///
/// # Errors
/// [`StoreErrorKind::Refused`] for a document that is too long or not JSON, or one that should not be there.
pub fn check(request: &Request<'_>) -> Result<(), StoreError> {
    let refused = |why: String| Err(StoreError::new("checking the request", StoreErrorKind::Refused(why)));
    if !request.operation.has_document() {
        return if request.document.is_empty() {
            Ok(())
        } else {
            refused(format!("{:?} takes no document, {} bytes came with it", request.operation, request.document.len()))
        };
    }
    if request.document.len() > DOCUMENT_BYTES_MAX {
        return refused(format!("a document has at most {DOCUMENT_BYTES_MAX} bytes, not {}", request.document.len()));
    }
    match serde_json::from_slice::<IgnoredAny>(request.document) {
        Ok(IgnoredAny) => Ok(()),
        Err(error) => refused(format!("the document is not JSON: {error}")),
    }
}
