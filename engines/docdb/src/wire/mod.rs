//! The protocol between a store and its clients in other processes, over a Unix socket or TCP.
//!
//! Little endian. A connection begins with the client's greeting, `"UDOC" | version u16 | 0 u16`, which the server
//! repeats. Then the client sends requests, one at a time, and the server answers each:
//!
//! - request: `length u32 | operation u8 | database u16 | id u64 | document`;
//! - answer: `length u32 | status u8 | document or message`.
//!
//! A length counts what follows it. What breaks these rules ends the connection with an answer that says why.

mod client;
mod server;

use std::io;

pub use client::{Address, RemoteStore};
pub use server::{Server, Transport};

use crate::{
    error::{StoreError, StoreErrorKind},
    store::{DOCUMENT_BYTES_MAX, Operation, Reply, Request},
};

/// The protocol's version.
pub const VERSION: u16 = 1;
/// Bytes of a greeting.
pub const GREETING_BYTES: usize = 8;
const REQUEST_HEADER_BYTES: usize = 11;
/// The most that a length may say.
pub const FRAME_BYTES_MAX: usize = REQUEST_HEADER_BYTES + DOCUMENT_BYTES_MAX;

/// The greeting of this version.
pub fn greeting() -> [u8; GREETING_BYTES] {
    let mut bytes = *b"UDOC\0\0\0\0";
    bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

/// Checks the greeting of the other side.
///
/// # Errors
/// A sentence with what is wrong.
pub fn check_greeting(bytes: &[u8; GREETING_BYTES]) -> Result<(), String> {
    if &bytes[..4] != b"UDOC" {
        return Err("the other side does not speak this protocol".to_owned());
    }
    let version = u16::from_le_bytes([bytes[4], bytes[5]]);
    if version != VERSION || bytes[6..] != [0, 0] {
        return Err(format!("the other side speaks version {version} of the protocol, this side {VERSION}"));
    }
    Ok(())
}

/// Appends a request's frame.
pub fn encode_request(request: &Request<'_>, to: &mut Vec<u8>) {
    to.extend_from_slice(&((REQUEST_HEADER_BYTES + request.document.len()) as u32).to_le_bytes());
    to.push(request.operation as u8);
    to.extend_from_slice(&request.database.to_le_bytes());
    to.extend_from_slice(&request.id.to_le_bytes());
    to.extend_from_slice(request.document);
}

/// Reads a request from a frame without its length.
///
/// # Errors
/// A sentence with what is wrong.
pub fn decode_request(frame: &[u8]) -> Result<Request<'_>, String> {
    let Some((header, document)) = frame.split_first_chunk::<REQUEST_HEADER_BYTES>() else {
        return Err(format!("a request has at least {REQUEST_HEADER_BYTES} bytes, not {}", frame.len()));
    };
    let Some(operation) = Operation::from_code(header[0]) else {
        return Err(format!("there is no operation {}", header[0]));
    };
    let id = header[3..11].try_into().map_or(0, u64::from_le_bytes);
    Ok(Request { operation, database: u16::from_le_bytes([header[1], header[2]]), id, document })
}

/// Appends the frame of an answer.
pub fn encode_answer(result: &Result<Reply, StoreError>, document: &[u8], to: &mut Vec<u8>) {
    let start = to.len();
    to.extend_from_slice(&[0; 4]);
    match result {
        Ok(reply) => {
            to.push(*reply as u8);
            to.extend_from_slice(document);
        }
        Err(error) => {
            to.push(error_code(&error.kind));
            to.extend_from_slice(error.to_string().as_bytes());
        }
    }
    let length = (to.len() - start - 4) as u32;
    to[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Reads an answer from a frame without its length; a document goes to `document`.
///
/// # Errors
/// What the server said, or that it said nothing that can be understood.
pub fn decode_answer(frame: &[u8], document: &mut Vec<u8>) -> Result<Reply, StoreError> {
    document.clear();
    let Some((&status, rest)) = frame.split_first() else {
        return Err(protocol("an empty answer"));
    };
    let reply = match status {
        0 => Reply::Done,
        1 => Reply::Conflict,
        2 => Reply::NotFound,
        code => {
            let message = String::from_utf8_lossy(rest).into_owned();
            let kind = match code {
                16 => StoreErrorKind::QueueFull { limit: 0 },
                17 => StoreErrorKind::Refused(message.clone()),
                18..=22 => StoreErrorKind::Engine(message.clone()),
                _ => return Err(protocol(&format!("an answer of unknown status {code}"))),
            };
            return Err(StoreError::new(if code == 16 { message } else { "the server answered".to_owned() }, kind));
        }
    };
    document.extend_from_slice(rest);
    Ok(reply)
}

const fn error_code(kind: &StoreErrorKind) -> u8 {
    match kind {
        StoreErrorKind::QueueFull { .. } => 16,
        StoreErrorKind::Refused(_) => 17,
        StoreErrorKind::Corrupt { .. } => 18,
        StoreErrorKind::Io { .. } => 19,
        StoreErrorKind::Failed(_) => 20,
        StoreErrorKind::Closed => 21,
        StoreErrorKind::Engine(_) | StoreErrorKind::Unavailable { .. } => 22,
    }
}

fn protocol(what: &str) -> StoreError {
    StoreError::new("talking to the server", StoreErrorKind::Engine(what.to_owned()))
}

/// Reads one frame into `frame`, without its length; false where the other side has closed the connection.
///
/// # Errors
/// `InvalidData` for a length beyond [`FRAME_BYTES_MAX`]; else what the system says.
pub fn read_frame(from: &mut impl io::Read, frame: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; 4];
    match from.read(&mut length)? {
        0 => return Ok(false),
        4 => {}
        read => from.read_exact(&mut length[read..])?,
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > FRAME_BYTES_MAX {
        let why = format!("a frame has at most {FRAME_BYTES_MAX} bytes, this one says {length}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    frame.clear();
    frame.resize(length, 0);
    from.read_exact(frame)?;
    Ok(true)
}
