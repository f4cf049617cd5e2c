//! A run on disk: `run.json` and `trials.jsonl`, written so that a crash at any moment leaves a readable run.
//!
//! `run.json` is replaced as a whole (written beside, synced, renamed); `trials.jsonl` grows by one synced line a
//! trial. A last line that was cut off is what a crash leaves: it is reported and left out. Anything else that cannot
//! be read is an error that names the file and the line.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};
use uplift_model::{
    ProfileTrial, Trial,
    crash::{CRASH_SCHEMA, Cut},
    profile::PROFILE_SCHEMA,
    run::{RUN_SCHEMA, Run},
    trial::TRIAL_SCHEMA,
};

use crate::optional_file::read_optional_bytes;

/// The file with the run's record.
pub const RUN_FILE: &str = "run.json";
/// The file with one line for each trial.
pub const TRIALS_FILE: &str = "trials.jsonl";

/// The file with one line for each profile trial.
pub const PROFILES_FILE: &str = "profiles.jsonl";
/// The same, gzipped: read where the plain file is missing, written by nobody but `gzip`.
pub const PACKED_PROFILES_FILE: &str = "profiles.jsonl.gz";

/// The file with one line for each cut.
pub const CRASH_FILE: &str = "crash.jsonl";

/// Bytes that are read at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// Why a run cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("{context}: {kind}")]
pub struct StoreError {
    /// The file or directory.
    pub context: String,
    /// What went wrong.
    pub kind: StoreErrorKind,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum StoreErrorKind {
    /// The system said no.
    #[error("{0}{remedy}", remedy = remedy(.0))]
    Io(#[from] io::Error),
    /// It was written by a later version.
    #[error("schema {found} is newer than the {known} that this uplift reads; use the uplift that wrote it")]
    Newer {
        /// The schema found.
        found: u64,
        /// The schema that is known.
        known: u32,
    },
    /// It is not what it should be.
    #[error("{0}")]
    Corrupt(String),
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; name a folder that can be written with --out"
        }
        io::ErrorKind::StorageFull => "; free some space or name a folder on another disk with --out",
        _ => "",
    }
}

fn at(path: &Path, kind: impl Into<StoreErrorKind>) -> StoreError {
    StoreError { context: format!("`{}`", path.display()), kind: kind.into() }
}

/// A run that is being written.
#[derive(Debug)]
pub struct RunStore {
    directory: PathBuf,
    trials: File,
}

impl RunStore {
    /// Creates `<out>/<id>`; where that exists, a number is appended to the id, which is written back into `run`.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn create(out: &Path, run: &mut Run) -> Result<Self, StoreError> {
        fs::create_dir_all(out).map_err(|error| at(out, error))?;
        let wanted = run.id.clone();
        let directory = (1..)
            .map(|attempt| if attempt == 1 { wanted.clone() } else { format!("{wanted}-{attempt}") })
            .find_map(|id| {
                let directory = out.join(&id);
                match fs::create_dir(&directory) {
                    Ok(()) => {
                        run.id = id;
                        Some(Ok(directory))
                    }
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
                    Err(error) => Some(Err(at(&directory, error))),
                }
            })
            .expect("the attempts do not end")?;
        let path = directory.join(TRIALS_FILE);
        let trials = OpenOptions::new().create_new(true).append(true).open(&path).map_err(|error| at(&path, error))?;
        let store = Self { directory, trials };
        store.write_run(run)?;
        Ok(store)
    }

    /// A run that was written, to add to it.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn reopen(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(TRIALS_FILE);
        let trials = OpenOptions::new().append(true).open(&path).map_err(|error| at(&path, error))?;
        Ok(Self { directory: directory.to_owned(), trials })
    }

    /// The run's folder.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Replaces `run.json`.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write_run(&self, run: &Run) -> Result<(), StoreError> {
        let path = self.directory.join(RUN_FILE);
        let mut text = serde_json::to_string_pretty(&run.masked())
            .map_err(|error| at(&path, StoreErrorKind::Corrupt(error.to_string())))?;
        text.push('\n');
        write_whole(&path, text.as_bytes()).map_err(|error| at(&path, error))
    }

    /// Appends a profile trial and syncs it.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn append_profile(&mut self, profile: &ProfileTrial) -> Result<(), StoreError> {
        append_line(&self.directory.join(PROFILES_FILE), profile)
    }

    /// Appends a cut and syncs it.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn append_cut(&mut self, cut: &Cut) -> Result<(), StoreError> {
        append_line(&self.directory.join(CRASH_FILE), cut)
    }

    /// Appends a trial and syncs it.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn append(&mut self, trial: &Trial) -> Result<(), StoreError> {
        let path = self.directory.join(TRIALS_FILE);
        let mut line =
            serde_json::to_vec(trial).map_err(|error| at(&path, StoreErrorKind::Corrupt(error.to_string())))?;
        line.push(b'\n');
        self.trials.write_all(&line).and_then(|()| self.trials.sync_data()).map_err(|error| at(&path, error))
    }
}

