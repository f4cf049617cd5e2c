//! Stands between the launcher and the engine, and changes what is said.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    thread,
};

/// What is done to a piece of what the engine says. Its length must stay.
pub type Change = fn(&mut [u8]);

trait Connection: Read + Write + Send + Sized + 'static {
    fn twin(&self) -> Self;
    fn end(&self);
}

impl Connection for UnixStream {
    fn twin(&self) -> Self {
        self.try_clone().unwrap()
    }
    fn end(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl Connection for std::net::TcpStream {
    fn twin(&self) -> Self {
        self.try_clone().unwrap()
    }
    fn end(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

fn pass(mut from: impl Connection, mut to: impl Connection, change: Change) {
    let mut buffer = [0; 64 << 10];
    while let Ok(read) = from.read(&mut buffer) {
        if read == 0 {
            break;
        }
        change(&mut buffer[..read]);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    to.end();
}

fn join(client: impl Connection, engine: &Path, change: Change) {
    let Ok(server) = UnixStream::connect(engine) else { return };
    let (from_client, to_server) = (client.twin(), server.twin());
    thread::spawn(move || pass(from_client, to_server, |_| {}));
    thread::spawn(move || pass(server, client, change));
}

/// Listens on a socket in front of the engine and returns its address.
pub fn on_socket(path: &Path, engine: &str, change: Change) -> String {
    let listener = UnixListener::bind(path).unwrap();
    let engine = Path::new(engine.strip_prefix("unix://").unwrap()).to_owned();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            join(client, &engine, change);
        }
    });
    format!("unix://{}", path.display())
}

/// Listens on a port of this machine in front of the engine and returns its address.
pub fn on_port(engine: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let engine = Path::new(engine.strip_prefix("unix://").unwrap()).to_owned();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            join(client, &engine, |_| {});
        }
    });
    format!("tcp://{address}")
}
