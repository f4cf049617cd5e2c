//! A profile as pprof's protocol buffer, gzipped (`profile.proto` of google/pprof): for `go tool pprof` and speedscope.

use std::{collections::HashMap, io, io::Write as _};

use flate2::{Compression, GzBuilder};
use uplift_analysis::profile::{
    Profile, category,
    folded::{function, is_kernel},
};

/// Field numbers of `Profile`.
mod field {
    pub const SAMPLE_TYPE: u32 = 1;
    pub const SAMPLE: u32 = 2;
    pub const MAPPING: u32 = 3;
    pub const LOCATION: u32 = 4;
    pub const FUNCTION: u32 = 5;
    pub const STRING_TABLE: u32 = 6;
    pub const TIME_NANOS: u32 = 9;
    pub const DURATION_NANOS: u32 = 10;
    pub const PERIOD_TYPE: u32 = 11;
    pub const PERIOD: u32 = 12;
}

/// A message under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(&mut self, field: u32, value: u64) -> &mut Self {
        self.varint(u64::from(field) << 3);
        self.varint(value);
        self
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) -> &mut Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn packed(&mut self, field: u32, values: impl IntoIterator<Item = u64>) -> &mut Self {
        let mut inner = Self::default();
        for value in values {
            inner.varint(value);
        }
        self.bytes(field, &inner.0)
    }
}

/// Strings by their number; the first is empty, as the format wants it.
struct Strings {
    list: Vec<String>,
    known: HashMap<String, u64>,
}

impl Strings {
    fn new() -> Self {
        Self { list: vec![String::new()], known: HashMap::from([(String::new(), 0)]) }
    }

    fn number(&mut self, text: &str) -> u64 {
        if let Some(&known) = self.known.get(text) {
            return known;
        }
        let number = self.list.len() as u64;
        self.list.push(text.to_owned());
        self.known.insert(text.to_owned(), number);
        number
    }

    fn value_type(&mut self, kind: &str, unit: &str) -> Vec<u8> {
        let mut message = Message::default();
        message.number(1, self.number(kind)).number(2, self.number(unit));
        message.0
    }
}

