//! The provider of the crate `duroxide-pg`, on a PostgreSQL server.
//!
//! The provider is as published: it keeps a pool of its own, asks stored procedures, and answers a fetch that finds
//! nothing at once. Each trial has a schema of its own. What the server does is read from the server: its sync calls are
//! not the agent's.

use std::{
    collections::BTreeMap,
    path::Path,
    str::FromStr as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use duroxide::providers::Provider as DuroxideProvider;
use duroxide_pg::PostgresProvider;
use sqlx::{
    Connection as _, PgConnection,
    postgres::{PgConnectOptions, PgPool},
};
use uplift_postgres_service::{Server, ServiceError, URL_VARIABLE};
use uplift_sdk::{Durability, Samples, TargetError, TargetErrorKind};

use crate::{
    engine::{self, Engine, Stored},
    settings::Settings,
};

/// What the names of our schemas begin with.
const SCHEMA_PREFIX: &str = "uplift_orchestration_";

static NUMBER: AtomicU32 = AtomicU32::new(0);

pub struct Postgres {
    provider: Arc<PostgresProvider>,
    effective: BTreeMap<String, String>,
    durability: Durability,
    /// Holds the lock that says that the schema has an owner.
    _owner: Mutex<PgConnection>,
    /// Dropped last: a cluster of our own goes away with it.
    server: Server,
}

impl Postgres {
    pub async fn open(settings: &Settings, data_dir: &Path) -> Result<Self, TargetError> {
        let server = Server::start(data_dir, &[]).map_err(|error| match error {
            ServiceError::Unavailable { state, remedy } => unavailable(state, remedy),
            ServiceError::Failed { .. } => TargetError::engine("starting PostgreSQL", error),
        })?;
        let Some(mut url) = server.url() else {
            let state =
                format!("the value of {URL_VARIABLE} is no URL, and the provider on postgres reads nothing else");
            return Err(unavailable(state, "write it as postgres://user@host:port/database".to_owned()));
        };
        let commit = if settings.synchronous == "OFF" { "off" } else { "on" };
        url.push_str(if url.contains('?') { "&" } else { "?" });
        url.push_str(&format!("options=-c%20synchronous_commit%3D{commit}"));

        let mut owner = connect(&url).await.map_err(|error| failed(&server.connecting(), &error))?;
        drop_abandoned(&mut owner).await.map_err(|error| failed("dropping schemas of killed runs", &error))?;
        let schema = format!("{SCHEMA_PREFIX}{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        sqlx::query("SELECT pg_advisory_lock(hashtext($1))")
            .bind(&schema)
            .execute(&mut owner)
            .await
            .map_err(|error| failed("locking the schema's name", &error))?;
        let provider = PostgresProvider::new_with_schema(&url, Some(&schema))
            .await
            .map_err(|error| TargetError::engine("opening the provider on PostgreSQL", format!("{error:#}")))?;
        let shown =
            read_back(provider.pool()).await.map_err(|error| failed("reading the server's settings back", &error))?;
        let durability = durability(&shown);
        Ok(Self {
            effective: effective(shown, provider.pool(), &server),
            provider: Arc::new(provider),
            durability,
            _owner: Mutex::new(owner),
            server,
        })
    }

    /// Syncs of the write-ahead log, and transactions that wrote: the first id that no transaction has had yet. A
    /// subtransaction that writes has an id too.
    async fn count(&self) -> Result<(f64, f64), sqlx::Error> {
        let pool = self.provider.pool();
        // Sessions report what they did once a second: each is told to do it now.
        let mut all = Vec::new();
        for _ in 0..pool.options().get_max_connections() {
            let mut session = pool.acquire().await?;
            sqlx::query("SELECT pg_stat_force_next_flush()").execute(&mut *session).await?;
            all.push(session);
        }
        let Some(session) = all.first_mut() else { return Err(sqlx::Error::PoolTimedOut) };
        let statement =
            "SELECT wal_sync::float8, pg_snapshot_xmax(pg_current_snapshot())::text::float8 FROM pg_stat_wal";
        sqlx::query_as(statement).fetch_one(&mut **session).await
    }
}

async fn connect(url: &str) -> Result<PgConnection, sqlx::Error> {
    PgConnection::connect_with(&PgConnectOptions::from_str(url)?).await
}

/// Drops the schemas of owners that were killed: nobody holds the lock of their names.
async fn drop_abandoned(session: &mut PgConnection) -> Result<(), sqlx::Error> {
    let pattern = format!("{}%", SCHEMA_PREFIX.replace('_', "\\_"));
    let schemas: Vec<String> = sqlx::query_scalar("SELECT nspname::text FROM pg_namespace WHERE nspname LIKE $1")
        .bind(pattern)
        .fetch_all(&mut *session)
        .await?;
    for schema in schemas {
        let ours: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtext($1))")
            .bind(&schema)
            .fetch_one(&mut *session)
            .await?;
        if ours {
            sqlx::query(&format!("DROP SCHEMA IF EXISTS \"{schema}\" CASCADE")).execute(&mut *session).await?;
            sqlx::query("SELECT pg_advisory_unlock(hashtext($1))").bind(&schema).execute(&mut *session).await?;
        }
    }
    Ok(())
}

/// Settings of the server as a session of the provider's pool sees them.
async fn read_back(pool: &PgPool) -> Result<BTreeMap<String, String>, sqlx::Error> {
    let mut shown = BTreeMap::new();
    for name in ["server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "autovacuum"] {
        let value: String = sqlx::query_scalar(&format!("SHOW {name}")).fetch_one(pool).await?;
        shown.insert(name.to_owned(), value);
    }
    Ok(shown)
}

/// What an acknowledged commit survives.
fn durability(shown: &BTreeMap<String, String>) -> Durability {
    let value = |name: &str| shown.get(name).map_or("", String::as_str);
    uplift_sdk::durability::postgres(value("fsync"), value("synchronous_commit"), value("full_page_writes"))
}

/// The settings in force under the names that the target has for them, and the server's under its own.
fn effective(shown: BTreeMap<String, String>, pool: &PgPool, server: &Server) -> BTreeMap<String, String> {
    let synchronous = match durability(&shown) {
        Durability::PowerLoss => "FULL".to_owned(),
        Durability::ProcessCrash => "fsync = off".to_owned(),
        Durability::Buffered | Durability::None => "OFF".to_owned(),
    };
    let mut effective: BTreeMap<String, String> = [
        ("provider", "postgres".to_owned()),
        ("storage", "file".to_owned()),
        ("synchronous", synchronous),
        ("connections", pool.options().get_max_connections().to_string()),
        ("postgres_origin", server.origin().to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    effective.extend(shown.into_iter().map(|(name, value)| (format!("postgres_{name}"), value)));
    effective
}

#[async_trait]
impl Engine for Postgres {
    fn provider(&self) -> Arc<dyn DuroxideProvider> {
        Arc::clone(&self.provider) as _
    }

    fn effective(&self) -> BTreeMap<String, String> {
        self.effective.clone()
    }

    fn durability(&self) -> Durability {
        self.durability
    }

    async fn completed(&self, instances: &[String]) -> Result<BTreeMap<String, Stored>, TargetError> {
        engine::completed(&*self.provider, instances).await
    }

    async fn sample(&self, samples: &mut Samples) {
        let Some(usage) = self.server.usage() else {
            // A server that was given may work for others too.
            return;
        };
        samples.counter("server_cpu_ns", usage.cpu_s * 1e9);
        if let Ok((wal_syncs, transactions)) = self.count().await {
            samples.counter("wal_syncs", wal_syncs);
            samples.counter("write_transactions", transactions);
        }
    }

    fn processes(&self) -> Vec<u32> {
        self.server.pid().into_iter().collect()
    }

    fn unobservable_work(&self) -> Option<String> {
        let unseen = || format!("the processes of the server ({}) cannot be seen from here", self.server.origin());
        self.server.pid().is_none().then(unseen)
    }

    async fn close(&self) {
        // A cluster of our own goes away as a whole.
        if self.server.pid().is_none()
            && let Err(error) = self.provider.cleanup_schema().await
        {
            eprintln!("the schema `{}` is left behind: {error:#}", self.provider.schema_name());
        }
        self.provider.pool().close().await;
    }
}

fn unavailable(state: String, remedy: String) -> TargetError {
    TargetError::new("reaching PostgreSQL", TargetErrorKind::Unavailable { state, remedy }).missing("postgres")
}

fn failed(context: &str, error: &sqlx::Error) -> TargetError {
    TargetError::engine(context, error)
}
