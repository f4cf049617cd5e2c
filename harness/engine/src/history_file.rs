//! Reads `history.jsonl` in one pass: a history grows by a line for each variant of each run and is never begun anew, so
//! what reading it costs must follow from its bytes, and what is kept of it from what was asked.
//!
//! Of a line of another scenario nothing is kept but the scenario's name; of one of the wanted scenario, the value of
//! one metric. Everything else is looked at only as far as to know that the line is whole.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
    sync::Arc,
};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor},
};
use uplift_model::{
    history::{HISTORY_SCHEMA, HistoryPoint, HistoryValue},
    metric_names::current,
};

/// Bytes that are read at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// What is asked of the history.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The scenario.
    pub scenario: &'a str,
    /// The metric.
    pub metric: &'a str,
}

/// What the history holds of that, and the names of what else it holds.
#[derive(Debug, Default)]
pub struct History {
    /// Each variant of the scenario with the values of the metric, in the order of the file.
    pub variants: BTreeMap<String, Vec<HistoryPoint>>,
    /// All scenarios.
    pub scenarios: BTreeSet<String>,
    /// The metrics of the scenario.
    pub metrics: BTreeSet<String>,
    /// Lines that are no entries.
    pub torn: u64,
    /// The number of the first of them, from 1.
    pub first_torn: u64,
}

/// Reads the history; an empty one where there is no such file. A line that is not whole is left out, and counted.
///
/// # Errors
/// What keeps the file from being read, and a line that a later version wrote.
pub fn read_history(path: &Path, wanted: Wanted<'_>) -> io::Result<History> {
    let file = match File::open(path) {
        Ok(file) => file,
        // A link to something that is not there is no missing history.
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err() => {
            return Ok(History::default());
        }
        Err(error) => return Err(error),
    };
    read_lines(BufReader::with_capacity(BUFFER_BYTES, file), wanted)
}

fn read_lines(mut reader: impl BufRead, wanted: Wanted<'_>) -> io::Result<History> {
    let mut reading = Reading { wanted, history: History::default(), texts: BTreeSet::new() };
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        // Without its end it was cut off, even where what is left can be read.
        let read = if line.ends_with(b"\n") { reading.entry(&line) } else { None };
        match read {
            Some(schema) if schema <= HISTORY_SCHEMA => {}
            Some(schema) => return Err(newer(number, schema.into())),
            None => {
                if let Some(schema) = schema_of(&line).filter(|schema| *schema > u64::from(HISTORY_SCHEMA)) {
                    return Err(newer(number, schema));
                }
                let history = &mut reading.history;
                history.torn += 1;
                history.first_torn = if history.torn == 1 { number } else { history.first_torn };
            }
        }
    }
    Ok(reading.history)
}

fn newer(number: u64, schema: u64) -> io::Error {
    let sentence = format!("line {number}: schema {schema} is newer than {HISTORY_SCHEMA}");
    io::Error::new(io::ErrorKind::InvalidData, sentence)
}

/// The schema of a line whose other fields are not known.
fn schema_of(line: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Schema {
        schema: u64,
    }
    serde_json::from_slice::<Schema>(line).ok().map(|line| line.schema)
}

struct Reading<'a> {
    wanted: Wanted<'a>,
    history: History,
    /// Texts that many lines share: machines, revisions, shapes.
    texts: BTreeSet<Arc<str>>,
}

impl Reading<'_> {
    /// Takes what was asked for from a line and returns its schema; `None` where it is no entry.
    fn entry(&mut self, line: &[u8]) -> Option<u32> {
        let mut reader = serde_json::Deserializer::from_slice(line);
        let seed = Line { wanted: self.wanted, known: &self.history.metrics };
        let entry = seed.deserialize(&mut reader).ok()?;
        reader.end().ok()?;
        if entry.schema > HISTORY_SCHEMA {
            return Some(entry.schema);
        }
        if entry.scenario != self.wanted.scenario {
            if !self.history.scenarios.contains(&*entry.scenario) {
                self.history.scenarios.insert(entry.scenario.into_owned());
            }
            return Some(entry.schema);
        }
        self.history.metrics.extend(entry.metrics.unknown);
        let point = entry.metrics.value.map(|value| HistoryPoint {
            run: entry.run.into(),
            started_unix_s: entry.started_unix_s,
            machine: entry.machine.map(|text| self.shared(text)),
            revision: entry.revision.map(|text| self.shared(text)),
            dirty: entry.dirty,
            shape: self.shared(entry.shape),
            value,
        });
        match self.history.variants.get_mut(&*entry.variant) {
            Some(points) => points.extend(point),
            None => {
                self.history.variants.insert(entry.variant.into_owned(), point.into_iter().collect());
            }
        }
        Some(entry.schema)
    }

    fn shared(&mut self, text: Cow<'_, str>) -> Arc<str> {
        if let Some(known) = self.texts.get(&*text) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&text));
        text
    }
}

