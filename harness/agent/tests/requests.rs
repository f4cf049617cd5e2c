//! The reader of requests meets anything: it answers with a request, the end, or a sentence, and never panics.

use std::io::Cursor;

use proptest::prelude::*;
use uplift_agent::read_request;
use uplift_model::protocol::Request;

fn lines() -> Vec<String> {
    [
        r#"{"request":"hello","protocol":1}"#,
        r#"{"request":"turn","index":0,"measured":true,"length":{"nanoseconds":25000000}}"#,
        r#"{"request":"turn","index":3,"measured":false,"length":{"operations":20}}"#,
        r#"{"request":"profile-stop"}"#,
        r#"{"request":"finish","drop_turns":2}"#,
        r#"{"request":"prepare","target":"reference","workload":{"work":1},"settings":{},"load":{"mode":"closed","clients":1,"batch":1},"data_dir":"/d","seed":1,"longest_turn_ns":1,"slice_ns":0}"#,
    ]
    .map(str::to_owned)
    .to_vec()
}

#[test]
fn good_lines_are_requests_and_survive_a_round_trip() {
    for line in lines() {
        let request = read_request(&mut Cursor::new(format!("{line}\n"))).unwrap().unwrap();
        let written = serde_json::to_string(&request).unwrap();
        let again: Request = serde_json::from_str(&written).unwrap();
        assert_eq!(serde_json::to_value(&again).unwrap(), serde_json::to_value(&request).unwrap());
    }
    assert!(read_request(&mut Cursor::new("")).unwrap().is_none());
    assert!(read_request(&mut Cursor::new("{\"request\":\"hello\"")).unwrap_err().contains("middle of a line"));
    assert!(read_request(&mut Cursor::new("{\"request\":\"dance\"}\n")).unwrap_err().contains("unknown variant"));
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read_request(&mut Cursor::new(bytes));
    }

    #[test]
    fn damaged_lines_are_answered(line in prop::sample::select(lines()), at in any::<prop::sample::Index>(), byte: u8, cut: bool) {
        let mut bytes = line.into_bytes();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        bytes.push(b'\n');
        let _ = read_request(&mut Cursor::new(bytes));
    }
}
