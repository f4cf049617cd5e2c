//! The book holds every document, its chapters link to nothing beside it, and `CONTRIBUTING.md` has every environment variable
//! that the sources read.
//!
//! That links lead somewhere is checked by `harness/report/tests/links.rs` for all markdown files.

use std::{collections::BTreeSet, path::Path};

use pulldown_cmark::{Event, Parser, Tag};

use crate::repository::Repository;

const SUMMARY: &str = "docs/SUMMARY.md";

/// Documents of the folder that are no chapter.
const NO_CHAPTER: &[&str] = &[SUMMARY];

pub fn check(repository: &Repository) -> Vec<String> {
    let mut faults = summary(repository);
    faults.extend(links_out(repository));
    faults.extend(variables(repository));
    faults
}

fn summary(repository: &Repository) -> Vec<String> {
    let linked = links(&repository.text(SUMMARY));
    let chapters: BTreeSet<String> = linked.iter().map(|to| format!("docs/{to}")).collect();
    let documents: BTreeSet<String> = repository
        .files()
        .filter(|file| file.starts_with("docs/") && file.ends_with(".md") && !NO_CHAPTER.contains(file))
        .map(str::to_owned)
        .collect();
    let missing = documents.difference(&chapters).map(|file| format!("`{file}` is no chapter: add it to {SUMMARY}"));
    let gone = chapters.difference(&documents).map(|file| format!("{SUMMARY} links to `{file}`, which does not exist"));
    let twice = linked.len() - chapters.len();
    let repeated = (twice > 0).then(|| format!("{SUMMARY} links {twice} chapters twice"));
    missing.chain(gone).chain(repeated).collect()
}

/// Links of chapters to files beside the book, which mdBook does not take along: they would lead nowhere.
fn links_out(repository: &Repository) -> Vec<String> {
    let chapters = repository.files().filter(|file| file.starts_with("docs/") && file.ends_with(".md"));
    chapters
        .flat_map(|file| links(&repository.text(file)).into_iter().map(move |link| (file, link)))
        .filter(|(file, link)| leaves_the_book(file, link))
        .map(|(file, link)| {
            format!("`{file}` links to `{link}`, which is not in the book: name the file in backticks instead")
        })
        .collect()
}

fn leaves_the_book(file: &str, link: &str) -> bool {
    if link.contains("://") || link.starts_with('#') {
        return false;
    }
    // Folders between `docs` and the file.
    let depth = file.matches('/').count() as i32 - 1;
    let mut level = depth;
    link.split('/').any(|part| {
        level -= i32::from(part == "..");
        level < 0
    })
}

fn links(markdown: &str) -> Vec<String> {
    Parser::new(markdown)
        .filter_map(|event| match event {
            Event::Start(Tag::Link { dest_url, .. }) => Some(dest_url.trim_start_matches("./").to_owned()),
            _ => None,
        })
        .collect()
}

fn variables(repository: &Repository) -> Vec<String> {
    let table = repository.text("CONTRIBUTING.md");
    let mut named = BTreeSet::new();
    for file in repository.files() {
        let extension = Path::new(file).extension().and_then(|extension| extension.to_str());
        let is_source = matches!(extension, Some("rs" | "sh" | "yml" | "py" | "mjs")) || file == ".ci/run";
        // This crate names variables to find them.
        if is_source && !file.starts_with("xtask/") {
            named.extend(uplift_variables(&repository.text(file)));
        }
    }
    // A test speaks to its own child in these: nobody sets them by hand.
    named.retain(|name| !name.starts_with("UPLIFT_TEST_"));
    named
        .into_iter()
        .filter(|name| !table.contains(&format!("`{name}")))
        .map(|name| format!("`{name}` is read somewhere and is not in the table of CONTRIBUTING.md: add a line"))
        .collect()
}

fn uplift_variables(source: &str) -> Vec<String> {
    source
        .match_indices("UPLIFT_")
        .filter(|(at, _)| !source[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        .map(|(at, _)| source[at..].chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect::<String>())
        .filter(|name| name.len() > "UPLIFT_".len())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_out_of_the_book_is_seen() {
        assert!(leaves_the_book("docs/A.md", "../CONTRIBUTING.md#words"));
        assert!(leaves_the_book("docs/tutorial/a.md", "../../README.md"));
        assert!(!leaves_the_book("docs/tutorial/a.md", "../CI.md"));
        assert!(!leaves_the_book("docs/A.md", "agents/appender.py"));
        assert!(!leaves_the_book("docs/A.md", "https://example.org/../x"));
    }

    #[test]
    fn variables_are_found_whole() {
        assert_eq!(
            uplift_variables("env(\"UPLIFT_SOAK\") $UPLIFT_CI_IMAGE NOT_UPLIFT_X"),
            ["UPLIFT_SOAK", "UPLIFT_CI_IMAGE"]
        );
    }

    #[test]
    fn chapters_are_links() {
        assert_eq!(links("- [a](./a.md)\n  - [b](t/b.md)\n"), ["a.md", "t/b.md"]);
    }
}
