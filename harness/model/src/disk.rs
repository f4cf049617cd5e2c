//! A modelled disk: how long a sync takes at least, the same for every variant.
//!
//! The sync really happens first; the call then returns no earlier than the model says. A model can make a disk slower
//! than the one that is there, never faster.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Histogram, bandwidth::Bandwidth, duration::HumanDuration};

/// The longest sync that a model may have: no disk that is worth a comparison takes longer.
const SYNC_MAX: HumanDuration = HumanDuration::from_secs(10);

/// The 99th percentile of the standard normal distribution.
const NORMAL_P99: f64 = 2.326_347_874_040_841;

/// The disks that can be named, each with where its figures were published.
const PRESETS: &str = include_str!("disk_presets.toml");

/// A modelled disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskModel {
    /// Its name: a preset, or the file it was read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Median latency of a sync that waits for no other.
    pub sync: HumanDuration,
    /// 99th percentile of that latency, which is then log-normal; absent: every sync takes `sync`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_p99: Option<HumanDuration>,
    /// Quantiles of a measured disk, in ascending order; in place of `sync_p99`. Between two of them latency is
    /// interpolated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantiles: Vec<Quantile>,
    /// What happens to syncs that come while another is under way.
    #[serde(default)]
    pub queue: DiskQueue,
    /// Bytes that the disk takes in a second: a sync waits until what was written before it is transferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
    /// Operations that the disk carries out in a second. A sync is one, and one more for each further 256 KiB that were
    /// written before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops: Option<u32>,
    /// Where the figures were published or measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// One quantile of a measured disk.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quantile {
    /// Share of syncs that take no longer, 0 to 1.
    pub share: f64,
    /// Their latency.
    pub latency: HumanDuration,
}

/// What a disk does with syncs that come while another is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DiskQueue {
    /// Syncs that wait share the next flush, as on most devices.
    #[default]
    Merging,
    /// One flush after the other.
    Serial,
}

/// What the model did to one trial, warm-up included. Described, never judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskInForce {
    /// Syncs that were held back.
    pub calls: u64,
    /// Syncs whose real latency was longer than the model's, which could therefore not be held to it.
    pub slower_than_model: u64,
    /// Syncs that waited for bandwidth or for their turn among the operations a second.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub limited: u64,
    /// Syncs of other processes that could only be held before they were carried out: their own time comes on top.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub held_before: u64,
    /// Latency by the model, waiting for earlier syncs included.
    pub modelled: Histogram,
    /// Latency that the caller saw.
    pub observed: Histogram,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it in so")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Bytes of one operation at most.
const OPERATION_BYTES: u64 = 256 << 10;

impl DiskModel {
    /// Checks the rules that the types do not hold.
    ///
    /// # Errors
    /// The key, what is wrong with it, and the fix.
    pub fn validate(&self) -> Result<(), (&'static str, String, &'static str)> {
        let too_long = |latency: HumanDuration| latency > SYNC_MAX;
        if self.sync.0.is_zero() || too_long(self.sync) {
            return Err((
                "sync",
                format!("sync must be above 0 and at most {SYNC_MAX}, got {}", self.sync),
                "write a duration such as \"4ms\"",
            ));
        }
        if let Some(p99) = self.sync_p99 {
            if p99 < self.sync || too_long(p99) {
                return Err((
                    "sync_p99",
                    format!("sync_p99 must be at least sync ({}) and at most {SYNC_MAX}, got {p99}", self.sync),
                    "write the latency that 1 of 100 syncs exceeds",
                ));
            }
            if !self.quantiles.is_empty() {
                return Err((
                    "quantiles",
                    "a disk has either sync_p99 or quantiles".to_owned(),
                    "leave one of them out",
                ));
            }
        }
        if self.iops == Some(0) {
            return Err((
                "iops",
                "iops must be at least 1, got 0".to_owned(),
                "write operations a second, such as 3000",
            ));
        }
        let ascending =
            self.quantiles.windows(2).all(|pair| pair[0].share < pair[1].share && pair[0].latency <= pair[1].latency);
        let within = self.quantiles.iter().all(|one| (0.0..=1.0).contains(&one.share) && !too_long(one.latency));
        if self.quantiles.len() == 1 || !ascending || !within {
            return Err((
                "quantiles",
                format!(
                    "quantiles must be two or more in ascending order, shares 0 to 1, latencies at most {SYNC_MAX}"
                ),
                "write { share = 0.5, latency = \"4ms\" }, then larger ones",
            ));
        }
        Ok(())
    }

