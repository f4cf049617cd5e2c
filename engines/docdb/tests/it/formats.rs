//! Whatever bytes there are, in files or on a connection: who reads them answers, and does not fail.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use docdb_engine::{
    DocumentStore, Operation, Reply, Request, StoreErrorKind, classic, fast,
    wire::{
        self, Address, RemoteStore, Server, Transport, check_greeting, decode_answer, decode_request, encode_request,
        greeting, read_frame,
    },
};
use engine_disk::{Disk, SimulatedDisk};
use proptest::{collection::vec, prelude::*, sample::Index};
use uplift_instrument::timeline::EventLog;

use crate::{
    flipped::{was_written, written},
    served::small,
    setups::{self, Setup, Size},
};

fn record() -> impl Strategy<Value = Vec<u8>> {
    (any::<u64>(), any::<u32>(), 0u8..7, any::<u64>(), vec(any::<u8>(), 0..60)).prop_map(
        |(transaction, database, kind, id, payload)| {
            use classic::formats::{Record, RecordKind::*};
            let kind = [Create, Update, Delete, Commit, Synced, Begin, Create][usize::from(kind)];
            let mut bytes = Vec::new();
            Record { transaction, database, kind, id, payload: &payload }.encode(&mut bytes);
            classic::formats::seal_records(&mut bytes, 1, 0);
            bytes
        },
    )
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_failing(bytes in vec(any::<u8>(), 0..400)) {
        classic::formats::decode_record(&bytes);
        let index = classic::formats::Index::new(4);
        let _ = classic::formats::parse_checkpoint(&bytes, &index);
        fast::formats::parse_segment_header(&bytes);
        fast::formats::parse_record(&bytes, 1, 0);
        fast::formats::read_group(&bytes, 1, 0);
        fast::formats::has_later_group(&bytes, 0, 0);
        let _ = decode_request(&bytes);
        let _ = decode_answer(&bytes, &mut Vec::new());
        let _ = read_frame(&mut bytes.as_slice(), &mut Vec::new());
        if let Some(greeting) = bytes.first_chunk() {
            let _ = check_greeting(greeting);
        }
    }

    #[test]
    fn a_changed_record_is_no_record(bytes in record(), at in any::<Index>(), change in 1u8..) {
        prop_assert!(classic::formats::decode_record(&bytes).is_some());
        let mut changed = bytes.clone();
        let at = at.index(changed.len());
        changed[at] ^= change;
        prop_assert!(classic::formats::decode_record(&changed).is_none());
    }

    #[test]
    fn requests_survive_the_wire(
        code in 0u8..4, database in any::<u16>(), id in any::<u64>(), document in vec(any::<u8>(), 0..300),
    ) {
        let operation = Operation::from_code(code).unwrap();
        let request = Request { operation, database, id, document: &document };
        let mut bytes = Vec::new();
        encode_request(&request, &mut bytes);
        let mut frame = Vec::new();
        prop_assert!(read_frame(&mut bytes.as_slice(), &mut frame).unwrap());
        prop_assert_eq!(decode_request(&frame).unwrap(), request);
    }
}

#[test]
fn a_frame_beyond_the_limit_is_refused_before_it_is_read() {
    let length = (wire::FRAME_BYTES_MAX as u32 + 1).to_le_bytes();
    let error = read_frame(&mut length.as_slice(), &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("at most"), "{error}");
}