/// The bytes of a `.pb.gz` file. Each sample carries its thread's group and its category as labels.
///
/// # Errors
/// Where the bytes cannot be compressed.
pub fn encode(profile: &Profile, started_unix_s: u64) -> io::Result<Vec<u8>> {
    let mut strings = Strings::new();
    let mut functions: Vec<&str> = Vec::new();
    let mut numbers: HashMap<&str, u64> = HashMap::new();
    let mut samples = Message::default();
    let (thread, kind) = (strings.number("thread"), strings.number("category"));
    for stack in &profile.stacks {
        let mut locations = Vec::new();
        for frame in stack.frames.iter().skip(1) {
            let number = *numbers.entry(frame).or_insert_with(|| {
                functions.push(frame);
                functions.len() as u64
            });
            locations.push(number);
        }
        // The format wants the innermost first.
        locations.reverse();
        let cpu_ns = (stack.count as f64 * profile.sample_ns).round() as u64;
        let mut sample = Message::default();
        sample.packed(1, locations).packed(2, [stack.count, cpu_ns]);
        let group = strings.number(stack.frames.first().map_or("", String::as_str));
        let category = strings.number(category::of_stack(stack).name());
        for (key, value) in [(thread, group), (kind, category)] {
            let mut label = Message::default();
            label.number(1, key).number(2, value);
            sample.bytes(3, &label.0);
        }
        samples.bytes(field::SAMPLE, &sample.0);
    }
    let mut message = Message::default();
    message.bytes(field::SAMPLE_TYPE, &strings.value_type("samples", "count"));
    message.bytes(field::SAMPLE_TYPE, &strings.value_type("cpu", "nanoseconds"));
    message.0.extend_from_slice(&samples.0);
    // Two mappings, so that the kernel can be told from the program.
    for (number, name) in [(1, "program"), (2, "[kernel]")] {
        let mut mapping = Message::default();
        mapping.number(1, number).number(5, strings.number(name)).number(7, 1);
        message.bytes(field::MAPPING, &mapping.0);
    }
    for (index, frame) in functions.iter().enumerate() {
        let number = index as u64 + 1;
        let mut line = Message::default();
        line.number(1, number);
        let mut location = Message::default();
        location.number(1, number).number(2, if is_kernel(frame) { 2 } else { 1 }).bytes(4, &line.0);
        message.bytes(field::LOCATION, &location.0);
        let name = strings.number(function(frame));
        let mut function = Message::default();
        function.number(1, number).number(2, name).number(3, name);
        message.bytes(field::FUNCTION, &function.0);
    }
    let period_type = strings.value_type("cpu", "nanoseconds");
    for text in &strings.list {
        message.bytes(field::STRING_TABLE, text.as_bytes());
    }
    message
        .number(field::TIME_NANOS, started_unix_s.saturating_mul(1_000_000_000))
        .number(field::DURATION_NANOS, profile.duration_ns)
        .bytes(field::PERIOD_TYPE, &period_type)
        .number(field::PERIOD, profile.sample_ns.round() as u64);
    // No time and no name in the header: the same profile gives the same bytes.
    let mut compressed = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    compressed.write_all(&message.0)?;
    compressed.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// Reads a message back: field number → values, each a number or bytes.
    fn fields(mut bytes: &[u8]) -> Vec<(u32, Result<u64, Vec<u8>>)> {
        fn varint(bytes: &mut &[u8]) -> u64 {
            let (mut value, mut shift) = (0, 0);
            loop {
                let (&byte, rest) = bytes.split_first().unwrap();
                *bytes = rest;
                value |= u64::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    return value;
                }
                shift += 7;
            }
        }
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let value = match tag & 7 {
                0 => Ok(varint(&mut bytes)),
                2 => {
                    let length = varint(&mut bytes) as usize;
                    let (value, rest) = bytes.split_at(length);
                    bytes = rest;
                    Err(value.to_vec())
                }
                other => panic!("wire type {other}"),
            };
            found.push(((tag >> 3) as u32, value));
        }
        found
    }

    #[test]
    fn every_stack_comes_back_from_the_bytes() {
        let text = "client;a::b;vfs_write_[k] 300\nclient;a::b 2\n";
        let stacks = uplift_analysis::profile::folded::merge([text]).unwrap();
        let profile = Profile { samples: 302, sample_ns: 2e6, operations: 10, duration_ns: 1_000_000_000, stacks };
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(encode(&profile, 5).unwrap().as_slice()).read_to_end(&mut bytes).unwrap();
        let fields = fields(&bytes);
        let of = |number: u32| -> Vec<Vec<u8>> {
            fields.iter().filter(|(field, _)| *field == number).filter_map(|(_, value)| value.clone().err()).collect()
        };
        let strings: Vec<String> =
            of(field::STRING_TABLE).into_iter().map(|text| String::from_utf8(text).unwrap()).collect();
        assert_eq!(strings[0], "");
        let functions: Vec<String> = of(field::FUNCTION)
            .iter()
            .map(|function| strings[*tests::fields(function)[1].1.as_ref().unwrap() as usize].clone())
            .collect();
        assert_eq!(functions, ["a::b", "vfs_write"]);
        let samples: Vec<(Vec<u8>, Vec<u8>)> = of(field::SAMPLE)
            .iter()
            .map(|sample| {
                let parts = tests::fields(sample);
                (parts[0].1.clone().unwrap_err(), parts[1].1.clone().unwrap_err())
            })
            .collect();
        assert_eq!(samples[0].0, [1], "sorted by text: the shorter stack first");
        assert_eq!(samples[1].0, [2, 1], "innermost first");
        let mut counts = Message::default();
        counts.varint(300);
        counts.varint(600_000_000);
        assert_eq!(samples[1].1, counts.0);
    }
}
