//! The yardstick: `psql \copy` of the same rows from a file, with no pipeline at all.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use bytes::BytesMut;
use uplift_instrument::stage::StageTable;
use uplift_postgres_service::Server;

use crate::{
    copy_binary,
    destination::{PostgresDatabase, postgres_table},
    error::{ErrorKind, PipelineError, Result},
    generator::Generator,
    settings::{LoadMethod, Settings, WalLevel},
    stages,
};

/// Rows that are written into the file at once.
const BATCH_ROWS: u64 = 1_000;

/// A file of rows, and the program that loads it.
#[derive(Debug)]
pub struct Psql {
    program: PathBuf,
    commands: Vec<String>,
    connection: String,
}

impl Psql {
    /// Writes the file. Not timed.
    ///
    /// # Errors
    /// A machine without `psql`, or a full disk.
    pub fn prepare(
        directory: &Path,
        settings: &Settings,
        generator: &Generator,
        rows: u64,
        database: &PostgresDatabase,
    ) -> Result<Self> {
        let context = "finding `psql`";
        let program = Server::psql().map_err(|error| match error {
            uplift_postgres_service::ServiceError::Unavailable { state, remedy } => {
                PipelineError::new(context, ErrorKind::Unavailable { state, remedy, missing: Some("postgres") })
            }
            error => PipelineError::new(context, ErrorKind::Destination(error.to_string())),
        })?;
        let path = directory.join("rows.copy");
        write(&path, settings.load, generator, rows)
            .map_err(|error| PipelineError::io("writing the file for psql", &error))?;
        let format = if settings.load == LoadMethod::PsqlBinary { "binary" } else { "text" };
        let table = format!("{}.{}", database.schema(), postgres_table::TABLE);
        let mut commands = vec![format!(
            "\\copy {table} ({}) from '{}' with (format {format})",
            postgres_table::names(generator.schema()),
            path.display()
        )];
        if settings.wal_level == WalLevel::Minimal {
            // As the pipeline's writers do.
            commands.insert(0, format!("TRUNCATE {table}"));
        }
        Ok(Self { program, commands, connection: database.server().connection().to_owned() })
    }

    /// Loads the file.
    ///
    /// # Errors
    /// What psql says.
    pub fn run(&self, stages: &StageTable) -> Result<()> {
        let mut clock = stages.clock("run");
        clock.wait(stages::OTHERS);
        let output = Command::new(&self.program)
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "--single-transaction"])
            .args(self.commands.iter().flat_map(|command| ["-c", command]))
            .arg(&self.connection)
            .stdin(Stdio::null())
            .output();
        clock.leave();
        let output = output.map_err(|error| PipelineError::io("starting psql", &error))?;
        if output.status.success() {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(PipelineError::new("loading with psql", ErrorKind::Destination(message)))
    }
}

fn write(path: &Path, method: LoadMethod, generator: &Generator, rows: u64) -> std::io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let (mut bytes, mut text) = (BytesMut::new(), String::new());
    let binary = method == LoadMethod::PsqlBinary;
    if binary {
        file.write_all(&copy_binary::HEADER)?;
    }
    let mut first = 0;
    while first < rows {
        let count = BATCH_ROWS.min(rows - first);
        let batch = generator.batch(first, 1, count, None).map_err(std::io::Error::other)?;
        first += count;
        if binary {
            bytes.clear();
            copy_binary::encode(&batch, &mut bytes);
            file.write_all(&bytes)?;
        } else {
            text.clear();
            copy_binary::encode_text(&batch, &mut text);
            file.write_all(text.as_bytes())?;
        }
    }
    if binary {
        file.write_all(&copy_binary::TRAILER)?;
    }
    file.into_inner()?.sync_all()
}