/// What may happen to a file.
#[derive(Clone, Debug)]
enum Damage {
    Overwrite(Index, Vec<u8>),
    Insert(Index, Vec<u8>),
    /// A part of it once more, elsewhere.
    Repeat(Index, Index, Index),
    Cut(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<Index>;
    let bytes = || vec(any::<u8>(), 1..40);
    prop_oneof![
        (index(), bytes()).prop_map(|(at, bytes)| Damage::Overwrite(at, bytes)),
        (index(), bytes()).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (index(), index(), index()).prop_map(|(from, to, at)| Damage::Repeat(from, to, at)),
        index().prop_map(Damage::Cut),
    ]
}

fn damaged(mut content: Vec<u8>, damage: &Damage) -> Vec<u8> {
    let place = |index: &Index, content: &[u8]| index.index(content.len() + 1);
    match damage {
        Damage::Overwrite(at, bytes) => {
            let at = place(at, &content);
            let end = (at + bytes.len()).min(content.len());
            content[at..end].copy_from_slice(&bytes[..end - at]);
        }
        Damage::Insert(at, bytes) => {
            let at = place(at, &content);
            content.splice(at..at, bytes.iter().copied());
        }
        Damage::Repeat(from, to, at) => {
            let (from, to, at) = (place(from, &content), place(to, &content), place(at, &content));
            let part = content[from.min(to)..from.max(to)].to_vec();
            content.splice(at..at, part);
        }
        Damage::Cut(at) => content.truncate(place(at, &content)),
    }
    content
}

const SIZE: Size = Size { databases: 2, segment_bytes_max: [600, 600], interval: Duration::ZERO };

/// Each setup with the files that it wrote, made once.
fn stores() -> &'static [(Setup, SimulatedDisk)] {
    static STORES: OnceLock<Vec<(Setup, SimulatedDisk)>> = OnceLock::new();
    STORES.get_or_init(|| setups::all(SIZE).into_iter().map(|setup| (setup.clone(), written(&setup, true).0)).collect())
}

fn shared(disk: &SimulatedDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    /// Files that were cut, overwritten, stretched and repeated: the store opens or says that they are corrupt, and what it
    /// reads was once written under this id.
    #[test]
    fn a_damaged_store_opens_or_says_so(
        which in any::<Index>(), file in any::<Index>(), damages in vec(damage(), 1..4),
    ) {
        let (setup, disk) = which.get(stores());
        let disk = disk.settled_copy();
        let files: Vec<_> = disk.files().into_iter().collect();
        let (path, content) = file.get(&files);
        let content = damages.iter().fold(content.clone(), damaged);
        let file = disk.open(path, false).unwrap();
        file.set_length(0).unwrap();
        file.write_all_at(&content, 0).unwrap();
        match setup.open(&shared(&disk), Path::new("/store")) {
            Err(error) => prop_assert!(matches!(error.kind, StoreErrorKind::Corrupt { .. }), "{}: {error}", setup.name),
            Ok((store, _)) => {
                let mut found = Vec::new();
                for id in 0..6 {
                    let request = Request { operation: Operation::Read, database: (id % 2) as u16, id, document: b"" };
                    match store.apply(request, &mut found) {
                        Ok(Reply::Done) => prop_assert!(
                            was_written(id, &found),
                            "{}: id {id} came back as {}", setup.name, String::from_utf8_lossy(&found)
                        ),
                        Ok(_) => {}
                        Err(error) => prop_assert!(
                            matches!(error.kind, StoreErrorKind::Corrupt { .. }), "{}: {error}", setup.name
                        ),
                    }
                }
            }
        }
    }

    /// A log whose checksums are all right and which says anything.
    #[test]
    fn a_fast_log_that_says_anything_opens_or_is_corrupt(
        number in prop_oneof![Just(1u32), any::<u32>()],
        first in prop_oneof![Just(1u64), any::<u64>()],
        groups in vec((0u64..3, vec((any::<u64>(), 0u16..4, any::<bool>(), 0usize..30), 0..4)), 0..4),
    ) {
        use fast::formats::{GROUP_HEADER_BYTES, Kind, RecordHeader, record_header, seal_group, segment_header, segment_name, set_place};
        let mut bytes = segment_header(number, first).to_vec();
        for (index, (skew, records)) in groups.iter().enumerate() {
            let mut group = vec![0; GROUP_HEADER_BYTES];
            for &(id, database, puts, length) in records {
                let document = vec![b'1'; length];
                let kind = if puts { Kind::Put } else { Kind::Delete };
                let start = group.len();
                group.extend(record_header(RecordHeader { length: length as u32, id, database, kind }, &document));
                group.extend(document);
                set_place(&mut group[start..], number, (bytes.len() + start) as u64);
            }
            // Mostly the number that is right.
            let number = first.wrapping_add(index as u64).wrapping_add(skew / 2);
            seal_group(&mut group, number, records.len() as u32);
            bytes.extend(group);
        }
        let disk = SimulatedDisk::new();
        disk.create_directory(Path::new("/s")).unwrap();
        disk.open(&Path::new("/s").join(segment_name(number)), true).unwrap().write_all_at(&bytes, 0).unwrap();
        let settings = fast::Settings { databases: 2, ..small() };
        match fast::Store::open(&shared(&disk), Path::new("/s"), &settings, &EventLog::default()) {
            Ok((store, recovery)) => prop_assert_eq!(store.documents().unwrap(), recovery.documents),
            Err(error) => prop_assert!(matches!(error.kind, StoreErrorKind::Corrupt { .. }), "{error}"),
        }
    }

    /// The same of the classic store's log.
    #[test]
    fn a_classic_log_that_says_anything_opens_or_is_corrupt(
        evidence in 0u8..4, records in vec(record(), 0..5), whole in vec((any::<u64>(), 0u64..4, 0u8..2), 0..4),
    ) {
        use classic::formats::{Record, RecordKind};
        let mut bytes = Vec::new();
        Record { transaction: 0, database: 0, kind: RecordKind::Begin, id: 1, payload: &[evidence] }.encode(&mut bytes);
        for (transaction, id, kind) in whole {
            let kind = [RecordKind::Create, RecordKind::Delete][usize::from(kind)];
            let payload: &[u8] = if kind == RecordKind::Create { b"{}" } else { b"" };
            Record { transaction, database: 0, kind, id, payload }.encode(&mut bytes);
            Record { transaction, database: 0, kind: RecordKind::Commit, id, payload: b"" }.encode(&mut bytes);
        }
        bytes.extend(records.concat());
        classic::formats::seal_records(&mut bytes, 1, 0);
        let disk = SimulatedDisk::new();
        disk.create_directory(Path::new("/s/db1")).unwrap();
        disk.open(Path::new("/s/db1/wal-00000001.log"), true).unwrap().write_all_at(&bytes, 0).unwrap();
        let settings = classic::Settings { databases: 1, workers: 1, ..classic::Settings::default() };
        match classic::Store::open(&shared(&disk), Path::new("/s"), &settings, &EventLog::default()) {
            Ok((store, recovery)) => prop_assert_eq!(store.documents().unwrap(), recovery.documents),
            Err(error) => prop_assert!(matches!(error.kind, StoreErrorKind::Corrupt { .. }), "{error}"),
        }
    }
}

