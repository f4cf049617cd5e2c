//! No large file without a reason: a clone is paid by everybody, for ever.

use crate::repository::Repository;

/// Bytes above which a file needs a reason.
const SIZE_MAX: u64 = 1 << 20;

/// Files that may be larger, and why.
const REASONS: &[(&str, &str)] = &[(
    "engines/pipeline/module/connector.wasm",
    "a WebAssembly module is what the scenario compiles; building it needs a toolchain that few have",
)];

pub fn check(repository: &Repository) -> Vec<String> {
    let sizes = repository.files().map(|file| (file, repository.size(file)));
    faults(sizes, REASONS)
}

fn faults<'a>(sizes: impl Iterator<Item = (&'a str, u64)>, reasons: &[(&str, &str)]) -> Vec<String> {
    let large: Vec<(&str, u64)> = sizes.filter(|(_, size)| *size > SIZE_MAX).collect();
    let listed = |file: &str| reasons.iter().any(|(path, _)| *path == file);
    let unexplained = large.iter().filter(|(file, _)| !listed(file)).map(|(file, size)| {
        format!("`{file}` has {size} bytes, at most {SIZE_MAX} go without a reason: leave it out, or add it to REASONS in xtask/src/check/sizes.rs")
    });
    let stale = reasons
        .iter()
        .filter(|(path, _)| !large.iter().any(|(file, _)| file == path))
        .map(|(path, _)| format!("`{path}` is in REASONS and is not large: remove the line"));
    unexplained.chain(stale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_needs_a_reason_and_a_reason_needs_a_large_file() {
        let sizes = [("small", 10), ("large", SIZE_MAX + 1), ("known", SIZE_MAX + 1)];
        let found = faults(sizes.into_iter(), &[("known", "why"), ("gone", "why")]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("`large`") && found[1].contains("`gone`"), "{found:?}");
    }
}