/// What is looked at of one line.
struct Entry<'a> {
    schema: u32,
    run: Cow<'a, str>,
    started_unix_s: u64,
    machine: Option<Cow<'a, str>>,
    revision: Option<Cow<'a, str>>,
    dirty: Option<bool>,
    scenario: Cow<'a, str>,
    shape: Cow<'a, str>,
    variant: Cow<'a, str>,
    metrics: Metrics,
}

/// What is looked at of a line's metrics.
#[derive(Default)]
struct Metrics {
    /// Of the wanted metric.
    value: Option<HistoryValue>,
    /// Names that no line before had.
    unknown: Vec<String>,
}

/// A text that is taken from the line where it has no escapes.
#[derive(Deserialize)]
struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);

/// The fields of `uplift_model::history::HistoryEntry`; a test holds them against it.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    Schema,
    Run,
    StartedUnixS,
    Machine,
    Revision,
    Dirty,
    Scenario,
    Shape,
    Variant,
    Metrics,
}

struct Line<'a> {
    wanted: Wanted<'a>,
    known: &'a BTreeSet<String>,
}

impl<'de> DeserializeSeed<'de> for Line<'_> {
    type Value = Entry<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Entry<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Line<'_> {
    type Value = Entry<'de>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a line of the history")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry<'de>, A::Error> {
        let (mut schema, mut run, mut started_unix_s, mut scenario, mut shape, mut variant, mut metrics) =
            (None, None, None, None, None, None, None);
        let (mut machine, mut revision, mut dirty) = (None, None, None);
        let text = |value: Borrowed<'de>| value.0;
        while let Some(field) = map.next_key()? {
            match field {
                Field::Schema => schema = Some(map.next_value()?),
                Field::Run => run = Some(text(map.next_value()?)),
                Field::StartedUnixS => started_unix_s = Some(map.next_value()?),
                Field::Machine => machine = map.next_value::<Option<Borrowed<'de>>>()?.map(text),
                Field::Revision => revision = map.next_value::<Option<Borrowed<'de>>>()?.map(text),
                Field::Dirty => dirty = map.next_value()?,
                Field::Scenario => scenario = Some(text(map.next_value()?)),
                Field::Shape => shape = Some(text(map.next_value()?)),
                Field::Variant => variant = Some(text(map.next_value()?)),
                Field::Metrics if scenario.as_ref().is_some_and(|name| name != self.wanted.scenario) => {
                    map.next_value::<IgnoredAny>()?;
                    metrics = Some(Metrics::default());
                }
                Field::Metrics => {
                    let seed = OfMetrics { wanted: self.wanted.metric, known: self.known };
                    metrics = Some(map.next_value_seed(seed)?);
                }
            }
        }
        let missing = A::Error::missing_field;
        Ok(Entry {
            schema: schema.ok_or_else(|| missing("schema"))?,
            run: run.ok_or_else(|| missing("run"))?,
            started_unix_s: started_unix_s.ok_or_else(|| missing("started_unix_s"))?,
            machine,
            revision,
            dirty,
            scenario: scenario.ok_or_else(|| missing("scenario"))?,
            shape: shape.ok_or_else(|| missing("shape"))?,
            variant: variant.ok_or_else(|| missing("variant"))?,
            metrics: metrics.ok_or_else(|| missing("metrics"))?,
        })
    }
}

struct OfMetrics<'a> {
    wanted: &'a str,
    known: &'a BTreeSet<String>,
}

impl<'de> DeserializeSeed<'de> for OfMetrics<'_> {
    type Value = Metrics;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Metrics, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OfMetrics<'_> {
    type Value = Metrics;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("metrics with their values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metrics, A::Error> {
        let mut metrics = Metrics::default();
        while let Some(Borrowed(name)) = map.next_key()? {
            let name = current(&name);
            if !self.known.contains(name) {
                metrics.unknown.push(name.to_owned());
            }
            if name != self.wanted {
                map.next_value::<IgnoredAny>()?;
            } else if metrics.value.replace(map.next_value()?).is_some() {
                return Err(A::Error::custom(format!("`{name}` is there under its old name too")));
            }
        }
        Ok(metrics)
    }
}

#[cfg(test)]
mod tests {
    use uplift_model::{Better, MetricClass, Unit, history::HistoryEntry};

    use super::*;

    const WANTED: Wanted<'_> = Wanted { scenario: "reference/steady", metric: "syncs_per_write" };

