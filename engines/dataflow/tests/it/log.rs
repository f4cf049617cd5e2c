//! The log against power losses, torn ends, flipped bits and arbitrary bytes.

use std::path::{Path, PathBuf};

use dataflow_engine::{
    log::{
        FILE_HEADER_BYTES, Found, Log, LogError, LogErrorKind,
        record::{self, HEADER_BYTES},
    },
    row::{self, Article, Table, Vote},
    settings::LogFormat,
};
use engine_disk::{Disk, Loss, SimulatedDisk};
use proptest::prelude::*;

const IDENTITY: (u32, u32) = (0, 1);

fn path() -> PathBuf {
    PathBuf::from("/log/shard.log")
}

fn new_disk() -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    disk.create_directory(Path::new("/log")).unwrap();
    disk
}

/// The payload of record `number`: of a size of its own.
fn payload(number: u64) -> Vec<u8> {
    (0..1 + number * 7 % 23)
        .flat_map(|user| Vote { article: number as u32, user: number << 8 | user }.encode())
        .collect()
}

fn append(log: &mut Log, payload: &[u8]) -> Result<(), LogError> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes.extend_from_slice(payload);
    log.append(&mut bytes, Table::Vote, row::votes(payload).count() as u32)
}

fn open(disk: &SimulatedDisk) -> Result<(Log, Found, Vec<Vec<u8>>), LogError> {
    let mut payloads = Vec::new();
    let (log, found) =
        Log::open(disk, &path(), IDENTITY, &mut |record| payloads.push(record.rows_encoded().into_owned()))?;
    Ok((log, found, payloads))
}

/// A log of `records` synced records, and after how many acts of the disk each was safe.
fn written(disk: &SimulatedDisk, records: u64) -> Vec<usize> {
    let (mut log, found, _) = open(disk).unwrap();
    (found.records..found.records + records)
        .map(|number| {
            append(&mut log, &payload(number)).unwrap();
            log.sync().unwrap();
            disk.acts()
        })
        .collect()
}

/// Every point of every sequence, every kind of loss: what was synced is there, what is there was written, in order.
/// Then the log goes on, and loses power again.
#[test]
fn no_power_loss_takes_a_synced_record() {
    let disk = new_disk();
    let safe_after = written(&disk, 12);
    let losses = |point: usize| {
        [Loss::All, Loss::Nothing, Loss::TornNewest(1), Loss::TornNewest(500), Loss::TornNewest(999), Loss::KeptNewest]
            .into_iter()
            .chain((0..4).map(move |seed| Loss::Some(point as u64 * 31 + seed)))
    };
    for point in 0..=disk.acts() {
        let synced = safe_after.iter().filter(|&&safe| safe <= point).count();
        for loss in losses(point) {
            let after = disk.after_power_loss(point, loss);
            let (log, _, payloads) = open(&after).unwrap_or_else(|error| panic!("{point} {loss:?}: {error}"));
            assert!(payloads.len() >= synced, "{point} {loss:?}: {} of {synced}", payloads.len());
            assert!(payloads.iter().zip(0..).all(|(bytes, number)| *bytes == payload(number)), "{point} {loss:?}");
            drop(log);

            let kept = payloads.len();
            let again = written(&after, 2);
            let twice = after.after_power_loss(again[0], loss);
            let (_, found, payloads) = open(&twice).unwrap();
            assert_eq!((found.records, &found.tail), (kept as u64 + 1, &None), "{point} {loss:?}");
            assert!(payloads.iter().zip(0..).all(|(bytes, number)| *bytes == payload(number)));
        }
    }
}

/// A torn write is cut off and reported, wherever it was torn.
#[test]
fn a_torn_end_is_cut_and_reported() {
    let disk = new_disk();
    written(&disk, 3);
    let safe = disk.files()[&path()].len();
    let (mut log, ..) = open(&disk).unwrap();
    append(&mut log, &payload(3)).unwrap();
    let whole = disk.files()[&path()].len();
    for end in safe + 1..whole {
        let torn = disk.settled_copy();
        torn.open(&path(), false).unwrap().set_length(end as u64).unwrap();
        let (log, found, payloads) = open(&torn).unwrap();
        let tail = found.tail.expect("a torn end is reported");
        assert_eq!((tail.offset, tail.bytes, payloads.len()), (safe as u64, (end - safe) as u64, 3));
        assert_eq!(log.bytes(), safe as u64);
        assert_eq!(open(&torn).unwrap().1.tail, None, "it is cut off once");
    }
}

