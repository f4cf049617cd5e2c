//! What this repository's documents link to is there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use pulldown_cmark::{Event, Options, Parser, Tag};

/// Markdown files below `folder`, but for what builds and runs leave there.
fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            let is_generated = ["target", "runs", "node_modules"].iter().any(|left_out| name == **left_out);
            if !is_generated && !name.to_string_lossy().starts_with('.') {
                documents(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// Whether a reference run leaves this out because `uplift report` draws it from the stacks that are kept beside it.
/// `harness/cli/tests/it/reference_runs.rs` draws them and holds these links against what is then there.
fn is_drawn_from_records(document: &Path, to: &str) -> bool {
    let folder = document.parent().unwrap();
    to.starts_with("profiles/")
        && folder.components().any(|part| part.as_os_str() == "reference")
        && folder.join("profiles.jsonl.gz").exists()
}

/// The files that a document links to or shows, seen from its folder.
fn targets(text: &str) -> Vec<String> {
    Parser::new_ext(text, Options::ENABLE_TABLES)
        .filter_map(|event| match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => Some(dest_url),
            _ => None,
        })
        .filter(|to| !to.contains("://") && !to.starts_with("mailto:") && !to.starts_with('#'))
        .map(|to| to.split('#').next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn every_link_leads_to_a_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = Vec::new();
    documents(&root, &mut found);
    let mut broken = Vec::new();
    let mut checked = 0;
    for document in &found {
        for to in targets(&fs::read_to_string(document).unwrap()) {
            checked += 1;
            if !document.parent().unwrap().join(&to).exists() && !is_drawn_from_records(document, &to) {
                broken.push(format!("{} → {to}", document.display()));
            }
        }
    }
    assert!(checked > 100, "only {checked} links in {} documents", found.len());
    assert!(broken.is_empty(), "{} of {checked} links lead nowhere:\n{}", broken.len(), broken.join("\n"));
}