    /// The latency in nanoseconds of a sync that waits for no other, from `uniform` in [0, 1) and `normal`, a draw of the
    /// standard normal distribution. Each model uses the one that it needs.
    pub fn latency_ns(&self, uniform: f64, normal: f64) -> u64 {
        let median = self.sync.as_nanos() as f64;
        if let Some(p99) = self.sync_p99 {
            // Log-normal: ln of the latency is normal with the median's ln for its mean.
            let sigma = (p99.as_nanos() as f64 / median).ln() / NORMAL_P99;
            return (median * (sigma * normal).exp()).min(SYNC_MAX.as_nanos() as f64) as u64;
        }
        let (Some(first), Some(last)) = (self.quantiles.first(), self.quantiles.last()) else {
            return self.sync.as_nanos();
        };
        if uniform <= first.share {
            return first.latency.as_nanos();
        }
        for pair in self.quantiles.windows(2) {
            if uniform <= pair[1].share {
                let within = (uniform - pair[0].share) / (pair[1].share - pair[0].share);
                let (low, high) = (pair[0].latency.as_nanos() as f64, pair[1].latency.as_nanos() as f64);
                return (low + within * (high - low)) as u64;
            }
        }
        last.latency.as_nanos()
    }

    /// How long the disk is busy with a sync before which `bytes` bytes were written, in nanoseconds: with their transfer,
    /// and until it can begin the next operation. `None` where neither bandwidth nor operations a second are limited.
    pub fn busy_ns(&self, bytes: u64) -> Option<(u64, u64)> {
        if self.bandwidth.is_none() && self.iops.is_none() {
            return None;
        }
        let ns = |seconds: f64| (seconds * 1e9) as u64;
        let transfer_ns = self.bandwidth.map_or(0, |limit| ns(bytes as f64 / limit.bytes_per_second() as f64));
        let operations = bytes.div_ceil(OPERATION_BYTES).max(1);
        let operations_ns = self.iops.map_or(0, |limit| ns(operations as f64 / f64::from(limit)));
        Some((transfer_ns, transfer_ns.max(operations_ns)))
    }

    /// The disk in a few words: "sync 4ms, flushes merge".
    pub fn words(&self) -> String {
        let mut words = match &self.name {
            Some(name) => format!("{name}: sync {}", milliseconds(self.sync)),
            None => format!("sync {}", milliseconds(self.sync)),
        };
        if let Some(p99) = self.sync_p99 {
            words.push_str(&format!(" (p99 {})", milliseconds(p99)));
        } else if let Some(last) = self.quantiles.last() {
            words.push_str(&format!(" (measured quantiles up to {})", milliseconds(last.latency)));
        }
        words.push_str(match self.queue {
            DiskQueue::Merging => ", waiting flushes merge",
            DiskQueue::Serial => ", one flush at a time",
        });
        if let Some(bandwidth) = self.bandwidth {
            words.push_str(&format!(", {bandwidth}"));
        }
        if let Some(iops) = self.iops {
            words.push_str(&format!(", {iops} operations/s"));
        }
        words
    }

    /// Whether it holds syncs as `other` does, whatever the two are called.
    pub fn holds_as(&self, other: &Self) -> bool {
        let nameless = |disk: &Self| Self { name: None, source: None, ..disk.clone() };
        nameless(self) == nameless(other)
    }

