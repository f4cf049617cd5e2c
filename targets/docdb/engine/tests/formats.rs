//! Whatever bytes there are: readers of the formats and of the protocol answer, and do not fail.

use docdb_engine::{
    Operation, Request, classic, fast,
    wire::{self, check_greeting, decode_answer, decode_request, encode_request, read_frame},
};
use proptest::{collection::vec, prelude::*};

fn record() -> impl Strategy<Value = Vec<u8>> {
    (any::<u64>(), any::<u64>(), 0u8..7, any::<u64>(), vec(any::<u8>(), 0..60)).prop_map(
        |(transaction, database, kind, id, payload)| {
            use classic::formats::{Record, RecordKind::*};
            let kind = [Create, Update, Delete, Commit, Synced, Begin, Create][usize::from(kind)];
            let mut bytes = Vec::new();
            Record { transaction, database, kind, id, payload: &payload }.encode(&mut bytes);
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
        fast::formats::parse_record(&bytes);
        fast::formats::read_group(&bytes, 0);
        fast::formats::has_later_group(&bytes, 0, 0);
        let _ = decode_request(&bytes);
        let _ = decode_answer(&bytes, &mut Vec::new());
        let _ = read_frame(&mut bytes.as_slice(), &mut Vec::new());
        if let Some(greeting) = bytes.first_chunk() {
            let _ = check_greeting(greeting);
        }
    }

    #[test]
    fn a_changed_record_is_no_record(bytes in record(), at in any::<prop::sample::Index>(), change in 1u8..) {
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