/// What a client may send after a greeting: whole requests, damaged ones, and anything.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let request =
        (0u8..6, any::<u16>(), any::<u64>(), vec(any::<u8>(), 0..60)).prop_map(|(code, database, id, document)| {
            let operation = Operation::from_code(code).unwrap_or(Operation::Create);
            let mut bytes = Vec::new();
            encode_request(&Request { operation, database, id, document: &document }, &mut bytes);
            bytes
        });
    (vec(request, 0..4), vec(damage(), 0..3), vec(any::<u8>(), 0..40)).prop_map(|(requests, damages, rest)| {
        let bytes = damages.iter().fold(requests.concat(), damaged);
        [bytes, rest].concat()
    })
}

/// Any stream of bytes ends its own connection at most; the server goes on answering others.
#[test]
fn a_server_survives_any_stream() {
    let disk = SimulatedDisk::new();
    let opened = fast::Store::open(&shared(&disk), Path::new("/s"), &small(), &EventLog::default()).unwrap();
    let server = Server::start(Arc::new(opened.0), &Transport::Tcp).unwrap();
    let Address::Tcp(address) = server.address() else { panic!("a TCP server has a TCP address") };
    let other = RemoteStore::connect(server.address()).unwrap();
    let config = ProptestConfig { cases: 300, ..ProptestConfig::default() };
    proptest!(config, |(greeted in any::<bool>(), bytes in stream())| {
        let mut connection = TcpStream::connect(address).unwrap();
        // The server may end the connection before all is sent.
        let _ = connection.write_all(&if greeted { [greeting().as_slice(), &bytes].concat() } else { bytes });
        let _ = connection.shutdown(Shutdown::Write);
        let _ = connection.read_to_end(&mut Vec::new());
        let read = Request { operation: Operation::Read, database: 0, id: 1 << 60, document: b"" };
        prop_assert_eq!(other.call(read, &mut Vec::new()).unwrap(), Reply::NotFound);
    });
}