    /// The disk of that name among the presets.
    ///
    /// # Errors
    /// A sentence with the names that there are.
    pub fn preset(name: &str) -> Result<Self, String> {
        let mut presets = presets();
        presets
            .iter()
            .position(|preset| preset.name.as_deref() == Some(name))
            .map(|at| presets.swap_remove(at))
            .ok_or_else(|| {
                let known: Vec<_> = presets.iter().filter_map(|preset| preset.name.as_deref()).collect();
                format!("there is no disk `{name}`; known disks: {}", known.join(", "))
            })
    }
}

/// A `[disk]` table as it is written: a preset, or a disk of one's own.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskFile {
    /// Name of a preset; no other key beside it but `queue`, `bandwidth` and `iops`.
    preset: Option<String>,
    /// Median latency of a sync that waits for no other.
    sync: Option<HumanDuration>,
    /// 99th percentile of that latency, which is then log-normal; absent: every sync takes `sync`.
    sync_p99: Option<HumanDuration>,
    /// Quantiles of a measured disk, in place of `sync_p99`.
    #[serde(default)]
    quantiles: Vec<Quantile>,
    /// What happens to syncs that come while another is under way.
    queue: Option<DiskQueue>,
    /// Bytes that the disk takes in a second.
    bandwidth: Option<Bandwidth>,
    /// Operations that the disk carries out in a second.
    iops: Option<u32>,
    /// Where the figures come from.
    source: Option<String>,
}

impl DiskFile {
    /// The disk that is meant.
    ///
    /// # Errors
    /// The key, what is wrong with it, and the fix.
    pub fn model(self) -> Result<DiskModel, (&'static str, String, &'static str)> {
        const ONE_OF: &str = "write `sync = \"4ms\"`, or `preset = \"nvme-consumer\"`";
        let mut model = match (self.preset, self.sync) {
            (Some(preset), None) if self.sync_p99.is_none() && self.quantiles.is_empty() => {
                DiskModel::preset(&preset).map_err(|message| ("preset", message, ONE_OF))?
            }
            (Some(_), _) => return Err(("preset", "a preset has latencies of its own".to_owned(), ONE_OF)),
            (None, None) => return Err(("sync", "the disk has no latency".to_owned(), ONE_OF)),
            (None, Some(sync)) => DiskModel {
                name: None,
                sync,
                sync_p99: self.sync_p99,
                quantiles: self.quantiles,
                queue: DiskQueue::default(),
                bandwidth: None,
                iops: None,
                source: self.source,
            },
        };
        model.bandwidth = self.bandwidth.or(model.bandwidth);
        model.iops = self.iops.or(model.iops);
        model.queue = self.queue.unwrap_or(model.queue);
        model.validate()?;
        Ok(model)
    }
}

/// With three decimals at most: "4 ms", "1.643 ms".
fn milliseconds(latency: HumanDuration) -> String {
    format!("{} ms", (latency.as_nanos() as f64 / 1e3).round() / 1e3)
}

/// All presets, in the order of their file.
pub fn presets() -> Vec<DiskModel> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        disk: Vec<DiskModel>,
    }
    // A test reads the same text, so a build whose presets cannot be read does not get out.
    toml::from_str::<File>(PRESETS).map(|file| file.disk).unwrap_or_default()
}