/// Appends a line to a file, which is made where it is missing, and syncs it.
fn append_line(path: &Path, record: &impl Serialize) -> Result<(), StoreError> {
    let mut line = serde_json::to_vec(record).map_err(|error| at(path, StoreErrorKind::Corrupt(error.to_string())))?;
    line.push(b'\n');
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(&line).and_then(|()| file.sync_data()))
        .map_err(|error| at(path, error))
}

/// Replaces a file as a whole: a crash leaves the old content or the new.
///
/// # Errors
/// What the system said.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

/// A run that was read.
#[derive(Debug)]
pub struct StoredRun {
    /// Its folder.
    pub directory: PathBuf,
    /// Its record.
    pub run: Run,
    /// Its trials in the order of the file.
    pub trials: Vec<Trial>,
    /// What the reader must know: a line that was cut off.
    pub warnings: Vec<String>,
}

impl StoredRun {
    /// Reads the run in `directory`.
    ///
    /// # Errors
    /// The file, the line, and what is wrong with it.
    pub fn load(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(RUN_FILE);
        let text = fs::read_to_string(&path).map_err(|error| at(&path, error))?;
        check_schema(&text, RUN_SCHEMA).map_err(|kind| at(&path, kind))?;
        let run = serde_json::from_str(&text)
            .map_err(|error| at(&path, StoreErrorKind::Corrupt(format!("it is not a run record: {error}"))))?;

        let path = directory.join(TRIALS_FILE);
        let file = File::open(&path).map_err(|error| at(&path, error))?;
        let (trials, warnings) =
            read_trials(BufReader::with_capacity(BUFFER_BYTES, file)).map_err(|kind| at(&path, kind))?;
        Ok(Self { directory: directory.to_owned(), run, trials, warnings })
    }
}

/// Reads the profile trials of a run; none where it has no such file.
///
/// # Errors
/// The file, the line, and what is wrong with it.
pub fn load_profiles(directory: &Path) -> Result<Vec<ProfileTrial>, StoreError> {
    let path = directory.join(PROFILES_FILE);
    let bytes = match read_optional_bytes(&path).map_err(|error| at(&path, error))? {
        Some(bytes) => bytes,
        None => match unpacked(directory)? {
            Some(text) => text.into_bytes(),
            None => return Ok(Vec::new()),
        },
    };
    parse_lines(&path, &bytes, PROFILE_SCHEMA, "profile trial")
}

/// The records of a file of lines.
fn parse_lines<T: DeserializeOwned>(path: &Path, bytes: &[u8], schema: u32, what: &str) -> Result<Vec<T>, StoreError> {
    // A last line without its end was cut off, perhaps within a character: the harness ended while writing it.
    let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let whole = std::str::from_utf8(&bytes[..end])
        .map_err(|error| at(path, StoreErrorKind::Corrupt(format!("it is not text: {error}"))))?;
    whole
        .lines()
        .enumerate()
        .map(|(index, line)| {
            check_schema(line, schema).map_err(|kind| at(path, kind))?;
            serde_json::from_str(line).map_err(|error| {
                at(path, StoreErrorKind::Corrupt(format!("line {} is not a {what}: {error}", index + 1)))
            })
        })
        .collect()
}

