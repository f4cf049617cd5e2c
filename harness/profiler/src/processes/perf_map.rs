//! Names of code that a compiler makes while the program runs: `/tmp/perf-PID.map`, as node, Java and Python write it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

/// Names of those of `sampled` that the map of process `pid` knows.
pub fn names_of(pid: u32, sampled: &BTreeSet<u64>) -> BTreeMap<u64, String> {
    let seen = fs::read(format!("/proc/{pid}/root/tmp/perf-{pid}.map"));
    let Ok(text) = seen.or_else(|_| fs::read(format!("/tmp/perf-{pid}.map"))) else { return BTreeMap::new() };
    parse(&String::from_utf8_lossy(&text), sampled)
}

/// Reads lines of start, length and name; what is said later of an address holds.
fn parse(text: &str, sampled: &BTreeSet<u64>) -> BTreeMap<u64, String> {
    let mut names = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ' ');
        let mut number = || u64::from_str_radix(fields.next()?.trim_start_matches("0x"), 16).ok();
        let (Some(start), Some(length)) = (number(), number()) else { continue };
        let Some(name) = fields.next() else { continue };
        // A return address may be the first byte behind a function that ends with a call.
        for &address in sampled.range(start..=start.saturating_add(length)) {
            if address < start.saturating_add(length) || !names.contains_key(&address) {
                names.insert(address, readable(name));
            }
        }
    }
    names
}

/// A name as people write it: the function and its file, the same however well it was compiled.
fn readable(name: &str) -> String {
    // JS:*work /home/me/app.js:3:16
    let kinds = ["JS:", "LazyCompile:", "Function:", "Eval:", "Script:"];
    if let Some(rest) = kinds.iter().find_map(|kind| name.strip_prefix(kind)) {
        let rest = rest.trim_start_matches(['*', '~', '^', '+', '-', '\'']);
        let (function, place) = rest.split_once(' ').unwrap_or(("", rest));
        let function = if function.is_empty() { "(anonymous)" } else { function };
        return format!("{function} ({})", file_of(place));
    }
    // py::work:/home/me/app.py
    if let Some(rest) = name.strip_prefix("py::") {
        let (function, place) = rest.split_once(':').unwrap_or((rest, "?"));
        return format!("{function} ({})", file_of(place));
    }
    name.to_owned()
}

/// The name of a file, without its folder and lines: these differ between versions.
fn file_of(place: &str) -> &str {
    let place = place.trim_start_matches("file://");
    let path = place.split(':').next().unwrap_or(place);
    path.rsplit('/').next().filter(|file| !file.is_empty()).unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_compilers_become_those_of_people() {
        assert_eq!(readable("JS:*work70 /home/me/app.js:3:16"), "work70 (app.js)");
        assert_eq!(readable("JS:~work70 /home/me/app.js:3:16"), "work70 (app.js)");
        assert_eq!(readable("LazyCompile:~ file:///home/me/app.mjs:1:1"), "(anonymous) (app.mjs)");
        assert_eq!(readable("py::work70:/home/me/app.py"), "work70 (app.py)");
        assert_eq!(readable("Ljava/lang/String;::hashCode"), "Ljava/lang/String;::hashCode");
    }

    #[test]
    fn the_last_word_about_an_address_holds() {
        let text = "1000 10 first\n0x1008 8 second\nno line\n2000 100 elsewhere\n";
        let names = parse(text, &BTreeSet::from([0x1000, 0x1008, 0x1010, 0x1800]));
        assert_eq!(names[&0x1000], "first");
        assert_eq!(names[&0x1008], "second");
        assert_eq!(names[&0x1010], "first", "just behind it");
        assert!(!names.contains_key(&0x1800));
    }
}
