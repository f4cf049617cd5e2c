//! `--disk`: a disk to model, from the command line or from a file.

use std::{fs, path::Path};

use serde_json::Value;
use uplift_model::{
    Scenario,
    disk::{DiskModel, DiskQueue, Quantile},
    duration::HumanDuration,
};

/// The disk that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum DiskChoice {
    /// The one that is there, whatever a scenario says.
    Real,
    /// For each scenario the one that its published figures come from.
    Source,
    /// A modelled one.
    Modelled(DiskModel),
}

impl DiskChoice {
    /// The model to put into `scenario`.
    ///
    /// # Errors
    /// The scenario does not say on which disk its figures were published.
    pub fn model(&self, scenario: &Scenario) -> Result<Option<DiskModel>, String> {
        match self {
            Self::Real => Ok(None),
            Self::Source => match &scenario.claims_disk {
                Some(disk) => {
                    Ok(Some(DiskModel { name: Some("the disk of the source, estimated".to_owned()), ..disk.clone() }))
                }
                None => Err(format!("`{}` has no `[claims_disk]`: the disk of its source is not known", scenario.name)),
            },
            Self::Modelled(model) => Ok(Some(model.clone())),
        }
    }
}

/// `none`, `source`, a latency, keys and values, a preset, or a file: `.toml` from `uplift doctor --save-disk`, `.json` from fio.
pub fn parse(text: &str) -> Result<DiskChoice, String> {
    if text == "none" {
        return Ok(DiskChoice::Real);
    }
    if text == "source" {
        return Ok(DiskChoice::Source);
    }
    let path = Path::new(text);
    let model = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => from_toml(path)?,
        Some("json") => from_fio(path)?,
        _ => text.parse()?,
    };
    Ok(DiskChoice::Modelled(model))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("could not read `{}`: {error}", path.display()))
}

fn from_toml(path: &Path) -> Result<DiskModel, String> {
    let model: DiskModel = toml::from_str(&read(path)?).map_err(|error| format!("`{}`: {error}", path.display()))?;
    valid(path, model)
}

fn valid(path: &Path, model: DiskModel) -> Result<DiskModel, String> {
    model.validate().map_err(|(key, message, help)| format!("`{}`: {key}: {message}; {help}", path.display()))?;
    Ok(model)
}

/// The percentiles of sync latency that fio prints with `--output-format=json` for a job with `--fdatasync=1` or
/// `--fsync=1`.
fn from_fio(path: &Path) -> Result<DiskModel, String> {
    let file: Value = serde_json::from_str(&read(path)?).map_err(|error| format!("`{}`: {error}", path.display()))?;
    let missing = || {
        format!(
            "`{}` has no sync latencies; run fio with --fdatasync=1 --output-format=json and give its output",
            path.display()
        )
    };
    let percentiles = file.pointer("/jobs/0/sync/lat_ns/percentile").and_then(Value::as_object).ok_or_else(missing)?;
    let mut quantiles: Vec<Quantile> = percentiles
        .iter()
        .filter_map(|(share, ns)| {
            let latency = std::time::Duration::from_nanos(ns.as_u64()?);
            Some(Quantile { share: share.parse::<f64>().ok()? / 100.0, latency: HumanDuration(latency) })
        })
        .collect();
    quantiles.sort_by(|a, b| a.share.total_cmp(&b.share));
    let median = quantiles.iter().find(|one| one.share >= 0.5).ok_or_else(missing)?.latency;
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let source = Some(format!("fio, {}", path.display()));
    let (queue, bandwidth, iops) = (DiskQueue::default(), None, None);
    valid(path, DiskModel { name, sync: median, sync_p99: None, quantiles, queue, bandwidth, iops, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_read_from_fio_and_from_a_saved_file() {
        let folder = tempfile::tempdir().unwrap();
        let fio = folder.path().join("ssd.json");
        fs::write(
            &fio,
            r#"{"jobs":[{"sync":{"lat_ns":{"min":1,"percentile":{"1.000000":90000,"50.000000":400000,"99.000000":2100000}}}}]}"#,
        )
        .unwrap();
        let DiskChoice::Modelled(disk) = parse(fio.to_str().unwrap()).unwrap() else { panic!("a disk was given") };
        assert_eq!((disk.name.as_deref(), disk.sync.as_nanos()), (Some("ssd"), 400_000));
        assert_eq!(disk.latency_ns(0.99, 0.0), 2_100_000);

        let saved = folder.path().join("saved.toml");
        fs::write(&saved, toml::to_string(&disk).unwrap()).unwrap();
        assert_eq!(parse(saved.to_str().unwrap()).unwrap(), DiskChoice::Modelled(disk));
        fs::write(&saved, "sync = \"0s\"").unwrap();
        assert!(parse(saved.to_str().unwrap()).unwrap_err().contains("above 0"));
        fs::write(&fio, r#"{"jobs":[{}]}"#).unwrap();
        assert!(parse(fio.to_str().unwrap()).unwrap_err().contains("--fdatasync=1"));
        assert!(parse("missing.toml").unwrap_err().contains("could not read `missing.toml`"));
        assert_eq!(parse("none"), Ok(DiskChoice::Real));
        assert_eq!(parse("source"), Ok(DiskChoice::Source));
    }
}
