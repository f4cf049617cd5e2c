//! Plain files: what the disk takes for the same bytes and the same syncs, with nothing around them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read as _, Write as _},
    path::PathBuf,
};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use bytes::BytesMut;
use uplift_instrument::stage::StageClock;
use uplift_model::Durability;

use super::{Store, Writer, WriterFault};
use crate::{
    checksum::Checksum,
    copy_binary,
    error::{PipelineError, Result},
    stages,
};

/// How much of a file is read at once.
const READ_BYTES: usize = 1 << 20;
/// Rows of a batch that is read back.
const READ_ROWS: usize = 1_000;

/// What the names of files with rows begin with; the writer's number follows.
const ROWS: &str = "rows-";

/// A directory of files, one for each writer, in COPY's binary format without header and trailer.
#[derive(Debug)]
pub struct FileStore {
    directory: PathBuf,
    schema: SchemaRef,
    syncs_per_commit: u32,
}

impl FileStore {
    /// Files in `directory`, which is made by [`Store::reset`]. A commit syncs `syncs_per_commit` times, of which the first
    /// is of the rows.
    pub fn new(directory: PathBuf, schema: SchemaRef, syncs_per_commit: u32) -> Self {
        Self { directory, schema, syncs_per_commit }
    }
}

fn failed(context: &'static str) -> impl Fn(std::io::Error) -> PipelineError {
    move |error| PipelineError::io(context, &error)
}

impl Store for FileStore {
    fn reset(&self) -> Result<()> {
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed("removing files")(error)),
            _ => {}
        }
        fs::create_dir_all(&self.directory).map_err(failed("making the directory of files"))
    }

    /// Plain files have no transactions: a run always starts from the beginning.
    fn positions(&self) -> Result<BTreeMap<u32, u64>> {
        Ok(BTreeMap::new())
    }

    fn goes_on(&self) -> bool {
        false
    }

    fn writer(&self, index: u32, _: WriterFault, clock: &mut StageClock) -> Result<Box<dyn Writer>> {
        clock.process(stages::CONNECT);
        let open = |name: String| {
            let path = self.directory.join(name);
            File::options().create(true).append(true).open(path).map_err(failed("opening a file"))
        };
        let record = match self.syncs_per_commit {
            1 => None,
            _ => Some(open(format!("commits-{index}"))?),
        };
        let file = open(format!("{ROWS}{index}"))?;
        // A file whose name is not durable is not there after a loss of power, whatever of it was synced.
        let synced = File::open(&self.directory).and_then(|directory| directory.sync_all());
        synced.map_err(failed("syncing the directory of files"))?;
        Ok(Box::new(FileWriter { file, record, syncs_per_commit: self.syncs_per_commit, bytes: BytesMut::new() }))
    }

    fn read_back(&self) -> Result<Checksum> {
        let mut sum = Checksum::default();
        let context = failed("reading files back");
        let entries = fs::read_dir(&self.directory).map_err(&context)?.flatten();
        for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(ROWS)) {
            let mut file = File::open(entry.path()).map_err(&context)?;
            let mut decoder = copy_binary::Decoder::new(SchemaRef::clone(&self.schema));
            decoder.push(&copy_binary::HEADER);
            let mut chunk = vec![0; READ_BYTES];
            loop {
                let read = file.read(&mut chunk).map_err(&context)?;
                if read == 0 {
                    break;
                }
                decoder.push(&chunk[..read]);
                loop {
                    decoder.read(READ_ROWS)?;
                    if decoder.rows() == 0 {
                        break;
                    }
                    sum += Checksum::of(&decoder.finish_batch()?);
                }
            }
        }
        Ok(sum)
    }

    fn effective(&self) -> Result<BTreeMap<String, String>> {
        Ok(BTreeMap::from([("syncs_per_commit".to_owned(), self.syncs_per_commit.to_string())]))
    }

    fn durability(&self) -> Durability {
        Durability::PowerLoss
    }
}

struct FileWriter {
    file: File,
    /// Where a commit is recorded, if it is.
    record: Option<File>,
    syncs_per_commit: u32,
    bytes: BytesMut,
}

impl Writer for FileWriter {
    fn flush(&mut self, batches: &[RecordBatch], clock: &mut StageClock) -> Result<()> {
        clock.process(stages::ENCODE_ROWS);
        self.bytes.clear();
        for batch in batches {
            copy_binary::encode(batch, &mut self.bytes);
        }
        clock.process(stages::FLUSH);
        self.file.write_all(&self.bytes).map_err(failed("writing a file"))
    }

    fn commit(&mut self, positions: &BTreeMap<u32, u64>, clock: &mut StageClock) -> Result<()> {
        clock.process(stages::COMMIT);
        self.file.sync_data().map_err(failed("syncing a file"))?;
        let Some(record) = &mut self.record else { return Ok(()) };
        for _ in 1..self.syncs_per_commit {
            // A sync of a file that has not changed since the last one would be none.
            let line = format!("{positions:?}\n");
            record
                .write_all(line.as_bytes())
                .and_then(|()| record.sync_data())
                .map_err(failed("recording a commit"))?;
        }
        Ok(())
    }

    fn close(self: Box<Self>, clock: &mut StageClock) -> Result<()> {
        clock.process(stages::CLOSE);
        drop(self);
        Ok(())
    }
}
