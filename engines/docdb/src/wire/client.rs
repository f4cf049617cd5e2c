//! A store in another process, reached over a fixed number of connections.

use std::{
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use super::{GREETING_BYTES, check_greeting, decode_answer, encode_request, greeting, read_frame, server::Stream};
use crate::{
    error::{StoreError, StoreErrorKind},
    store::{Reply, Request},
};

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(SocketAddr),
}

/// One connection to a server. Callers that share it wait for each other: it is held over the whole round trip.
pub struct RemoteStore {
    connection: Mutex<Connection>,
}

struct Connection {
    stream: Stream,
    out: Vec<u8>,
    frame: Vec<u8>,
}

fn failed(what: &str, error: &io::Error) -> StoreError {
    StoreError::new(what, StoreErrorKind::Io { kind: error.kind(), message: error.to_string() })
}

impl RemoteStore {
    /// Connects to the server at `address`.
    ///
    /// # Errors
    /// When nobody is there, or somebody who does not speak this protocol.
    pub fn connect(address: &Address) -> Result<Self, StoreError> {
        let what = format!("connecting to {address:?}");
        let greet = || -> io::Result<(Stream, [u8; GREETING_BYTES])> {
            let mut stream = Stream::connect(address)?;
            stream.write_all(&greeting())?;
            let mut hello = [0; GREETING_BYTES];
            stream.read_exact(&mut hello)?;
            Ok((stream, hello))
        };
        let (stream, hello) = greet().map_err(|error| failed(&what, &error))?;
        check_greeting(&hello).map_err(|why| StoreError::new(what, StoreErrorKind::Engine(why)))?;
        Ok(Self { connection: Mutex::new(Connection { stream, out: Vec::new(), frame: Vec::new() }) })
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// What the server answered, or that it could not be reached.
    pub fn call(&self, request: Request<'_>, document: &mut Vec<u8>) -> Result<Reply, StoreError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let Connection { stream, out, frame } = &mut *connection;
        out.clear();
        encode_request(&request, out);
        stream.write_all(out).map_err(|error| failed("sending a request", &error))?;
        match read_frame(stream, frame) {
            Ok(true) => decode_answer(frame, document),
            Ok(false) => Err(StoreError::new("waiting for an answer", StoreErrorKind::Closed)),
            Err(error) => Err(failed("waiting for an answer", &error)),
        }
    }
}
