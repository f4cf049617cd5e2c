//! Files of other tools: what was measured, how often, and how long it took; pure.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// What a file holds.
#[derive(Debug, PartialEq)]
pub struct Imported {
    /// Which tool wrote it.
    pub tool: &'static str,
    /// What was measured; what stands in one group was to be compared.
    pub groups: Vec<Group>,
}

/// Programs, or one benchmark.
#[derive(Debug, PartialEq)]
pub struct Group {
    /// Its name, fit for a scenario.
    pub name: String,
    /// Each with its measurements.
    pub arms: Vec<Arm>,
}

/// One program or benchmark.
#[derive(Debug, PartialEq)]
pub struct Arm {
    /// What measures it again.
    pub command: String,
    /// In the order of the file.
    pub samples: Vec<Sample>,
}

/// One measurement.
#[derive(Debug, PartialEq)]
pub struct Sample {
    /// Operations in it.
    pub runs: f64,
    /// The time of all of them.
    pub total_ns: f64,
    /// Other values of one operation.
    pub extras: BTreeMap<&'static str, f64>,
}

impl Sample {
    fn new(runs: f64, total_ns: f64) -> Result<Self, String> {
        let fits = |value: f64| value.is_finite() && (0.0..1e18).contains(&value);
        if runs >= 1.0 && fits(runs) && fits(total_ns) {
            Ok(Self { runs, total_ns, extras: BTreeMap::new() })
        } else {
            Err(format!("{runs} operations in {total_ns} ns are no measurement"))
        }
    }
}

const KNOWN: &str = "known are hyperfine's --export-json, the output of `go test -bench`, the lines of `cargo criterion \
                     --message-format=json`, and criterion's folder `target/criterion`";

/// Reads a file, or the folder that criterion writes.
///
/// # Errors
/// A sentence: what is wrong in it, or which formats are known.
pub fn read(path: &Path) -> Result<Imported, String> {
    if path.is_dir() {
        return criterion_folder(path);
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&bytes);
    if text.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    if let Ok(whole) = serde_json::from_str::<Value>(&text)
        && whole["results"].is_array()
    {
        let stem = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        return hyperfine(&whole, &stem);
    }
    let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    if lines.iter().any(|line| line["reason"] == "benchmark-complete") {
        return criterion_lines(&lines);
    }
    let groups = go_test(&text)?;
    if groups.is_empty() {
        Err(format!("its format is not known: {KNOWN}"))
    } else {
        Ok(Imported { tool: "go-test", groups })
    }
}

fn numbers(value: &Value) -> Option<Vec<f64>> {
    value.as_array()?.iter().map(Value::as_f64).collect()
}

fn hyperfine(whole: &Value, stem: &str) -> Result<Imported, String> {
    let mut arms = Vec::new();
    for (place, one) in whole["results"].as_array().into_iter().flatten().enumerate() {
        let command = one["command"].as_str().ok_or_else(|| format!("its result {place} names no command"))?;
        let times = numbers(&one["times"]).filter(|times| !times.is_empty());
        let times = times.ok_or_else(|| {
            format!("its result {place} has no `times`, the time of each run; a mean alone cannot be imported")
        })?;
        let samples = times.into_iter().map(|seconds| Sample::new(1.0, seconds * 1e9)).collect::<Result<_, _>>()?;
        arms.push(Arm { command: command.to_owned(), samples });
    }
    if arms.is_empty() {
        return Err("it has no results".to_owned());
    }
    Ok(Imported { tool: "hyperfine", groups: vec![Group { name: scenario_name(stem), arms }] })
}

/// A name that a scenario may have.
fn scenario_name(text: &str) -> String {
    let name: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    let name = name.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if name.is_empty() { "imported".to_owned() } else { name.to_owned() }
}

