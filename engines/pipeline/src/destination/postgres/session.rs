//! Sessions with a server, used from ordinary threads.

use std::{
    future::Future,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::runtime::{Handle, Runtime};
use tokio_postgres::{Client, Config, NoTls, Row, error::SqlState};
use uplift_postgres_service::{Server, ServiceError};

use super::super::Counter;
use crate::{
    error::{ErrorKind, PipelineError, Result},
    settings::WalLevel,
};

/// What the names of our schemas begin with.
const SCHEMA_PREFIX: &str = "uplift_pipeline_";

/// What a server is asked for: no checkpoint and no vacuum in the middle of some runs and not of others. Everything
/// that concerns durability is as PostgreSQL ships it.
const SETTINGS: [(&str, &str); 3] = [("autovacuum", "off"), ("checkpoint_timeout", "1h"), ("max_wal_size", "8GB")];

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A schema of our own on a server, with a session that administers it.
pub struct Database {
    admin: Session,
    schema: String,
    config: Config,
    /// The connections live in its one thread, so that a server's answers are read while a worker computes.
    runtime: Runtime,
    server: Arc<Server>,
}

/// A session. Its connection is driven by the database's thread.
pub struct Session {
    client: Client,
    handle: Handle,
    process_id: i32,
}

/// The server that the environment names, or a new cluster below `data_dir` with `wal_level`.
///
/// # Errors
/// [`ErrorKind::Unavailable`] where no server is available.
pub fn start_server(data_dir: &Path, wal_level: WalLevel) -> Result<Arc<Server>> {
    let context = "reaching PostgreSQL";
    let mut settings = SETTINGS.to_vec();
    if wal_level == WalLevel::Minimal {
        // Who sends the log to replicas has nothing to send, and PostgreSQL does not start with both.
        settings.extend([("wal_level", wal_level.name()), ("max_wal_senders", "0")]);
    }
    Server::start(data_dir, &settings).map(Arc::new).map_err(|error| match error {
        ServiceError::Unavailable { state, remedy } => {
            PipelineError::new(context, ErrorKind::Unavailable { state, remedy, missing: Some("postgres") })
        }
        ServiceError::Failed { .. } => PipelineError::new(context, ErrorKind::Destination(error.to_string())),
    })
}

/// Makes a schema on `server`.
///
/// # Errors
/// When the server does not take us, or does not let us make one.
pub fn connect(server: Arc<Server>) -> Result<Database> {
    let config: Config = server.connection().parse().map_err(|error| pg_error(&server.connecting(), &error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("postgres-io")
        .enable_all()
        .build()
        .map_err(|error| PipelineError::io("starting the thread of PostgreSQL connections", &error))?;
    let admin = Session::open(&server, &config, runtime.handle())?;
    drop_abandoned(&admin)?;
    let schema = format!("{SCHEMA_PREFIX}{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    // The lock says that the schema has an owner; it ends with this session, whatever ends it.
    admin.batch(
        "making a schema",
        &format!(
            "SELECT pg_advisory_lock(hashtext('{schema}'));
             CREATE SCHEMA {schema}; SET search_path TO {schema};"
        ),
    )?;
    Ok(Database { admin, schema, config, runtime, server })
}

/// Drops the schemas of owners that were killed.
fn drop_abandoned(admin: &Session) -> Result<()> {
    let context = "dropping schemas of runs that were killed";
    let rows = admin.query(
        context,
        &format!("SELECT nspname::text FROM pg_namespace WHERE nspname LIKE '{}%'", SCHEMA_PREFIX.replace('_', "\\_")),
    )?;
    for row in rows {
        let schema: String = row.get(0);
        let ours = admin.query(context, &format!("SELECT pg_try_advisory_lock(hashtext('{schema}'))"))?;
        if ours.first().is_some_and(|row| row.get(0)) {
            admin.batch(context, &format!("DROP SCHEMA IF EXISTS \"{schema}\" CASCADE"))?;
            admin.batch(context, &format!("SELECT pg_advisory_unlock(hashtext('{schema}'))"))?;
        }
    }
    Ok(())
}

impl Database {
    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The schema's name.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The session that administers the schema.
    pub fn admin(&self) -> &Session {
        &self.admin
    }

    /// A new session whose tables are those of the schema.
    ///
    /// # Errors
    /// When the server does not take it.
    pub fn session(&self) -> Result<Session> {
        let session = Session::open(&self.server, &self.config, self.runtime.handle())?;
        session.batch("choosing the schema", &format!("SET search_path TO {}", self.schema))?;
        Ok(session)
    }

    /// The value of a server setting.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn show(&self, name: &str) -> Result<String> {
        let rows = self.admin.query("reading server settings", &format!("SHOW {name}"))?;
        Ok(rows.first().map(|row| row.get(0)).unwrap_or_default())
    }

    /// Writes everything to disk. A server on which we may not do that is left alone.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn checkpoint(&self) -> Result<()> {
        match self.admin.batch("checkpointing", "CHECKPOINT") {
            Err(error) if self.server.is_ours() => Err(error),
            _ => Ok(()),
        }
    }

    /// Waits until no other session of ours is left: what ended sessions did is then in the server's statistics.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn wait_until_alone(&self) -> Result<()> {
        let statement = "SELECT count(*) FROM pg_stat_activity \
             WHERE backend_type = 'client backend' AND application_name = 'uplift' AND pid <> pg_backend_pid() \
             AND usename = current_user";
        for _ in 0..2_000 {
            let rows = self.admin.query("waiting for sessions to end", statement)?;
            if !self.server.is_ours() || rows.first().is_some_and(|row| row.get::<_, i64>(0) == 0) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Ends another session, as an administrator would.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn terminate(&self, process_id: i32) -> Result<()> {
        self.admin.query("ending a session", &format!("SELECT pg_terminate_backend({process_id}, 5000)")).map(drop)
    }

    /// WAL bytes from the position in the log, syncs of the log from the server's own statistics, CPU time from
    /// `/proc`. What is not available is absent, with the reason. Its sync calls are not among them.
    pub fn counters(&self) -> Vec<Counter> {
        let context = "reading the server's statistics";
        let number = |statement: &str| {
            let rows = self.admin.query(context, statement).map_err(|error| error.to_string())?;
            rows.first().and_then(|row| row.get::<_, Option<f64>>(0)).ok_or_else(|| "the server gave no row".to_owned())
        };
        let position = number("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::float8");
        // PostgreSQL 18 moved the column into another view.
        let log = number("SELECT wal_sync::float8 FROM pg_stat_wal")
            .or_else(|_| number("SELECT sum(fsyncs)::float8 FROM pg_stat_io WHERE object = 'wal'"));
        let cpu = self.server.usage().map(|usage| usage.cpu_s);
        let cpu = cpu.ok_or_else(|| "the server's processes cannot be seen from here".to_owned());
        vec![("wal_bytes", position), ("wal_syncs", log), ("server_cpu_s", cpu)]
    }
}

impl Drop for Database {
    /// A cluster of our own goes away as a whole with its last user.
    fn drop(&mut self) {
        if !self.server.is_ours() || Arc::strong_count(&self.server) > 1 {
            let _ = self.admin.batch("dropping the schema", &format!("DROP SCHEMA {} CASCADE", self.schema));
        }
    }
}

impl Session {
    fn open(server: &Server, config: &Config, handle: &Handle) -> Result<Self> {
        let mut config = config.clone();
        config.application_name("uplift");
        let connecting = async {
            let (client, connection) = config.connect(NoTls).await?;
            // An error of the connection is also the error of the call that it interrupts.
            handle.spawn(async move {
                let _ = connection.await;
            });
            let process_id: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
            Ok((client, process_id))
        };
        let (client, process_id) =
            handle.block_on(connecting).map_err(|error| pg_error(&server.connecting(), &error))?;
        Ok(Self { client, handle: handle.clone(), process_id })
    }

    /// Waits for a call of [`Session::client`].
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.handle.block_on(future)
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The server's process for this session.
    pub fn process_id(&self) -> i32 {
        self.process_id
    }

    /// Carries out statements without results.
    ///
    /// # Errors
    /// What the server says.
    pub fn batch(&self, context: &str, statements: &str) -> Result<()> {
        self.block_on(self.client.batch_execute(statements)).map_err(|error| pg_error(context, &error))
    }

    /// Carries out a statement.
    ///
    /// # Errors
    /// What the server says.
    pub fn query(&self, context: &str, statement: &str) -> Result<Vec<Row>> {
        self.block_on(self.client.query(statement, &[])).map_err(|error| pg_error(context, &error))
    }
}

/// An error of the server or of the connection.
pub fn pg_error(context: &str, error: &tokio_postgres::Error) -> PipelineError {
    use std::error::Error as _;
    let message = match (error.as_db_error(), error.source()) {
        (Some(server), _) => match server.column() {
            Some(column) => format!("{} (column `{column}`)", server.message()),
            None => server.message().to_owned(),
        },
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    };
    let lost = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW];
    let kind = match error.code() {
        Some(code) if code.code().starts_with("23") => ErrorKind::Constraint(message),
        Some(code) if *code == SqlState::DISK_FULL => ErrorKind::DiskFull(message),
        Some(code) if lost.contains(code) || code.code().starts_with("08") => ErrorKind::DestinationLost(message),
        Some(_) => ErrorKind::Destination(message),
        None if error.is_closed() => ErrorKind::DestinationLost(message),
        None => match error.source().and_then(|source| source.downcast_ref::<std::io::Error>()) {
            Some(_) => ErrorKind::DestinationLost(message),
            None => ErrorKind::Destination(message),
        },
    };
    PipelineError::new(context, kind)
}
