//! The SQLite provider that duroxide brings.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use duroxide::providers::{Provider as DuroxideProvider, sqlite::SqliteProvider};
use sqlx::{Row as _, SqliteConnection};
use uplift_sdk::{Durability, Samples, TargetError, durability};

use crate::{
    engine::{self, Engine, Stored},
    settings::{POOL_CONNECTIONS, Settings, Storage},
};

pub struct Bundled {
    provider: Arc<SqliteProvider>,
    storage: Storage,
    effective: BTreeMap<String, String>,
    /// The database file, where there is one.
    file: Option<PathBuf>,
    /// Connections that are kept from the provider.
    _held: Vec<SqliteConnection>,
}

impl Bundled {
    pub async fn open(settings: &Settings, data_dir: &Path) -> Result<Self, TargetError> {
        let path = data_dir.join("orchestration.db");
        let provider = match settings.storage {
            Storage::File => {
                // As duroxide's examples do: the URL of its provider does not create the file.
                File::options()
                    .create(true)
                    .append(true)
                    .open(&path)
                    .map_err(|error| TargetError::new("creating the database file", error))?;
                SqliteProvider::new(&format!("sqlite:{}", path.display()), None).await
            }
            Storage::Memory => SqliteProvider::new_in_memory().await,
        }
        .map_err(|error| TargetError::engine("opening the bundled SQLite provider", error))?;
        let mut effective = apply_pragmas(&provider, settings).await?;
        effective.insert("provider".to_owned(), "sqlite".to_owned());
        let storage = match settings.storage {
            Storage::File => "file",
            Storage::Memory => "memory",
        };
        effective.insert("storage".to_owned(), storage.to_owned());
        let held = hold_back(&provider, settings.connections.unwrap_or(POOL_CONNECTIONS)).await?;
        effective.insert("connections".to_owned(), (POOL_CONNECTIONS - held.len() as u32).to_string());
        Ok(Self {
            provider: Arc::new(provider),
            storage: settings.storage,
            effective,
            file: (settings.storage == Storage::File).then_some(path),
            _held: held,
        })
    }
}

/// Takes connections out of the pool until `left` are left.
async fn hold_back(provider: &SqliteProvider, left: u32) -> Result<Vec<SqliteConnection>, TargetError> {
    let mut held = Vec::new();
    for _ in left..POOL_CONNECTIONS {
        let connection = provider
            .get_pool()
            .acquire()
            .await
            .map_err(|error| TargetError::engine("holding back a connection of the pool", error))?;
        // The pool opens no other in its place.
        held.push(connection.leak());
    }
    Ok(held)
}

#[async_trait]
impl Engine for Bundled {
    fn provider(&self) -> Arc<dyn DuroxideProvider> {
        Arc::clone(&self.provider) as _
    }

    fn effective(&self) -> BTreeMap<String, String> {
        self.effective.clone()
    }

    fn durability(&self) -> Durability {
        let effective = |key: &str| self.effective.get(key).map(String::as_str);
        match self.storage {
            Storage::Memory => Durability::None,
            Storage::File => durability::sqlite(
                effective("journal_mode").unwrap_or_default(),
                effective("synchronous").unwrap_or_default(),
            ),
        }
    }

    async fn completed(&self, instances: &[String]) -> Result<BTreeMap<String, Stored>, TargetError> {
        let engine = |error: sqlx::Error| TargetError::engine("reading back completed orchestrations", error);
        let rows = sqlx::query(
            "SELECT e.instance_id AS instance, e.output AS output, COUNT(h.event_id) AS completions \
             FROM executions e LEFT JOIN history h ON h.instance_id = e.instance_id \
             AND h.event_type = 'OrchestrationCompleted' \
             WHERE e.status = 'Completed' GROUP BY e.instance_id",
        )
        .fetch_all(self.provider.get_pool())
        .await
        .map_err(engine)?;
        let mut stored = BTreeMap::new();
        for row in rows {
            let instance: String = row.try_get("instance").map_err(engine)?;
            let output: Option<String> = row.try_get("output").map_err(engine)?;
            let completions: i64 = row.try_get("completions").map_err(engine)?;
            let completions = completions.unsigned_abs();
            stored.insert(instance, Stored { output: output.unwrap_or_default(), completions });
        }
        stored.retain(|instance, _| instances.binary_search(instance).is_ok());
        Ok(stored)
    }

    async fn sample(&self, samples: &mut Samples) {
        if let Some(count) = self.file.as_deref().and_then(engine::wal_transactions) {
            samples.counter("write_transactions", f64::from(count));
        }
    }
}

/// Sets the pragmas on every connection of the pool and reads them back from each.
///
/// The provider sets its own when it connects, and a pragma belongs to a connection: all connections are held at once,
/// so that none is missed.
async fn apply_pragmas(
    provider: &SqliteProvider,
    settings: &Settings,
) -> Result<BTreeMap<String, String>, TargetError> {
    let failed = |error: sqlx::Error| TargetError::engine("setting the pragmas of the bundled provider", error);
    let mut connections = Vec::new();
    let count = match settings.storage {
        Storage::File => POOL_CONNECTIONS,
        // Pragmas of the shared in-memory database are left as the provider sets them.
        Storage::Memory => 1,
    };
    for _ in 0..count {
        connections.push(provider.get_pool().acquire().await.map_err(failed)?);
    }
    let mut read_back: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for connection in &mut connections {
        if settings.storage == Storage::File {
            for statement in [
                format!("PRAGMA synchronous = {}", settings.synchronous),
                format!("PRAGMA wal_autocheckpoint = {}", settings.wal_autocheckpoint),
                format!("PRAGMA cache_size = -{}", settings.cache_size_kib),
            ] {
                sqlx::query(&statement).execute(&mut **connection).await.map_err(failed)?;
            }
        }
        for pragma in ["synchronous", "wal_autocheckpoint", "cache_size", "journal_mode"] {
            let row = sqlx::query(&format!("PRAGMA {pragma}")).fetch_one(&mut **connection).await.map_err(failed)?;
            let value = row
                .try_get::<i64, _>(0)
                .map(|number| number.to_string())
                .or_else(|_| row.try_get::<String, _>(0))
                .map_err(failed)?;
            read_back.entry(pragma).or_default().push(value);
        }
    }
    let mut effective = BTreeMap::new();
    for (pragma, mut values) in read_back {
        values.sort();
        values.dedup();
        let words: Vec<String> = values.iter().map(|value| in_words(pragma, value)).collect();
        let name = if pragma == "cache_size" { "cache_size_kib" } else { pragma };
        effective.insert(name.to_owned(), words.join(" and "));
    }
    Ok(effective)
}

/// A pragma's value under the name and unit that the settings have.
fn in_words(pragma: &str, value: &str) -> String {
    match (pragma, value) {
        ("synchronous", "0") => "OFF".to_owned(),
        ("synchronous", "1") => "NORMAL".to_owned(),
        ("synchronous", "2") => "FULL".to_owned(),
        ("synchronous", "3") => "EXTRA".to_owned(),
        ("cache_size", kib) => kib.trim_start_matches('-').to_owned(),
        (_, value) => value.to_owned(),
    }
}
