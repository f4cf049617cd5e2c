//! Runs the built binary in a folder of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

/// A folder for one test: its results, and the repository's scenarios.
pub struct Bench {
    pub folder: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        // Inside the build folder and not in /tmp, which may be in memory.
        let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
        fs::create_dir_all(root).unwrap();
        Self { folder: TempDir::new_in(root).unwrap() }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_uplift"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("UPLIFT_SCENARIOS", repository().join("scenarios"))
            .env("NO_COLOR", "1")
            .env_remove("UPLIFT_REQUIRE");
        command
    }

    /// Runs `uplift` and returns what it said.
    pub fn uplift(&self, arguments: &[&str]) -> Said {
        Said(self.command(arguments).output().unwrap())
    }

    /// `uplift report` makes these files of the folder again, byte for byte, when all but the first are gone.
    #[track_caller]
    pub fn rebuilds(&self, folder: &Path, files: &[&str]) {
        let read = |name: &&str| fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let before: Vec<Vec<u8>> = files.iter().map(read).collect();
        for name in &files[1..] {
            fs::remove_file(folder.join(name)).unwrap();
        }
        self.uplift(&["report", folder.to_str().unwrap()]).code(0);
        for (name, before) in files.iter().zip(before) {
            assert!(read(name) == before, "{name} is another one");
        }
    }

    /// The folder of the only run.
    pub fn run_folder(&self) -> PathBuf {
        let mut runs: Vec<PathBuf> =
            fs::read_dir(self.folder.path().join("results/runs")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(runs.len(), 1, "{runs:?}");
        runs.remove(0)
    }

    /// The trials of the only run.
    pub fn trials(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.run_folder().join("trials.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub struct Said(pub Output);

impl Said {
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    pub fn err(&self) -> String {
        // The frame of an error is drawn with lines; a sentence may be broken by them.
        let text = String::from_utf8_lossy(&self.0.stderr).into_owned();
        text.replace(['│', '×', '╰', '╭', '─', '▶', '·'], " ").split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    pub fn code(&self, wanted: i32) -> &Self {
        assert_eq!(self.0.status.code(), Some(wanted), "stdout:\n{}\nstderr:\n{}", self.out(), self.err());
        self
    }

    #[track_caller]
    pub fn says(&self, wanted: &str) -> &Self {
        assert!(self.err().contains(wanted), "`{wanted}` is not in stderr:\n{}", self.err());
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.0.stdout).unwrap()
    }
}
