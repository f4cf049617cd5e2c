//! Instructions of one run, counted by callgrind: the same on any machine, and some fifty times as slow as the run.

use std::{fs, io, path::Path, process::Command};

/// The command that runs the program of `command` under callgrind and leaves its counts in `folder`.
pub fn wrap(command: &Command, folder: &Path) -> Command {
    let mut wrapped = Command::new("valgrind");
    wrapped
        .args(["--tool=callgrind", "--trace-children=yes", "-q"])
        .arg(format!("--callgrind-out-file={}/callgrind.%p", folder.display()))
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(dir) = command.get_current_dir() {
        wrapped.current_dir(dir);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    wrapped
}

/// Whether valgrind can be started, and if not why.
pub fn available() -> Result<(), String> {
    match Command::new("valgrind").arg("--version").output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("valgrind --version ended with {}", output.status)),
        Err(_) => Err("valgrind is not installed; install the package valgrind".to_owned()),
    }
}

/// The instructions of all processes whose counts are in `folder`; the files are removed.
///
/// # Errors
/// What could not be read.
pub fn collect(folder: &Path) -> io::Result<u64> {
    let (mut instructions, mut files) = (0, 0);
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("callgrind.")) {
            continue;
        }
        instructions += total(&fs::read_to_string(&path)?).unwrap_or(0);
        files += 1;
        fs::remove_file(&path)?;
    }
    if files == 0 {
        return Err(io::Error::other("callgrind left no counts"));
    }
    Ok(instructions)
}

/// `summary:` or `totals:` of a file: the events are instructions alone.
fn total(text: &str) -> Option<u64> {
    let of = |name: &str| -> Option<u64> {
        text.lines()
            .filter_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse::<u64>().ok())
            .reduce(|a, b| a + b)
    };
    of("totals:").or_else(|| of("summary:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_read() {
        assert_eq!(total("events: Ir\nsummary: 10\nfn=(1)\ntotals: 1234\n"), Some(1234));
        assert_eq!(total("events: Ir\nsummary: 10\n"), Some(10));
        assert_eq!(total("nothing"), None);
    }
}
