//! A connected socket, plain or encrypted, and the bytes that came of it.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use openssl::ssl::{ConnectConfiguration, HandshakeError, SslConnector, SslMethod, SslRef, SslStream, SslVerifyMode};

use super::{Fault, Options, address::Endpoint};

/// The longest answer that is read: a service that sends more has lost its way.
pub const ANSWER_BYTES_MAX: usize = 256 << 20;
/// What is asked of the system at once.
const READ_BYTES: usize = 16 << 10;

/// A connected socket.
#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<SslStream<TcpStream>>),
}

/// A connection with what was read from it and not used yet.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    timeout: Duration,
    buffer: Vec<u8>,
    /// Where the unused part of the buffer begins.
    start: usize,
}

impl Stream {
    /// Connects, without encryption.
    ///
    /// # Errors
    /// Why there is no connection.
    pub fn connect_plain(options: &Options) -> Result<Self, Fault> {
        let failed = |error: io::Error| Fault::Closed(format!("could not connect to {}: {error}", options.address));
        let timeout = Some(options.timeout);
        let socket = match &options.address.endpoint {
            Endpoint::Tcp(host, port) => {
                let stream = tcp(host, *port, options)?;
                stream.set_read_timeout(timeout).and_then(|()| stream.set_write_timeout(timeout)).map_err(failed)?;
                Socket::Tcp(stream)
            }
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path).map_err(failed)?;
                stream.set_read_timeout(timeout).and_then(|()| stream.set_write_timeout(timeout)).map_err(failed)?;
                Socket::Unix(stream)
            }
        };
        Ok(Self { socket, timeout: options.timeout, buffer: Vec::new(), start: 0 })
    }

    /// Connects, encrypted where the address or the scenario says so.
    ///
    /// # Errors
    /// Why there is no connection.
    pub fn connect(options: &Options) -> Result<Self, Fault> {
        let plain = Self::connect_plain(options)?;
        if options.address.tls || options.tls.on { plain.encrypted(options) } else { Ok(plain) }
    }

    /// Encrypts from here on.
    ///
    /// # Errors
    /// A certificate that is not trusted, or whatever else kept both from agreeing.
    pub fn encrypted(self, options: &Options) -> Result<Self, Fault> {
        let Socket::Tcp(socket) = self.socket else {
            return Err(Fault::Denied("a Unix socket is not encrypted; leave `tls` out".to_owned()));
        };
        let name = tls_name(options);
        let stream = tls_configuration(options, &[])?.connect(name, socket).map_err(|error| match &error {
            HandshakeError::Failure(failed) => handshake_failed(options, failed.ssl(), failed.error()),
            _ => tls_denied(options, "the handshake failed", &error),
        })?;
        Ok(Self {
            socket: Socket::Tls(Box::new(stream)),
            timeout: self.timeout,
            buffer: self.buffer,
            start: self.start,
        })
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// The connection ended, or took nothing in time.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let sent = match &mut self.socket {
            Socket::Tcp(stream) => stream.write_all(bytes),
            Socket::Unix(stream) => stream.write_all(bytes),
            Socket::Tls(stream) => stream.write_all(bytes),
        };
        sent.map_err(|error| self.fault(error))
    }

    /// What was read and not used.
    pub fn unused(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// The first `bytes` of what was read, and makes them used.
    pub fn consume(&mut self, bytes: usize) -> &[u8] {
        let from = self.start;
        self.start += bytes;
        &self.buffer[from..self.start]
    }

    /// Reads more, at least one byte.
    ///
    /// # Errors
    /// The connection ended, or nothing came in time.
    pub fn read_more(&mut self) -> Result<(), Fault> {
        match self.read_some()? {
            0 => Err(Fault::Closed("the service closed the connection".to_owned())),
            _ => Ok(()),
        }
    }

    /// Reads more; 0 bytes: the end.
    ///
    /// # Errors
    /// Nothing came in time, or the connection broke.
    pub fn read_some(&mut self) -> Result<usize, Fault> {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        } else if self.start >= READ_BYTES {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        if self.buffer.len() > ANSWER_BYTES_MAX {
            return Err(Fault::Garbage(format!("an answer of more than {ANSWER_BYTES_MAX} bytes")));
        }
        let filled = self.buffer.len();
        // What was there before is left in place: only the part beyond it is written, once it has grown.
        let room = READ_BYTES.max(filled);
        self.buffer.resize(filled + room, 0);
        let read = loop {
            let into = &mut self.buffer[filled..];
            let read = match &mut self.socket {
                Socket::Tcp(stream) => stream.read(into),
                Socket::Unix(stream) => stream.read(into),
                Socket::Tls(stream) => stream.read(into),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(filled + *read.as_ref().unwrap_or(&0));
        read.map_err(|error| self.fault(error))
    }

    /// Reads until `bytes` are there.
    ///
    /// # Errors
    /// As [`Stream::read_more`].
    pub fn need(&mut self, bytes: usize) -> Result<(), Fault> {
        if bytes > ANSWER_BYTES_MAX {
            return Err(Fault::Garbage(format!("an answer of {bytes} bytes")));
        }
        while self.unused().len() < bytes {
            self.read_more()?;
        }
        Ok(())
    }

    /// Reads to the end of a line and returns it without its end.
    ///
    /// # Errors
    /// As [`Stream::read_more`].
    pub fn line(&mut self) -> Result<&[u8], Fault> {
        let mut looked = 0;
        let end = loop {
            if let Some(at) = self.unused()[looked..].iter().position(|&byte| byte == b'\n') {
                break looked + at;
            }
            looked = self.unused().len();
            self.read_more()?;
        };
        let line = &self.consume(end + 1)[..end];
        Ok(line.strip_suffix(b"\r").unwrap_or(line))
    }

    fn fault(&self, error: io::Error) -> Fault {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Fault::Timeout(self.timeout),
            _ => error.into(),
        }
    }
}

/// A connected socket to host and port.
///
/// # Errors
/// Why there is none.
pub fn tcp(host: &str, port: u16, options: &Options) -> Result<TcpStream, Fault> {
    let failed = |error: io::Error| Fault::Closed(format!("could not connect to {}: {error}", options.address));
    let mut last = io::Error::other("the name has no address");
    for address in (host, port).to_socket_addrs().map_err(failed)? {
        match TcpStream::connect_timeout(&address, options.timeout) {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(failed)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

/// The name that a certificate must have.
pub fn tls_name(options: &Options) -> &str {
    options.tls.name.as_deref().unwrap_or(options.address.host())
}

/// How connections are encrypted; `protocols` are offered (ALPN) where there are some.
///
/// # Errors
/// Certificates that cannot be read.
pub fn tls_configuration(options: &Options, protocols: &[u8]) -> Result<ConnectConfiguration, Fault> {
    let set_up = |error| tls_denied(options, "could not be set up", &error);
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(set_up)?;
    if let Some(ca) = &options.tls.ca {
        builder
            .set_ca_file(ca)
            .map_err(|error| tls_denied(options, &format!("could not read the certificates of `{ca}`"), &error))?;
    }
    if options.tls.insecure {
        builder.set_verify(SslVerifyMode::NONE);
    }
    if !protocols.is_empty() {
        builder.set_alpn_protos(protocols).map_err(set_up)?;
    }
    let mut configuration = builder.build().configure().map_err(set_up)?;
    configuration.set_verify_hostname(!options.tls.insecure);
    Ok(configuration)
}

/// Why both did not agree: a certificate that is not trusted, or whatever else.
pub fn handshake_failed(options: &Options, ssl: &SslRef, error: &dyn std::fmt::Display) -> Fault {
    if ssl.verify_result() == openssl::x509::X509VerifyResult::OK {
        return tls_denied(options, "the handshake failed", error);
    }
    let (name, why) = (tls_name(options), ssl.verify_result().error_string());
    tls_denied(
        options,
        &format!("the certificate is not trusted for `{name}`: {why}"),
        &"name the authority with `tls.ca`, the right name with `tls.name`, or write `tls.insecure = true`",
    )
}

fn tls_denied(options: &Options, what: &str, error: &dyn std::fmt::Display) -> Fault {
    Fault::Denied(format!("TLS with {}: {what}: {error}", options.address))
}

/// The end of what a service said, fit for a sentence.
pub fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}
