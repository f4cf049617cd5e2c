//! The scenario parser meets anything: it answers with a scenario or with an error that names a place, and never
//! panics. Inputs that once were trouble, or are likely to be, stay in `corpus/`.

use std::{fs, path::Path};

use proptest::prelude::*;
use uplift_model::Scenario;

fn corpus() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files: Vec<(String, String)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            (path.file_name().unwrap().to_string_lossy().into_owned(), text)
        })
        .collect();
    files.sort();
    assert!(files.len() >= 8, "the corpus is gone");
    files
}

fn answered(text: &str) {
    match Scenario::parse("a/b", "b.toml", text) {
        Ok(scenario) => {
            let stored = serde_json::to_string(&scenario).unwrap();
            assert_eq!(serde_json::from_str::<Scenario>(&stored).unwrap(), scenario);
        }
        Err(error) => {
            assert!(!error.message().is_empty());
            if let Some((line, column)) = error.line_column() {
                assert!(line >= 1 && column >= 1 && line <= text.lines().count() + 1, "{line}:{column}");
            }
            // What is printed must be printable, wherever the span lies.
            let _ = format!("{:?}", miette::Report::new(error));
        }
    }
}

#[test]
fn the_corpus_is_answered() {
    for (name, text) in corpus() {
        answered(&text);
        assert_eq!(Scenario::parse("a/b", "b.toml", &text).is_ok(), name.starts_with("good"), "{name}");
    }
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "\\PC{0,300}") {
        answered(&text);
    }

    #[test]
    fn damaged_scenarios_are_answered(
        file in 0usize..64,
        at in any::<prop::sample::Index>(),
        insert in "[\\[\\]{}=\"'#.,a-z0-9\\n -]{0,6}",
        remove in 0usize..12,
    ) {
        let corpus = corpus();
        let text = &corpus[file % corpus.len()].1;
        if !text.is_empty() {
            let start = text.floor_char_boundary(at.index(text.len()));
            let end = text.floor_char_boundary((start + remove).min(text.len())).max(start);
            answered(&format!("{}{insert}{}", &text[..start], &text[end..]));
        }
    }
}