/// A flipped bit anywhere is noticed: damage before the last record keeps the log from opening, damage in the last
/// record is reported as its end. Never does a wrong row come out.
#[test]
fn a_flipped_byte_anywhere_is_noticed() {
    let disk = new_disk();
    written(&disk, 5);
    let bytes = disk.files()[&path()].clone();
    let last = bytes.len() - HEADER_BYTES - payload(4).len();
    for offset in 0..bytes.len() {
        let flipped = disk.settled_copy();
        flipped.flip(&path(), offset);
        match open(&flipped) {
            Err(LogError { kind: LogErrorKind::Foreign(_), .. }) => assert!(offset < FILE_HEADER_BYTES),
            Err(LogError { kind: LogErrorKind::Damaged { offset: at, .. }, .. }) => {
                assert!((FILE_HEADER_BYTES..last).contains(&offset));
                assert!(at <= offset as u64);
            }
            Err(error) => panic!("byte {offset}: {error}"),
            Ok((_, found, payloads)) => {
                assert!(offset >= last, "byte {offset} went unnoticed");
                assert_eq!(found.tail.unwrap().offset, last as u64);
                assert_eq!(payloads, (0..4).map(payload).collect::<Vec<_>>());
            }
        }
    }
}

/// A log that was closed in order is never short without a word: cut anywhere, a byte of it flipped, or gone.
#[test]
fn a_closed_log_that_is_damaged_does_not_open() {
    let disk = new_disk();
    written(&disk, 4);
    let (log, ..) = open(&disk).unwrap();
    log.close(&disk).unwrap();
    let (_, found, payloads) = open(&disk.settled_copy()).unwrap();
    assert!(found.closed && found.tail.is_none() && payloads.len() == 4);
    let length = disk.files()[&path()].len();
    for cut in 0..length {
        let short = disk.settled_copy();
        short.open(&path(), false).unwrap().set_length(cut as u64).unwrap();
        let error = open(&short).err().unwrap_or_else(|| panic!("cut to {cut} bytes"));
        assert!(matches!(error.kind, LogErrorKind::Short { .. }), "{cut}: {error}");
        let left = short.files()[&path()].len();
        assert_eq!(left, cut, "what is refused is left as it is");
        let flipped = disk.settled_copy();
        flipped.flip(&path(), cut);
        assert!(open(&flipped).is_err(), "byte {cut} flipped");
    }
    let gone = disk.settled_copy();
    gone.remove(&path()).unwrap();
    assert!(matches!(open(&gone).unwrap_err().kind, LogErrorKind::Short { .. }));
    // Opened and not closed: the note is gone, and the end is what is there.
    drop(open(&disk).unwrap());
    assert!(!open(&disk).unwrap().1.closed);
}

#[test]
fn a_full_disk_fails_the_append_and_harms_nothing() {
    let disk = new_disk();
    written(&disk, 2);
    let (mut log, ..) = open(&disk).unwrap();
    disk.limit_space(Some(10));
    let error = append(&mut log, &payload(2)).unwrap_err();
    assert!(matches!(&error.kind, LogErrorKind::Io(io) if io.kind() == std::io::ErrorKind::StorageFull), "{error}");
    drop(log);
    disk.limit_space(None);
    assert_eq!(written(&disk, 1).len(), 1);
    assert_eq!(open(&disk).unwrap().2, (0..3).map(payload).collect::<Vec<_>>());
}

#[test]
fn the_log_of_another_shard_is_refused() {
    let disk = new_disk();
    written(&disk, 1);
    let error = Log::open(&disk, &path(), (1, 2), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("not the log of shard 1 of 2"), "{error}");
}