/// Reads the cuts of a run; none where it has no such file.
///
/// # Errors
/// The file, the line, and what is wrong with it.
pub fn load_cuts(directory: &Path) -> Result<Vec<Cut>, StoreError> {
    let path = directory.join(CRASH_FILE);
    match read_optional_bytes(&path).map_err(|error| at(&path, error))? {
        Some(bytes) => parse_lines(&path, &bytes, CRASH_SCHEMA, "cut"),
        None => Ok(Vec::new()),
    }
}

/// The profile trials of a run that keeps them packed: stacks repeat each other and shrink to a twentieth.
fn unpacked(directory: &Path) -> Result<Option<String>, StoreError> {
    let path = directory.join(PACKED_PROFILES_FILE);
    let Some(packed) = read_optional_bytes(&path).map_err(|error| at(&path, error))? else { return Ok(None) };
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(packed.as_slice())
        .read_to_string(&mut text)
        .map_err(|error| at(&path, StoreErrorKind::Corrupt(format!("it is not a whole gzip file: {error}"))))?;
    Ok(Some(text))
}

/// Reads the content of a `trials.jsonl`: the trials, and warnings about a last line that was cut off.
///
/// # Errors
/// The line that is not a trial, or is one of a newer schema.
pub fn parse_trials(bytes: &[u8]) -> Result<(Vec<Trial>, Vec<String>), StoreErrorKind> {
    read_trials(bytes)
}

/// The same, a line at a time: of a file nothing is kept but its trials.
fn read_trials(mut reader: impl BufRead) -> Result<(Vec<Trial>, Vec<String>), StoreErrorKind> {
    let (mut trials, mut warnings) = (Vec::new(), Vec::new());
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.last() != Some(&b'\n') {
            warnings.push(format!(
                "the last line ({number}) of {TRIALS_FILE} is cut off: the harness ended while writing it; it is left out"
            ));
            break;
        }
        let text = std::str::from_utf8(&line)
            .map_err(|error| StoreErrorKind::Corrupt(format!("line {number} is not text: {error}")))?
            .trim();
        if text.is_empty() {
            continue;
        }
        let broken = |why: String| {
            StoreErrorKind::Corrupt(format!(
                "line {number} is not a trial: {why}; remove the line to use the rest of the run"
            ))
        };
        let trial = match serde_json::from_str::<Trial>(text) {
            Ok(trial) if trial.schema <= TRIAL_SCHEMA => trial,
            Ok(trial) => return Err(StoreErrorKind::Newer { found: trial.schema.into(), known: TRIAL_SCHEMA }),
            // A later version may have fields that are not known here: then it is newer and not broken.
            Err(error) => match check_schema(text, TRIAL_SCHEMA) {
                Ok(()) => return Err(broken(error.to_string())),
                Err(StoreErrorKind::Corrupt(message)) => return Err(broken(message)),
                Err(other) => return Err(other),
            },
        };
        trials.push(trial.checked());
    }
    Ok((trials, warnings))
}