/// `BenchmarkFold/small-8   500   2391.5 ns/op   16 B/op   2 allocs/op`, a line for each repetition.
fn go_test(text: &str) -> Result<Vec<Group>, String> {
    let mut groups: Vec<Group> = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [name, runs, rest @ ..] = fields.as_slice() else { continue };
        let (true, Ok(runs)) = (name.starts_with("Benchmark"), runs.parse::<f64>()) else { continue };
        // Behind the name stands the number of CPUs.
        let name =
            name.rsplit_once('-').filter(|(_, cpus)| cpus.parse::<u32>().is_ok()).map_or(*name, |(name, _)| name);
        let values = rest.chunks_exact(2).filter_map(|pair| Some((pair[1], pair[0].parse::<f64>().ok()?)));
        let Some((_, each_ns)) = values.clone().find(|(unit, _)| *unit == "ns/op") else { continue };
        let mut sample = Sample::new(runs, each_ns * runs).map_err(|why| format!("`{name}`: {why}"))?;
        for (unit, key) in [("B/op", "allocated_bytes"), ("allocs/op", "allocations")] {
            sample.extras.extend(values.clone().find(|(found, _)| *found == unit).map(|(_, value)| (key, value)));
        }
        let scenario = scenario_name(name);
        match groups.iter_mut().find(|group| group.name == scenario) {
            Some(group) => group.arms[0].samples.push(sample),
            None => {
                let command = format!("go test -run '^$' -bench '^{name}$'");
                groups.push(Group { name: scenario, arms: vec![Arm { command, samples: vec![sample] }] });
            }
        }
    }
    Ok(groups)
}

fn criterion_group(id: &str, iterations: &[f64], times_ns: &[f64]) -> Result<Group, String> {
    if iterations.is_empty() || iterations.len() != times_ns.len() {
        return Err(format!("`{id}`: {} numbers of iterations and {} times", iterations.len(), times_ns.len()));
    }
    let samples = iterations.iter().zip(times_ns).map(|(runs, total)| Sample::new(*runs, *total));
    let samples = samples.collect::<Result<_, _>>().map_err(|why| format!("`{id}`: {why}"))?;
    let command = format!("cargo bench -- --exact '{id}'");
    Ok(Group { name: scenario_name(id), arms: vec![Arm { command, samples }] })
}

fn criterion_lines(lines: &[Value]) -> Result<Imported, String> {
    let mut groups = Vec::new();
    for line in lines.iter().filter(|line| line["reason"] == "benchmark-complete") {
        let id = line["id"].as_str().ok_or("a benchmark has no id")?;
        let scale = match line["unit"].as_str() {
            Some("ns") => 1.0,
            Some("ps") => 1e-3,
            Some("us") => 1e3,
            Some("ms") => 1e6,
            Some("s") => 1e9,
            unit => return Err(format!("`{id}` is measured in {}, which is no time", unit.unwrap_or("nothing"))),
        };
        let (iterations, times) = (numbers(&line["iteration_count"]), numbers(&line["measured_values"]));
        let times: Option<Vec<f64>> = times.map(|times| times.into_iter().map(|time| time * scale).collect());
        groups.push(criterion_group(id, &iterations.unwrap_or_default(), &times.unwrap_or_default())?);
    }
    Ok(Imported { tool: "criterion", groups })
}