/// A log that was written in two formats gives back the rows of both, and JSON is what the file holds.
#[test]
fn a_log_holds_json_beside_binary_rows() {
    let disk = new_disk();
    let (mut log, ..) = open(&disk).unwrap();
    let packets: Vec<Vec<u8>> = (0..4).map(payload).collect();
    for (packet, format) in packets.iter().zip([LogFormat::Json, LogFormat::Binary, LogFormat::Json, LogFormat::Json]) {
        log.write_in(format);
        append(&mut log, packet).unwrap();
        log.sync().unwrap();
    }
    drop(log);
    let text = disk.open(&path(), false).unwrap().read_all().unwrap();
    assert_eq!(text.windows(2).filter(|pair| pair == b"[[").count(), 3, "an array of rows for each record");
    assert_eq!(open(&disk).unwrap().2, packets);
}

/// The form on disk, byte for byte, with the checksum as zlib computes it: a change of it must change the mark in the
/// file's header.
#[test]
fn the_format_is_fixed() {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes.extend_from_slice(&Vote { article: 0x0102_0304 & 0xff_ffff, user: 0x1112_1314_1516_1718 }.encode());
    record::seal(&mut bytes, Table::Vote, LogFormat::Binary, 1, 2);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        concat!(
            "55504452",
            "01000000",
            "01000000",
            "0c000000",
            "0200000000000000",
            "e6d52f63",
            "04030200",
            "1817161514131211"
        )
    );
}

// 256 cases of each, or PROPTEST_CASES.
proptest! {
    #[test]
    fn records_come_back(
        votes in prop::collection::vec((0..row::ARTICLES_MAX, any::<u64>()), 0..50),
        titles in prop::collection::vec("\\PC{0,20}", 0..10),
        sequence: u64,
    ) {
        let mut bytes = vec![0; HEADER_BYTES];
        for (article, user) in &votes {
            bytes.extend_from_slice(&Vote { article: *article, user: *user }.encode());
        }
        record::seal(&mut bytes, Table::Vote, LogFormat::Binary, votes.len() as u32, sequence);
        let read = record::parse(&bytes).unwrap();
        prop_assert_eq!((read.table, read.rows as usize, read.sequence), (Table::Vote, votes.len(), sequence));
        let back: Vec<_> = row::votes(read.payload).map(|vote| (vote.article, vote.user)).collect();
        prop_assert_eq!(back, votes);

        let mut bytes = vec![0; HEADER_BYTES];
        for (title, id) in titles.iter().zip(0..) {
            Article { id, title }.encode_into(&mut bytes);
        }
        record::seal(&mut bytes, Table::Article, LogFormat::Binary, titles.len() as u32, sequence);
        let read = record::parse(&bytes).unwrap();
        let back: Vec<_> = row::articles(read.payload).map(|article| article.title.to_owned()).collect();
        prop_assert_eq!(back, titles);
    }

    #[test]
    fn arbitrary_bytes_are_no_record_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(record::parse(&bytes).is_err());
        let disk = new_disk();
        let file = disk.open(&path(), true).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        // Too short to be a log is a log that was never used; anything else is no log of ours.
        prop_assert_eq!(open(&disk).is_ok(), bytes.len() <= FILE_HEADER_BYTES);
    }

    /// Parts of a log overwritten, doubled, cut out or cut off: what comes out is a prefix of what was written.
    #[test]
    fn a_mangled_log_gives_no_wrong_row(
        at in 0usize..2_000, length in 1usize..400, how in 0u8..4, noise in prop::collection::vec(any::<u8>(), 400),
    ) {
        let disk = new_disk();
        written(&disk, 8);
        let mut bytes = disk.files()[&path()].clone();
        let at = at % bytes.len();
        let end = (at + length).min(bytes.len());
        match how {
            0 => bytes[at..end].copy_from_slice(&noise[..end - at]),
            1 => {
                let doubled = bytes[at..end].to_vec();
                bytes.splice(at..at, doubled);
            }
            2 => drop(bytes.drain(at..end)),
            _ => bytes.truncate(at),
        }
        let mangled = new_disk();
        mangled.open(&path(), true).unwrap().write_all_at(&bytes, 0).unwrap();
        if let Ok((_, _, payloads)) = open(&mangled) {
            prop_assert!(payloads.len() <= 8);
            prop_assert!(payloads.iter().zip(0..).all(|(bytes, number)| *bytes == payload(number)));
        }
    }
}
