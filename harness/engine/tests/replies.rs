//! The reader of replies meets anything: it answers with a reply, the end, or a sentence, and never panics.

use std::io::Cursor;

use proptest::prelude::*;
use uplift_engine::agent_connection::read_reply;

const HELLO: &str = r#"{"reply":"hello","protocol":1,"version":"0.1.0","debug_assertions":false,"sync_probe_live":true,"targets":["reference"]}"#;
const TURN: &str = r#"{"reply":"turn","index":0,"start_ns":1,"wall_ns":2,"attempts":3,"ok":3,"nothing":0,"failed":0,"unsent":0,"response_p50_ns":1,"response_max_ns":2,"cpu_ns":3,"sync_calls":0,"quiesce_ns":0}"#;
const FAILED: &str = r#"{"reply":"failed","kind":"target","phase":"set-up","message":"no"}"#;

#[test]
fn good_lines_are_replies_and_bad_ones_are_quoted() {
    for line in [HELLO, TURN, FAILED] {
        assert!(read_reply(&mut Cursor::new(format!("{line}\n"))).unwrap().is_some(), "{line}");
    }
    let error = read_reply(&mut Cursor::new("Segmentation fault\n")).unwrap_err();
    assert!(error.contains("`Segmentation fault`"), "{error}");
    // An agent that dies in the middle of a line has no more to say.
    assert!(read_reply(&mut Cursor::new(&HELLO[..20])).unwrap().is_none());
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read_reply(&mut Cursor::new(bytes));
    }

    #[test]
    fn damaged_lines_are_answered(line in prop::sample::select(vec![HELLO, TURN, FAILED]), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = line.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.push(b'\n');
        let _ = read_reply(&mut Cursor::new(bytes));
    }

    /// Whatever stands in a trials file, it is read, reported cut off, or refused with the line's number.
    #[test]
    fn damaged_records_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = uplift_engine::store::parse_trials(&bytes);
    }
}
