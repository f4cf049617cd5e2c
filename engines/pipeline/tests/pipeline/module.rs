//! The transform's module is the one that its source makes, and does what `native` does.

use std::{fs, path::Path, sync::Arc, time::Duration};

use pipeline_engine::{
    Fault,
    error::ErrorKind,
    generator::Generator,
    profile::Profile,
    stages,
    transform::{Connector, Loading, MODULE, Native, Transform as _, TransformKind, Wasm},
};
use sha2::{Digest as _, Sha256};
use uplift_instrument::stage::StageTable;

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whoever changes the source must build the module again: `module/build.sh` writes both sums down.
#[test]
fn the_committed_module_belongs_to_the_committed_source() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("module");
    let note = fs::read_to_string(folder.join("connector.wasm.txt")).unwrap();
    let noted = |key: &str| {
        note.lines().find_map(|line| line.strip_prefix(key)).map(|rest| rest.trim().to_owned()).unwrap_or_default()
    };
    assert_eq!(noted("sha256"), hex(MODULE));
    assert_eq!(noted("source"), hex(&fs::read(folder.join("connector.c")).unwrap()));
    assert_eq!(noted("bytes"), MODULE.len().to_string());
    assert!(MODULE.len() > 500_000, "a real connector has hundreds of kilobytes");
}

/// Compiled and from the cache, on every row of every profile: the same batches as Arrow's kernels, bit for bit.
#[test]
fn the_module_agrees_with_native_on_every_row() {
    let directory = tempfile::tempdir().unwrap();
    let table = StageTable::new(&stages::NAMES);
    let mut clock = table.clock("test");
    let loading = Loading::default();
    let cache = Connector::precompile(&directory.path().join("connector.cwasm")).unwrap();
    let connectors =
        [Connector::compile(&loading, &mut clock).unwrap(), Connector::load(&cache, &loading, &mut clock).unwrap()];
    for (profile, rows) in [(Profile::Small, 20_000), (Profile::Medium, 3_000), (Profile::Large, 200)] {
        let generator = Generator::new(profile, 3);
        for kind in [TransformKind::Project, TransformKind::Filter] {
            let native = Native::new(kind, generator.schema());
            for connector in &connectors {
                let sql = kind.sql(generator.schema(), Fault::None, 0);
                let schema = kind.schema(generator.schema());
                let limit = Duration::from_secs(600);
                let mut wasm =
                    Wasm::new(connector, &sql, generator.schema(), schema, limit, &loading, &mut clock).unwrap();
                for first in (0..rows).step_by(500) {
                    let count = 500.min(rows - first);
                    let batch = generator.batch(first, 1, count, None).unwrap();
                    // A slice in the middle: its buffers do not begin where Arrow's do.
                    let part = batch.slice(count as usize / 3, count as usize / 2);
                    for input in [&batch, &part] {
                        let of_module = wasm.apply(input, &mut clock).unwrap();
                        assert_eq!(of_module, native.transform(input).unwrap(), "{profile:?} {kind:?} from {first}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_statement_that_sqlite_refuses_is_an_error_in_its_words() {
    let table = StageTable::new(&stages::NAMES);
    let mut clock = table.clock("test");
    let loading = Loading::default();
    let connector = Connector::compile(&loading, &mut clock).unwrap();
    let schema = Profile::Small.schema();
    let limit = Duration::from_secs(60);
    let sql = "SELECT nonsense FROM input";
    let refused = Wasm::new(&connector, sql, &schema, Arc::clone(&schema), limit, &loading, &mut clock);
    let Err(error) = refused else { panic!("it was accepted") };
    assert!(matches!(&error.kind, ErrorKind::Transform(message) if message.contains("nonsense")), "{error}");
}

/// A file that is not what this engine wrote is refused, not executed.
#[test]
fn a_damaged_cache_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let table = StageTable::new(&stages::NAMES);
    let mut clock = table.clock("test");
    let path = directory.path().join("connector.cwasm");
    fs::write(&path, b"something else").unwrap();
    let Err(error) = Connector::load(&path, &Loading::default(), &mut clock) else { panic!("it was loaded") };
    assert!(matches!(error.kind, ErrorKind::Transform(_)), "{error}");
}
