//! A job in a directory of its own.

use std::{
    collections::BTreeMap,
    env,
    path::Path,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
};

use pipeline_engine::{
    Settings, WalLevel, Workload,
    checksum::Checksum,
    destination::start_server,
    error::{ErrorKind, PipelineError},
    job,
    profile::Profile,
    run::Job,
    source::Shard,
    transform::{Native, TransformKind},
};
use tempfile::TempDir;
use uplift_postgres_service::Server;

/// Seed of all rows of these tests.
const SEED: u64 = 11;

pub struct Bench {
    pub job: Job,
    directory: TempDir,
}

pub fn workload(profile: Profile, rows: u32, transform: TransformKind) -> Workload {
    Workload { profile, rows: Some(rows), transform }
}

/// Opens a job on what `directory` holds.
pub fn open(directory: &Path, workload: &Workload, settings: &Settings) -> Result<Job, PipelineError> {
    settings.check().and_then(|()| settings.suits(workload)).unwrap();
    let server = if settings.needs_postgres() { Some(server(settings.wal_level)?) } else { None };
    let mut job = job(workload.clone(), settings.clone(), directory, SEED, server)?;
    let expected = pipeline_engine::expected(&job.generator, workload)?;
    job.output_row_bytes = expected.output_row_bytes;
    Ok(job)
}

/// One server of each kind for all tests of this process; their end is the process's.
fn server(wal_level: WalLevel) -> Result<Arc<Server>, PipelineError> {
    static SERVERS: Mutex<[Option<Arc<Server>>; 2]> = Mutex::new([None, None]);
    let mut servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
    let server = &mut servers[wal_level as usize];
    if server.is_none() {
        *server = Some(start_server(&env::temp_dir(), wal_level)?);
    }
    Ok(Arc::clone(server.as_ref().unwrap()))
}

impl Bench {
    pub fn new(workload: &Workload, settings: &Settings) -> Self {
        Self::try_new(workload, settings).unwrap()
    }

    pub fn try_new(workload: &Workload, settings: &Settings) -> Result<Self, PipelineError> {
        let directory = tempfile::tempdir().unwrap();
        let job = open(directory.path(), workload, settings)?;
        job.store.reset()?;
        Ok(Self { job, directory })
    }

    /// The same with a server; `None`, with the fix printed, where there is none.
    pub fn with_postgres(workload: &Workload, settings: &Settings) -> Option<Self> {
        match Self::try_new(workload, settings) {
            Ok(bench) => Some(bench),
            Err(PipelineError { kind: ErrorKind::Unavailable { state, remedy, .. }, .. }) => {
                let required = env::var("UPLIFT_REQUIRE").unwrap_or_default();
                assert!(!required.contains("postgres"), "{state}; {remedy}");
                eprintln!("skipped: {state}; {remedy}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What belongs into the destination when everything was copied.
    pub fn whole(&self) -> Checksum {
        pipeline_engine::expected(&self.job.generator, &self.job.workload).unwrap().checksum
    }

    pub fn assert_whole(&self) {
        assert_eq!(self.job.store.read_back().unwrap(), self.whole());
    }

    /// The destination holds exactly the rows that its checkpoints speak of.
    pub fn assert_prefix(&self) -> u64 {
        let positions = self.job.store.positions().unwrap();
        assert_eq!(self.job.store.read_back().unwrap(), prefix(&self.job, &positions), "{positions:?}");
        positions.values().sum()
    }
}

/// The checksum of the first rows of each partition, as `positions` says.
pub fn prefix(job: &Job, positions: &BTreeMap<u32, u64>) -> Checksum {
    let native = Native::new(job.workload.transform, job.generator.schema());
    let mut sum = Checksum::default();
    for (partition, rows) in positions {
        let shard =
            Shard { partition: *partition, partitions: job.settings.partitions, total_rows: job.workload.rows() };
        let batch = job.generator.batch(shard.id(0), u64::from(shard.partitions), *rows, None).unwrap();
        sum += Checksum::of(&native.transform(&batch).unwrap());
    }
    sum
}

/// A small file system in memory, which can be full. Only root may mount one.
pub struct SmallDisk(TempDir);

impl SmallDisk {
    /// One with these options of tmpfs; `None`, with the fix printed, where it cannot be mounted.
    pub fn mount(options: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "uplift-test"]).arg(directory.path());
        if command.status().is_ok_and(|status| status.success()) {
            return Some(Self(directory));
        }
        eprintln!("skipped: a small tmpfs cannot be mounted; run as root with the right to mount");
        None
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        assert!(Command::new("mount").args(["-o", &options]).arg(self.path()).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
