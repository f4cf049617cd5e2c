//! No circle of imports over more than three files of a crate: such files can only be understood together.
//!
//! An edge is a path that starts at `crate`, `self` or `super` and leads into another file; where a name is re-exported,
//! it leads to the file that it comes from. `pub use` itself is no edge (a facade knows its parts by design), nor is
//! anything under `#[cfg(test)]` at the end of a file.

use std::collections::{BTreeMap, BTreeSet};

use crate::repository::Repository;

/// Files of a circle that go without a reason.
const FILES_MAX: usize = 3;

/// Circles that exist, with one sentence each. A circle may shrink; it may not grow, and one that is gone is removed here.
const KNOWN: &[(&str, usize, &str)] = &[
    ("engines/grouped: command", 4, "the writer's commands hold what it lends out, and that sends commands back"),
    ("targets/orchestration: bundled", 4, "providers are opened by the engine that they are handed to"),
    (
        "targets/service: counters",
        13,
        "the workload is made of the rules of each part, which speak of its protocol and are compiled with it",
    ),
    ("engines/postgres-service: lib", 4, "the three ways to a server share a trait beside their list"),
];

/// A module: its path below the crate, and its text without comments and tests.
type Modules = BTreeMap<Vec<String>, String>;

pub fn check(repository: &Repository) -> Vec<String> {
    let mut faults = Vec::new();
    let mut known = BTreeSet::new();
    for member in repository.members() {
        for circle in circles(&modules(repository, member)) {
            let names: Vec<String> =
                circle.iter().map(|path| if path.is_empty() { "lib".to_owned() } else { path.join("/") }).collect();
            let reason = KNOWN.iter().find(|(first, ..)| *first == format!("{member}: {}", names[0]));
            if reason.is_some_and(|(_, files, _)| names.len() <= *files) {
                known.insert(reason.map(|(first, ..)| *first));
                continue;
            }
            faults.push(format!(
                "`{member}`: {} files import each other in a circle: {}; move what they share into a file of its own",
                names.len(),
                names.join(", ")
            ));
        }
    }
    for (first, ..) in KNOWN.iter().filter(|(first, ..)| !known.contains(&Some(*first))) {
        faults.push(format!("the circle of `{first}` is gone: remove it from xtask/src/check/circles.rs"));
    }
    faults
}

fn modules(repository: &Repository, member: &str) -> Modules {
    let source = format!("{member}/src/");
    let mut modules = Modules::new();
    for file in repository.files().filter(|file| file.ends_with(".rs")) {
        let Some(inside) = file.strip_prefix(&source) else { continue };
        let mut path: Vec<String> = inside.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if path == ["main"] || path[0] == "bin" {
            continue;
        }
        if path.last().is_some_and(|last| last == "mod" || last == "lib") {
            path.pop();
        }
        modules.insert(path, code(&repository.text(file)));
    }
    modules
}