/// `<benchmark>/new/sample.json` of every benchmark below.
fn criterion_folder(folder: &Path) -> Result<Imported, String> {
    let mut samples: Vec<PathBuf> = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        let entries = fs::read_dir(&next).map_err(|error| format!("`{}`: {error}", next.display()))?;
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let path = entry.path();
            // `base` and `change` are of earlier times.
            if path.file_name().is_some_and(|name| name == "new") && path.join("sample.json").is_file() {
                samples.push(path);
            } else {
                open.push(path);
            }
        }
    }
    samples.sort();
    let read = |path: &Path| -> Result<Value, String> {
        let bytes = fs::read(path).map_err(|error| format!("`{}`: {error}", path.display()))?;
        serde_json::from_slice(&bytes).map_err(|error| format!("`{}`: {error}", path.display()))
    };
    let mut groups = Vec::new();
    for path in samples {
        let (sample, about) = (read(&path.join("sample.json"))?, read(&path.join("benchmark.json"))?);
        let id = about["full_id"].as_str().ok_or_else(|| format!("`{}` names no benchmark", path.display()))?;
        let (iterations, times) = (numbers(&sample["iters"]), numbers(&sample["times"]));
        groups.push(criterion_group(id, &iterations.unwrap_or_default(), &times.unwrap_or_default())?);
    }
    if groups.is_empty() {
        Err(format!("it holds no `new/sample.json`: {KNOWN}"))
    } else {
        Ok(Imported { tool: "criterion", groups })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str, text: &str) -> Result<Imported, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn three_tools_are_read() {
        let found =
            written("sorts.json", r#"{"results":[{"command":"a","times":[0.1,0.2]},{"command":"b","times":[0.3]}]}"#);
        let found = found.unwrap();
        assert_eq!((found.tool, found.groups[0].name.as_str(), found.groups[0].arms.len()), ("hyperfine", "sorts", 2));
        assert_eq!(found.groups[0].arms[0].samples[1].total_ns, 2e8);

        let go = "goos: linux\nBenchmarkFold/a-2  500  2391.5 ns/op  16 B/op  2 allocs/op\nBenchmarkFold/a-2  600  2401 ns/op\nPASS\n";
        let found = written("go.txt", go).unwrap();
        assert_eq!((found.tool, found.groups.len(), found.groups[0].name.as_str()), ("go-test", 1, "BenchmarkFold-a"));
        let samples = &found.groups[0].arms[0].samples;
        assert_eq!((samples[0].runs, samples[0].total_ns, samples.len()), (500.0, 500.0 * 2391.5, 2));
        assert_eq!((samples[0].extras["allocated_bytes"], samples[0].extras["allocations"]), (16.0, 2.0));

        let line = r#"{"reason":"benchmark-complete","id":"fold/100","unit":"us","iteration_count":[10,20],"measured_values":[5.0,11.0]}"#;
        let found = written("lines.json", &format!("{line}\n{{\"reason\":\"group-complete\"}}\n")).unwrap();
        assert_eq!((found.tool, found.groups[0].name.as_str()), ("criterion", "fold-100"));
        assert_eq!(found.groups[0].arms[0].samples[1].total_ns, 11_000.0);
    }

    #[test]
    fn a_folder_of_criterion_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("fold/100/new");
        fs::create_dir_all(&new).unwrap();
        fs::create_dir_all(folder.path().join("fold/100/base")).unwrap();
        fs::write(new.join("sample.json"), r#"{"sampling_mode":"Linear","iters":[1.0,2.0],"times":[50.0,90.0]}"#)
            .unwrap();
        fs::write(new.join("benchmark.json"), r#"{"full_id":"fold/100"}"#).unwrap();
        assert_eq!(read(folder.path()).unwrap().groups[0].arms[0].samples.len(), 2);
        assert!(read(&folder.path().join("fold/100/base")).unwrap_err().contains("known are hyperfine's"));
    }

    #[test]
    fn what_cannot_be_read_is_a_sentence() {
        for (text, said) in [
            ("", "it is empty"),
            ("hello\n", "its format is not known"),
            (r#"{"results":[]}"#, "it has no results"),
            (r#"{"results":[{"command":"a","mean":1.0}]}"#, "a mean alone cannot be imported"),
            (r#"{"results":[{"command":"a","times":[-1.0]}]}"#, "are no measurement"),
            (r#"{"reason":"benchmark-complete","id":"x","unit":"B"}"#, "which is no time"),
            (
                r#"{"reason":"benchmark-complete","id":"x","unit":"ns","iteration_count":[1]}"#,
                "1 numbers of iterations",
            ),
        ] {
            let found = written("file", text).unwrap_err();
            assert!(found.contains(said), "`{text}`: {found}");
        }
    }
}