/// `4ms`, `sync=4ms,sync_p99=20ms,queue=serial`, or the name of a preset.
impl FromStr for DiskModel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(sync) = text.parse::<HumanDuration>() {
            return Self::from_str(&format!("sync={sync}").replace(' ', ""));
        }
        if !text.contains('=') {
            return Self::preset(text);
        }
        let mut table = toml::Table::new();
        for pair in text.split(',') {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(format!("`{pair}` has no `=`; write sync=4ms,sync_p99=20ms,queue=serial"));
            };
            let (key, value) = (key.trim(), value.trim());
            let value = match value.parse() {
                Ok(number) if key == "iops" => toml::Value::Integer(number),
                _ => toml::Value::String(value.to_owned()),
            };
            table.insert(key.to_owned(), value);
        }
        let model: Self = table.try_into().map_err(|error: toml::de::Error| error.message().to_owned())?;
        model.validate().map_err(|(_, message, help)| format!("{message}; {help}"))?;
        Ok(model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_valid_and_has_a_source() {
        #[derive(Deserialize)]
        struct File {
            disk: Vec<DiskModel>,
        }
        let file: File = toml::from_str(PRESETS).unwrap();
        assert_eq!(file.disk.len(), presets().len());
        for preset in file.disk {
            preset.validate().unwrap();
            let name = preset.name.clone().unwrap();
            assert_eq!(DiskModel::preset(&name).unwrap(), preset);
            let source = preset.source.unwrap_or_default();
            assert!(
                source.len() > 20 && source.contains("20"),
                "`{name}` says where and when it was published: {source}"
            );
        }
    }

    #[test]
    fn text_becomes_a_disk() {
        let constant: DiskModel = "4ms".parse().unwrap();
        assert_eq!(constant.sync, HumanDuration::from_millis(4));
        let drawn: DiskModel = "sync=4ms,sync_p99=20ms,queue=serial".parse().unwrap();
        assert_eq!((drawn.sync_p99, drawn.queue), (Some(HumanDuration::from_millis(20)), DiskQueue::Serial));
        for (wrong, said) in [
            ("fast", "known disks"),
            ("sync=0s", "above 0"),
            ("sync=1h", "at most"),
            ("sync=4ms,sync_p99=1ms", "at least sync"),
            ("sync=4ms,speed=3", "unknown field"),
            ("queue=serial", "missing field"),
            ("sync=4ms,iops=0", "at least 1"),
            ("sync=4ms,bandwidth=100", "100MB/s"),
        ] {
            let error = wrong.parse::<DiskModel>().unwrap_err();
            assert!(error.contains(said), "{wrong}: {error}");
        }
    }

    #[test]
    fn limits_are_read_and_said() {
        let limited: DiskModel = "sync=4ms,bandwidth=100MB/s,iops=3000".parse().unwrap();
        assert_eq!(limited.words(), "sync 4 ms, waiting flushes merge, 100 MB/s, 3000 operations/s");
        assert_eq!(limited.busy_ns(0), Some((0, 333_333)), "a sync is an operation");
        assert_eq!(
            limited.busy_ns(1_000_000),
            Some((10_000_000, 10_000_000)),
            "transfer is longer than four operations"
        );
        assert_eq!("4ms".parse::<DiskModel>().unwrap().busy_ns(1), None);
        let back: DiskModel = toml::from_str(&toml::to_string(&limited).unwrap()).unwrap();
        assert_eq!(back, limited);
        let file: DiskFile = toml::from_str("preset = \"aws-gp3\"\nbandwidth = \"125MiB/s\"\niops = 3000").unwrap();
        let model = file.model().unwrap();
        assert_eq!((model.bandwidth.map(Bandwidth::bytes_per_second), model.iops), (Some(125 << 20), Some(3000)));
    }

    #[test]
    fn draws_have_the_distribution_that_was_asked_for() {
        let drawn: DiskModel = "sync=4ms,sync_p99=20ms".parse().unwrap();
        assert_eq!(drawn.latency_ns(0.0, 0.0), 4_000_000);
        let p99 = drawn.latency_ns(0.0, NORMAL_P99);
        assert!(p99.abs_diff(20_000_000) < 10, "{p99}");
        let measured = DiskModel {
            quantiles: [(0.0, 1), (0.5, 3), (1.0, 9)]
                .map(|(share, ms)| Quantile { share, latency: HumanDuration::from_millis(ms) })
                .to_vec(),
            sync_p99: None,
            ..drawn
        };
        measured.validate().unwrap();
        for (uniform, ms) in [(0.0, 1), (0.25, 2), (0.5, 3), (0.75, 6), (1.0, 9)] {
            assert_eq!(measured.latency_ns(uniform, 0.0), ms * 1_000_000);
        }
    }
}
