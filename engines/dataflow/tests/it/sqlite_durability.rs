//! What `uplift_model::database_durability::sqlite` says of SQLite, checked against SQLite on a disk that forgets what was not synced.

use std::{path::Path, sync::Arc};

use engine_disk::{Disk, Loss, SimulatedDisk};
use rusqlite::{Connection, OpenFlags};
use uplift_model::{Durability, database_durability};

use crate::simulated_vfs::SimulatedVfs;

const DIRECTORY: &str = "/data";
const ROWS: i64 = 4;

fn connect(vfs: &SimulatedVfs, mode: &str, level: &str) -> Connection {
    let path = Path::new(DIRECTORY).join("a.db");
    let connection = Connection::open_with_flags_and_vfs(path, OpenFlags::default(), vfs.name()).unwrap();
    connection.pragma_update(None, "journal_mode", mode).unwrap();
    connection.pragma_update(None, "synchronous", level).unwrap();
    connection
}

/// Commits one row after the other; whether each is there after a loss of power that follows its commit.
fn commits_survive(mode: &str, level: &str) -> bool {
    let disk = SimulatedDisk::new();
    disk.create_directory(Path::new(DIRECTORY)).unwrap();
    let vfs = SimulatedVfs::over(Arc::new(disk.clone()));
    let connection = connect(&vfs, mode, level);
    connection.execute_batch("CREATE TABLE t (n INTEGER)").unwrap();
    disk.sync_directory(Path::new(DIRECTORY)).unwrap();
    (1..=ROWS).all(|number| {
        connection.execute("INSERT INTO t VALUES (?1)", [number]).unwrap();
        let after = SimulatedVfs::over(Arc::new(disk.after_power_loss(disk.acts(), Loss::All)));
        let opened = connect(&after, mode, level);
        opened.query_row("SELECT COUNT(*) FROM t", [], |row| row.get::<_, i64>(0)).is_ok_and(|count| count == number)
    })
}

/// What is said to survive a loss of power does, and of the rest at least one commit does not. With `persist` and `NORMAL` the
/// commits are there; of that level SQLite says that the database may be corrupt after a loss of power.
#[test]
fn each_row_of_the_table_is_what_sqlite_does() {
    for mode in ["wal", "delete", "truncate", "persist"] {
        for level in ["OFF", "NORMAL", "FULL", "EXTRA"] {
            let said = database_durability::sqlite(mode, level) == Durability::PowerLoss;
            let survive = said || (mode, level) == ("persist", "NORMAL");
            assert_eq!(commits_survive(mode, level), survive, "{mode} and {level}");
        }
    }
}