/// Reads nothing but the schema, so that a newer file is called newer and not broken.
fn check_schema(text: &str, known: u32) -> Result<(), StoreErrorKind> {
    #[derive(serde::Deserialize)]
    struct Schema {
        schema: u64,
    }
    let Schema { schema } = serde_json::from_str(text).map_err(|error| StoreErrorKind::Corrupt(error.to_string()))?;
    if schema > u64::from(known) { Err(StoreErrorKind::Newer { found: schema, known }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use uplift_model::trial::{Failure, FailureKind, Sentinels, TrialOutcome};

    use super::*;

    fn trial(block: u32) -> Trial {
        Trial {
            schema: TRIAL_SCHEMA,
            scenario: "reference/steady".to_owned(),
            variant: "baseline".to_owned(),
            block,
            position: 0,
            started_unix_ns: 1,
            place: None,
            seed: 2,
            outcome: TrialOutcome::Failed(Failure {
                kind: FailureKind::Crashed,
                phase: "turn 3".to_owned(),
                message: "the agent was ended by signal 6".to_owned(),
                stderr_tail: String::new(),
                problem: None,
            }),
            sentinels: Sentinels::default(),
            measured: None,
        }
    }

    /// Links to a disk that is not there: stacks that cannot be read are not no stacks.
    #[test]
    fn profiles_that_cannot_be_read_are_not_no_profiles() {
        for name in [PROFILES_FILE, PACKED_PROFILES_FILE] {
            let folder = tempfile::tempdir().unwrap();
            assert!(load_profiles(folder.path()).unwrap().is_empty());
            std::os::unix::fs::symlink(folder.path().join("nowhere"), folder.path().join(name)).unwrap();
            let said = load_profiles(folder.path()).unwrap_err().to_string();
            assert!(said.contains(name) && said.contains("a link to something that is not there"), "{said}");
        }
    }

    /// Cuts that cannot be read would be a run whose durability nothing contradicts.
    #[test]
    fn cuts_that_cannot_be_read_are_not_no_cuts() {
        let folder = tempfile::tempdir().unwrap();
        assert!(load_cuts(folder.path()).unwrap().is_empty());
        std::os::unix::fs::symlink(folder.path().join("nowhere"), folder.path().join(CRASH_FILE)).unwrap();
        let said = load_cuts(folder.path()).unwrap_err().to_string();
        assert!(said.contains(CRASH_FILE) && said.contains("a link to something that is not there"), "{said}");
    }

    #[test]
    fn packed_profiles_are_read_and_a_cut_file_is_an_error() {
        let folder = tempfile::TempDir::new().unwrap();
        assert!(load_profiles(folder.path()).unwrap().is_empty(), "no file is no profile");
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(b"{\"schema\":99}\n").unwrap();
        let packed = packer.finish().unwrap();
        let file = folder.path().join(PACKED_PROFILES_FILE);
        fs::write(&file, &packed).unwrap();
        let error = load_profiles(folder.path()).unwrap_err().to_string();
        assert!(error.contains("99"), "its lines are read as those of the plain file: {error}");
        fs::write(&file, &packed[..packed.len() - 4]).unwrap();
        let error = load_profiles(folder.path()).unwrap_err().to_string();
        assert!(error.contains("not a whole gzip file"), "{error}");
        fs::write(folder.path().join(PROFILES_FILE), "").unwrap();
        assert!(load_profiles(folder.path()).unwrap().is_empty(), "the plain file comes first");
    }

    /// A crash may cut the file at any byte: every whole line before the cut is kept.
    #[test]
    fn a_cut_file_keeps_its_whole_lines() {
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        for block in 0..3 {
            serde_json::to_writer(&mut bytes, &trial(block)).unwrap();
            bytes.push(b'\n');
            ends.push(bytes.len());
        }
        for cut in 0..=bytes.len() {
            let whole = ends.iter().filter(|&&end| end <= cut).count();
            let (trials, warnings) = parse_trials(&bytes[..cut]).unwrap();
            assert_eq!(trials.len(), whole);
            assert_eq!(warnings.is_empty(), cut == 0 || ends.contains(&cut), "cut at {cut}");
        }
    }

    #[test]
    fn a_broken_or_newer_line_is_named() {
        let good = serde_json::to_string(&trial(0)).unwrap();
        let error = parse_trials(format!("{good}\n{{\"schema\":1}}\n").as_bytes()).unwrap_err().to_string();
        assert!(error.contains("line 2 is not a trial") && error.contains("remove the line"), "{error}");
        let newer = good.replacen("\"schema\":1", "\"schema\":99", 1);
        let error = parse_trials(format!("{newer}\n").as_bytes()).unwrap_err().to_string();
        assert!(error.contains("schema 99 is newer"), "{error}");
    }
}
