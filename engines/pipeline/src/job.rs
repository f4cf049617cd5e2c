//! What the runs of one job share: source, destination, module, and what must arrive.

use std::{path::Path, sync::Arc};

use uplift_instrument::stage::StageTable;
use uplift_postgres_service::Server;

use crate::{
    checksum::{Checksum, value_bytes},
    destination::{FileStore, PostgresStore, SqliteStore, Store, connect_postgres, start_server},
    error::{ErrorKind, PipelineError, Result},
    generator::Generator,
    run::Job,
    settings::{DestinationKind, Settings, SourceKind, TransformEngine, Workload},
    source::SourceTable,
    stages,
    transform::{Connector, Native, TransformKind},
};

/// Sets up everything that the runs of one job share. What the destination holds already is left alone, so that a run
/// can go on where another process was stopped; a new one wants [`Store::reset`] first. Where `server` is given, tables of
/// PostgreSQL are made there, else on a server that is started.
///
/// # Errors
/// A server that is missing, a module that does not compile, a full disk.
pub fn job(
    workload: Workload,
    settings: Settings,
    data_dir: &Path,
    seed: u64,
    server: Option<Arc<Server>>,
) -> Result<Job> {
    let transforms = workload.transform != TransformKind::None;
    if transforms && settings.transform_engine == TransformEngine::Sql && !cfg!(feature = "sql") {
        let (state, remedy) = (
            "transform_engine = \"sql\": DataFusion is not in this build",
            "build it in with `cargo run --features sql -- …`, which takes minutes the first time",
        );
        let kind = ErrorKind::Unavailable { state: state.to_owned(), remedy: remedy.to_owned(), missing: None };
        return Err(PipelineError::new("preparing the transform", kind));
    }
    let wasm = transforms && settings.transform_engine == TransformEngine::Wasm;
    #[cfg(not(feature = "wasm"))]
    if wasm {
        return Err(crate::transform::missing());
    }
    let generator = Generator::new(workload.profile, seed);
    let output_schema = workload.transform.schema(generator.schema());
    let database = match server {
        Some(server) => Some(Arc::new(connect_postgres(server)?)),
        None if settings.needs_postgres() => {
            Some(Arc::new(connect_postgres(start_server(data_dir, settings.wal_level)?)?))
        }
        None => None,
    };
    let store: Box<dyn Store> = match (settings.destination, &database) {
        (DestinationKind::Postgres, Some(database)) => {
            Box::new(PostgresStore::new(Arc::clone(database), Arc::clone(&output_schema), settings.clone()))
        }
        (DestinationKind::File, _) => {
            let directory = data_dir.join("rows");
            Box::new(FileStore::new(directory, Arc::clone(&output_schema), settings.syncs_per_commit))
        }
        _ => Box::new(SqliteStore::new(data_dir, Arc::clone(&output_schema), settings.clone())),
    };
    let source_table = match (settings.source, &database) {
        (SourceKind::Postgres, Some(database)) => {
            Some(SourceTable::fill(database.admin(), &generator, workload.rows(), settings.batch_rows)?)
        }
        _ => None,
    };
    let module_cache = match wasm && settings.aot {
        true => Some(Connector::precompile(&data_dir.join("connector.cwasm"))?),
        false => None,
    };
    Ok(Job {
        workload,
        settings,
        generator,
        store,
        database,
        source_table,
        module_cache,
        output_schema,
        output_row_bytes: 0.0,
        stages: StageTable::new(&stages::NAMES),
        counts: Default::default(),
        loading: Default::default(),
        traffic: Default::default(),
    })
}

/// What must arrive.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Rows and their checksum.
    pub checksum: Checksum,
    /// Mean bytes of values of a source row.
    pub source_row_bytes: f64,
    /// Mean bytes of values of a row that arrives.
    pub output_row_bytes: f64,
}

/// What must arrive, made by one thread without frames, channels or modules.
///
/// # Errors
/// Never with the profiles there are.
pub fn expected(generator: &Generator, workload: &Workload) -> Result<Expected> {
    const BATCH_ROWS: u64 = 500;
    let native = Native::new(workload.transform, generator.schema());
    let rows = workload.rows();
    let (mut checksum, mut source_bytes, mut output_bytes, mut first) = (Checksum::default(), 0, 0, 0);
    while first < rows {
        let count = BATCH_ROWS.min(rows - first);
        let batch = generator.batch(first, 1, count, None)?;
        source_bytes += value_bytes(&batch);
        let batch = native.transform(&batch).map_err(|error| PipelineError::arrow("transforming a batch", &error))?;
        output_bytes += value_bytes(&batch);
        checksum += Checksum::of(&batch);
        first += count;
    }
    Ok(Expected {
        checksum,
        source_row_bytes: source_bytes as f64 / rows as f64,
        output_row_bytes: output_bytes as f64 / checksum.rows.max(1) as f64,
    })
}