    fn entry(run: &str, scenario: &str, variant: &str, metrics: &[(&str, f64)]) -> HistoryEntry {
        let value = |median| HistoryValue {
            median,
            ci: Some([median - 1.0, median + 1.0]),
            n: 6,
            unit: Unit::CountPerOp,
            better: Better::Lower,
            class: MetricClass::Counter,
        };
        HistoryEntry {
            schema: HISTORY_SCHEMA,
            run: run.to_owned(),
            started_unix_s: 7,
            machine: Some("m \"quoted\"".to_owned()),
            revision: None,
            dirty: Some(true),
            scenario: scenario.to_owned(),
            shape: "s".to_owned(),
            variant: variant.to_owned(),
            metrics: metrics.iter().map(|(name, median)| ((*name).to_owned(), value(*median))).collect(),
        }
    }

    fn line(entry: &HistoryEntry) -> String {
        serde_json::to_string(entry).unwrap() + "\n"
    }

    fn read(text: &[u8]) -> io::Result<History> {
        read_lines(text, WANTED)
    }

    /// What is taken from a line is what the whole entry holds, in whatever order its fields stand.
    #[test]
    fn a_line_is_read_as_the_whole_entry_would_be() {
        let written = entry("r1", "reference/steady", "b", &[("syncs_per_write", 3.5), ("throughput", 9.0)]);
        let mut fields = serde_json::to_value(&written).unwrap();
        let table = fields.as_object_mut().unwrap();
        let metrics = table.shift_remove("metrics").unwrap();
        table.shift_insert(0, "metrics".to_owned(), metrics);
        for text in
            [line(&written), format!("{fields}\n"), line(&written).replace("syncs_per_write", "fsyncs_per_write")]
        {
            let history = read(text.as_bytes()).unwrap();
            let wanted = HistoryPoint::of(&written, "syncs_per_write").unwrap();
            assert_eq!(history.variants["b"], [wanted], "{text}");
            assert_eq!(history.metrics.iter().collect::<Vec<_>>(), ["syncs_per_write", "throughput"]);
            assert_eq!(history.torn, 0);
        }
        let other = line(&entry("r1", "docdb/crud", "b", &[("syncs_per_write", 3.5)]));
        let without = line(&entry("r2", "reference/steady", "c", &[("throughput", 1.0)]));
        let history = read((other + &without).as_bytes()).unwrap();
        assert_eq!(history.scenarios.iter().collect::<Vec<_>>(), ["docdb/crud"]);
        assert_eq!(history.variants.into_iter().collect::<Vec<_>>(), [("c".to_owned(), Vec::new())]);
    }

    /// Cut at any byte: what stands before is read, and what is cut is counted, a line of another scenario as well.
    #[test]
    fn what_is_no_entry_is_left_out_and_counted() {
        let first = line(&entry("r1", "reference/steady", "b", &[("syncs_per_write", 3.5)]));
        for second in ["reference/steady", "docdb/crud"].map(|name| line(&entry("r2", name, "b", &[("x", 1.0)]))) {
            for cut in 1..second.len() {
                let text = [first.as_bytes(), &second.as_bytes()[..cut], b"\n", first.as_bytes()].concat();
                let history = read(&text).unwrap();
                let torn = u64::from(cut < second.len() - 1);
                assert_eq!((history.variants["b"].len() as u64, history.torn, history.first_torn), (2, torn, 2 * torn));
                let history = read(&text[..first.len() + cut]).unwrap();
                assert_eq!((history.torn, history.first_torn), (1, 2), "no end of the line at {cut}");
            }
        }
        for broken in [
            first.replace("\"run\":\"r1\",", ""),
            first.replace("\"dirty\"", "\"dirtier\""),
            first.replace("\"n\":6", "\"n\":-6"),
            first.replace("\"metrics\":{", "\"metrics\":{\"fsyncs_per_write\":{\"median\":1.0,\"ci\":null,\"n\":1,\"unit\":\"1/op\",\"better\":\"lower\",\"tier\":\"counter\"},"),
            first.trim_end().to_owned() + " {}\n",
        ] {
            assert_ne!(broken, first);
            assert_eq!(read(broken.as_bytes()).unwrap().torn, 1, "{broken}");
        }
    }

    #[test]
    fn a_line_of_a_later_version_is_an_error() {
        let first = line(&entry("r1", "reference/steady", "b", &[]));
        for later in ["{\"schema\":9,\"what\":1}\n".to_owned(), first.replace("\"schema\":1", "\"schema\":9")] {
            let error = read((first.clone() + &later).as_bytes()).unwrap_err().to_string();
            assert_eq!(error, "line 2: schema 9 is newer than 1");
        }
    }

    /// Ten thousand lines share the texts that they have in common.
    #[test]
    fn texts_in_common_are_kept_once() {
        let text = line(&entry("r", "reference/steady", "b", &[("syncs_per_write", 3.5)])).repeat(10_000);
        let points = read(text.as_bytes()).unwrap().variants.remove("b").unwrap();
        assert_eq!(points.len(), 10_000);
        assert!(points.windows(2).all(|pair| Arc::ptr_eq(&pair[0].shape, &pair[1].shape)));
    }
}
