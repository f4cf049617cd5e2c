//! Files of a service: configuration from templates, logs, and words with placeholders.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use uplift_command::capture::Captured;
use uplift_sdk::TargetError;

use super::{Home, Placeholders, Plan};
use crate::known::Known;

/// How much of a log is looked at for its end.
const LOG_END_BYTES: u64 = 8 << 10;

/// A folder whose path fits an address of a Unix socket.
pub fn short_folder() -> io::Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("uplift-svc-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let folder = std::env::temp_dir().join(name);
    fs::create_dir(&folder)?;
    Ok(folder)
}

/// `text` with its placeholders filled; other braces stay.
pub fn fill(text: &str, filled: &Placeholders) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        let value = rest.find('}').and_then(|end| Some((end, filled.get(&rest[1..end])?)));
        match value {
            Some((end, value)) => {
                out.push_str(value);
                rest = &rest[end + 1..];
            }
            None => {
                out.push('{');
                rest = &rest[1..];
            }
        }
    }
    out + rest
}

/// The words of a line: `{settings}` as a word of its own stands for all settings of the service, each as its program takes
/// options.
pub fn words(line: &str, plan: &Plan, filled: &Placeholders) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    for word in uplift_command::words::split(line)? {
        if word != "{settings}" {
            words.push(fill(&word, filled));
            continue;
        }
        for (name, value) in &plan.variant.own {
            match plan.workload.service {
                Some(Known::Postgres) => words.extend(["-c".to_owned(), format!("{name}={value}")]),
                Some(Known::Redis) => words.extend([format!("--{name}"), value.clone()]),
                None => words.push(format!("--{name}={value}")),
            }
        }
    }
    Ok(words)
}

/// Writes the files of a variant; in their texts `{settings}` stands for lines of a name and a value.
pub fn write(plan: &Plan, home: &Home, filled: &Placeholders) -> Result<(), TargetError> {
    let lines: Vec<String> = plan.variant.own.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let mut filled = filled.clone();
    filled.insert("settings".to_owned(), lines.join("\n"));
    let settings = &plan.variant.settings;
    let put = |name: &str, text: &str| {
        let path = home.data.join(name);
        let written =
            path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, fill(text, &filled)));
        written.map_err(|error| TargetError::new(format!("writing `{}`", path.display()), error))
    };
    for (name, text) in &settings.files {
        put(name, text)?;
    }
    for (name, file) in &settings.templates {
        let text = fs::read_to_string(file)
            .map_err(|error| TargetError::new(format!("reading the template `{file}`"), error))?;
        put(name, &text)?;
    }
    Ok(())
}

/// The last lines of a log, as one.
pub fn log_end(log: &Path) -> String {
    let mut captured = Captured::new(false);
    let mut bytes = Vec::new();
    let read = File::open(log).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_END_BYTES)))?;
        file.read_to_end(&mut bytes)
    });
    if read.is_err() {
        return String::new();
    }
    captured.take(&bytes);
    captured.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_other_braces_stay() {
        let filled =
            Placeholders::from([("port".to_owned(), "7".to_owned()), ("max-memory".to_owned(), "{port}".to_owned())]);
        let text = "listen {port}; { \"a\": {x} } {max-memory} {";
        assert_eq!(
            fill(text, &filled),
            "listen 7; { \"a\": {x} } {port} {",
            "what is filled in is not looked at again"
        );
    }
}