/// A source without comments, and without its tests.
fn code(source: &str) -> String {
    let source = source.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    source.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Sets of more than [`FILES_MAX`] modules that reach each other.
fn circles(modules: &Modules) -> Vec<BTreeSet<Vec<String>>> {
    let edges: BTreeMap<&Vec<String>, BTreeSet<Vec<String>>> =
        modules.keys().map(|module| (module, edges(modules, module))).collect();
    let reach = |from: &Vec<String>| {
        let mut seen = BTreeSet::new();
        let mut open = vec![from.clone()];
        while let Some(next) = open.pop() {
            for to in edges.get(&next).into_iter().flatten() {
                if seen.insert(to.clone()) {
                    open.push(to.clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> =
        modules.keys().map(|module| (module.clone(), reach(module))).collect();
    let circles: BTreeSet<BTreeSet<Vec<String>>> = modules
        .keys()
        .map(|module| reached[module].iter().filter(|other| reached[*other].contains(module)).cloned().collect())
        .collect();
    circles.into_iter().filter(|circle| circle.len() > FILES_MAX).collect()
}

fn edges(modules: &Modules, module: &Vec<String>) -> BTreeSet<Vec<String>> {
    let mut edges = BTreeSet::new();
    for (path, is_facade) in paths(&modules[module]) {
        if is_facade {
            continue;
        }
        if let Some(to) = absolute(module, &path).and_then(|path| home(modules, &path, 0))
            && to != *module
        {
            edges.insert(to);
        }
    }
    edges
}

/// A path from the root of the crate.
fn absolute(module: &[String], path: &[String]) -> Option<Vec<String>> {
    let mut from = module.to_vec();
    let mut rest = path;
    match rest.first()?.as_str() {
        "crate" => from.clear(),
        "self" => {}
        "super" => {
            while rest.first().is_some_and(|word| word == "super") {
                from.pop()?;
                rest = &rest[1..];
            }
            from.extend_from_slice(rest);
            return Some(from);
        }
        _ => return None,
    }
    from.extend_from_slice(&rest[1..]);
    Some(from)
}

/// The module that a path leads into, re-exports followed.
fn home(modules: &Modules, path: &[String], depth: usize) -> Option<Vec<String>> {
    let length = (0..=path.len()).rev().find(|length| modules.contains_key(&path[..*length]))?;
    let module = path[..length].to_vec();
    let Some(name) = path.get(length) else { return Some(module) };
    // A facade of a facade is followed a few times; a circle of re-exports would not compile.
    if depth < 8 {
        for (exported, is_facade) in paths(&modules[&module]) {
            if is_facade && exported.last() == Some(name) {
                let to = absolute(&module, &exported).or_else(|| {
                    // `pub use part::Name` without `self::`.
                    let inside: Vec<String> = module.iter().chain(&exported).cloned().collect();
                    modules.contains_key(&inside[..=module.len()]).then_some(inside)
                });
                if let Some(home) = to.and_then(|to| home(modules, &to, depth + 1)) {
                    return Some(home);
                }
            }
        }
    }
    Some(module)
}

/// All paths of a source that start at `crate`, `self` or `super`, use trees expanded, and whether each is a `pub use`.
fn paths(code: &str) -> Vec<(Vec<String>, bool)> {
    let words = words(code);
    let mut paths = Vec::new();
    let mut at = 0;
    while at < words.len() {
        if words[at] == "use" {
            let is_facade = at > 0 && (words[at - 1] == "pub" || words[at - 1] == ")");
            at += 1;
            tree(&words, &mut at, &[], &mut |path| paths.push((path, is_facade)));
        } else if ["crate", "super", "self"].contains(&words[at].as_str())
            && words.get(at + 1).is_some_and(|word| word == "::")
        {
            let start = at;
            while words.get(at + 1).is_some_and(|word| word == "::") && words.get(at + 2).is_some_and(|w| is_name(w)) {
                at += 2;
            }
            paths.push((words[start..=at].iter().filter(|word| *word != "::").cloned().collect(), false));
        }
        at += 1;
    }
    paths
}

/// Reads a use tree, and leaves `at` on the word that ends it.
fn tree(words: &[String], at: &mut usize, prefix: &[String], found: &mut dyn FnMut(Vec<String>)) {
    let mut path = prefix.to_vec();
    while let Some(word) = words.get(*at) {
        match word.as_str() {
            "::" => {}
            "{" => {
                loop {
                    *at += 1;
                    if words.get(*at).is_none_or(|word| word == "}") {
                        break;
                    }
                    tree(words, at, &path, found);
                    if words.get(*at).is_none_or(|word| word == "}") {
                        break;
                    }
                }
                *at += 1;
                return;
            }
            "as" => *at += 1,
            "*" => {}
            "self" if !path.is_empty() => {}
            name if is_name(name) => path.push(name.to_owned()),
            _ => break,
        }
        *at += 1;
    }
    found(path);
}

fn is_name(word: &str) -> bool {
    word.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// Names, `::` and single signs.
fn words(code: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("::") {
            2
        } else if first.is_alphanumeric() || first == '_' {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        if !first.is_whitespace() {
            words.push(rest[..length].to_owned());
        }
        rest = &rest[length..];
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crate_of(files: &[(&str, &str)]) -> Modules {
        files
            .iter()
            .map(|(path, text)| (path.split('/').filter(|s| !s.is_empty()).map(str::to_owned).collect(), code(text)))
            .collect()
    }

    #[test]
    fn a_circle_through_re_exports_and_parents_is_seen() {
        let modules = crate_of(&[
            ("", "pub use a::A; pub mod a; mod b; mod c; mod d;"),
            ("a", "use crate::b::{B, other};"),
            ("b", "use super::c::C;"),
            ("c", "fn x() { crate::d::call() }"),
            ("d", "use crate::A; // not crate::x"),
        ]);
        let found = circles(&modules);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].len(), 4, "the facade is not part of it: {found:?}");
    }

    #[test]
    fn a_line_and_a_small_circle_are_fine() {
        let modules = crate_of(&[
            ("", "mod a; pub use self::a::A;"),
            ("a", "use crate::b::B;"),
            ("b", "use crate::{c::C, a};"),
            ("c", "use crate::d;\n#[cfg(test)]\nmod tests { use crate::b::B; }"),
            ("d", ""),
        ]);
        assert!(circles(&modules).is_empty(), "{:?}", circles(&modules));
    }
}
