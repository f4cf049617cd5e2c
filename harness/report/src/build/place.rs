//! Where a scenario, or a part of it, stands in a page.

/// The place of a scenario, or of a part of it.
pub(crate) fn place(scenario: &str, part: &str) -> String {
    let name = uplift_model::file_name(&[scenario]);
    if part.is_empty() { name } else { format!("{name}-{part}") }
}
