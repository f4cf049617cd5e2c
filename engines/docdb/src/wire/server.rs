//! Serves a store on a socket: one thread for each connection.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use uplift_instrument::stage::thread as span;

use super::{Address, GREETING_BYTES, check_greeting, decode_request, encode_answer, greeting, read_frame};
use crate::{
    error::{StoreError, StoreErrorKind},
    stages,
    store::DocumentStore,
};

/// Where to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A Unix socket at this path, which must be free.
    Unix(PathBuf),
    /// A free port of the loopback interface.
    Tcp,
}

/// A server; dropping it ends it and its connections.
pub struct Server {
    address: Address,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    store: Arc<dyn DocumentStore>,
    stop: AtomicBool,
    connections: Mutex<Vec<(Stream, JoinHandle<()>)>>,
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    pub(super) fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Unix(path) => UnixStream::connect(path).map(Self::Unix),
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
        }
    }

    fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Unix(stream) => stream.try_clone().map(Self::Unix),
            Self::Tcp(stream) => stream.try_clone().map(Self::Tcp),
        }
    }

    fn shutdown(&self) {
        // It may be closed already.
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Listener {
    fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(listener) => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// Serves `store`.
    ///
    /// # Errors
    /// When the socket could not be opened.
    pub fn start(store: Arc<dyn DocumentStore>, transport: &Transport) -> Result<Self, StoreError> {
        let failed = |error: io::Error| {
            let kind = StoreErrorKind::Io { kind: error.kind(), message: error.to_string() };
            StoreError::new(format!("listening on {transport:?}"), kind)
        };
        let (listener, address) = match transport {
            Transport::Unix(path) => {
                (Listener::Unix(UnixListener::bind(path).map_err(failed)?), Address::Unix(path.clone()))
            }
            Transport::Tcp => {
                let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
                let address = Address::Tcp(listener.local_addr().map_err(failed)?);
                (Listener::Tcp(listener), address)
            }
        };
        let shared = Arc::new(Shared { store, stop: AtomicBool::new(false), connections: Mutex::default() });
        let accepting = Arc::clone(&shared);
        let acceptor = thread::Builder::new()
            .name("acceptor".to_owned())
            .spawn(move || accept(&listener, &accepting))
            .map_err(failed)?;
        Ok(Self { address, shared, acceptor: Some(acceptor) })
    }

    /// Where clients reach it.
    pub const fn address(&self) -> &Address {
        &self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // The acceptor looks at the flag when somebody comes.
        let _ = Stream::connect(&self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for (stream, thread) in lock(&self.shared.connections).drain(..) {
            stream.shutdown();
            let _ = thread.join();
        }
        if let Address::Unix(path) = &self.address {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn accept(listener: &Listener, shared: &Arc<Shared>) {
    while let Ok(stream) = listener.accept() {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(own) = stream.try_clone() else { continue };
        let store = Arc::clone(&shared.store);
        let serving = thread::Builder::new().name("connection".to_owned()).spawn(move || {
            let mut stream = own;
            // A client that breaks the rules or goes away ends its own connection only.
            let _ = serve(&mut stream, &*store);
            stream.shutdown();
        });
        let mut connections = lock(&shared.connections);
        connections.retain(|(_, thread)| !thread.is_finished());
        if let Ok(thread) = serving {
            connections.push((stream, thread));
        }
    }
}

fn serve(stream: &mut Stream, store: &dyn DocumentStore) -> io::Result<()> {
    span::attach("connection");
    let _queue = span::wait(stages::QUEUE);
    let mut hello = [0; GREETING_BYTES];
    stream.read_exact(&mut hello)?;
    if let Err(why) = check_greeting(&hello) {
        return refuse(stream, why);
    }
    stream.write_all(&greeting())?;
    let (mut frame, mut document, mut answer) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        match read_frame(stream, &mut frame) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return refuse(stream, error.to_string()),
            Err(error) => return Err(error),
        }
        let request = match decode_request(&frame) {
            Ok(request) => request,
            Err(why) => return refuse(stream, why),
        };
        let engine = span::process(stages::ENGINE);
        let result = store.apply(request, &mut document);
        drop(engine);
        let _reply = span::process(stages::REPLY);
        answer.clear();
        encode_answer(&result, &document, &mut answer);
        stream.write_all(&answer)?;
    }
}

/// Answers that a rule was broken; the connection ends.
fn refuse(stream: &mut Stream, why: String) -> io::Result<()> {
    let mut answer = Vec::new();
    let error = StoreError::new("reading the request", StoreErrorKind::Refused(why));
    encode_answer(&Err(error), &[], &mut answer);
    stream.write_all(&answer)
}
