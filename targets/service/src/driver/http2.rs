//! HTTP/2: the crate `h2` on a runtime of each connection's own, which runs while its thread asks or waits.
//!
//! With TLS both sides agree on the version (ALPN); without it the service must know (h2c, "prior knowledge"). Requests that
//! are sent together are streams of one connection. A service may close a connection between two requests; what it says not
//! to have begun is sent again over a new connection, once.

use std::{collections::VecDeque, future::poll_fn, io, pin::Pin, sync::Arc};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    runtime::Runtime,
    time::timeout,
};

use super::{
    Answer, AnswerKind, Connection, Driver, Fault, Options, Request,
    address::Endpoint,
    http as http1,
    stream::{ANSWER_BYTES_MAX, handshake_failed, tcp, tls_configuration, tls_name},
};
use crate::template::{Template, Values};

/// What is offered within TLS.
const OFFERED: &[u8] = b"\x02h2";
/// What a service may send before it is read: answers to a whole batch wait until they are taken.
const WINDOW_BYTES: u32 = 16 << 20;

/// A request: its path, its headers, its body.
struct Compiled {
    method: Method,
    path: Template,
    headers: Vec<(HeaderName, Template)>,
    body: Option<Template>,
}

/// Connections that speak HTTP/2.
pub struct Http2 {
    requests: Arc<Vec<Compiled>>,
    options: Options,
}

impl Http2 {
    pub(super) fn new(requests: &[Request], names: &[String], options: &Options) -> Result<Self, String> {
        let compiled = http1::with_login_and_base(requests, options).map(|request| compile(&request, names));
        Ok(Self { requests: Arc::new(compiled.collect::<Result<_, _>>()?), options: options.clone() })
    }
}

fn compile(request: &Request, names: &[String]) -> Result<Compiled, String> {
    // Its rules are those of version 1.1.
    http1::compile(request, names, "")?;
    let (method, path) = request.send.trim().split_once(' ').unwrap_or_default();
    let header = |(name, value): (&String, &String)| {
        let known = name.parse::<HeaderName>().map_err(|error| format!("`{name}` cannot be a header: {error}"))?;
        Ok((known, Template::compile(value, names)?))
    };
    Ok(Compiled {
        method: method.parse().map_err(|_| format!("`{method}` is no method"))?,
        path: Template::compile(path.trim(), names)?,
        headers: request.headers.iter().map(header).collect::<Result<_, String>>()?,
        body: request.body.as_deref().map(|body| Template::compile(body, names)).transpose()?,
    })
}

impl Driver for Http2 {
    fn connect(&self, _index: usize) -> Result<Box<dyn Connection>, Fault> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Fault::Closed(format!("a runtime for HTTP/2 could not be made: {error}")))?;
        let sender = open(&runtime, &self.options)?;
        let tls = self.options.address.tls || self.options.tls.on;
        Ok(Box::new(Http2Connection {
            scheme_and_host: format!("{}://{}", if tls { "https" } else { "http" }, http1::host(&self.options)),
            requests: Arc::clone(&self.requests),
            options: self.options.clone(),
            sender: Some(sender),
            waiting: VecDeque::new(),
            answered: 0,
            filled: Vec::new(),
            body: Vec::new(),
            runtime,
        }))
    }
}

/// A socket of any kind.
trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// Connects, and has the runtime drive the connection.
fn open(runtime: &Runtime, options: &Options) -> Result<SendRequest<Bytes>, Fault> {
    let opening = async {
        let socket = socket(options).await?;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(WINDOW_BYTES).initial_connection_window_size(4 * WINDOW_BYTES).enable_push(false);
        let (sender, connection) =
            builder.handshake::<_, Bytes>(socket).await.map_err(|error| fault(&error, options, true))?;
        // What becomes of it the streams are told.
        tokio::spawn(connection);
        Ok(sender)
    };
    runtime.block_on(async { timeout(options.timeout, opening).await }).unwrap_or(Err(Fault::Timeout(options.timeout)))
}

async fn socket(options: &Options) -> Result<Box<dyn Socket>, Fault> {
    let failed = |error: io::Error| Fault::Closed(format!("could not connect to {}: {error}", options.address));
    let encrypted = options.address.tls || options.tls.on;
    let stream = match &options.address.endpoint {
        Endpoint::Unix(_) if encrypted => {
            return Err(Fault::Denied("a Unix socket is not encrypted; leave `tls` out".to_owned()));
        }
        Endpoint::Unix(path) => {
            return Ok(Box::new(tokio::net::UnixStream::connect(path).await.map_err(failed)?));
        }
        Endpoint::Tcp(host, port) => tcp(host, *port, options)?,
    };
    stream.set_nonblocking(true).map_err(failed)?;
    let stream = tokio::net::TcpStream::from_std(stream).map_err(failed)?;
    if !encrypted {
        return Ok(Box::new(stream));
    }
    let denied = |error: openssl::error::ErrorStack| Fault::Denied(format!("TLS with {}: {error}", options.address));
    let ssl = tls_configuration(options, OFFERED)?.into_ssl(tls_name(options)).map_err(denied)?;
    let mut stream = tokio_openssl::SslStream::new(ssl, stream).map_err(denied)?;
    let refused = || {
        Fault::Denied(format!(
            "{} does not speak HTTP/2: it did not agree on `h2` within TLS; leave `http = \"2\"` out",
            options.address
        ))
    };
    if let Err(error) = Pin::new(&mut stream).connect().await {
        // Some say so by an alert, others agree on nothing.
        let no_protocol = error.to_string().contains("no application protocol");
        return Err(if no_protocol { refused() } else { handshake_failed(options, stream.ssl(), &error) });
    }
    if stream.ssl().selected_alpn_protocol() != Some(b"h2") {
        return Err(refused());
    }
    Ok(Box::new(stream))
}

/// What an error of the protocol is. On a `fresh` connection a service that speaks something else is the likely cause.
fn fault(error: &h2::Error, options: &Options, fresh: bool) -> Fault {
    if error.is_io() {
        return Fault::Closed(format!("the connection ended: {error}"));
    }
    if error.is_go_away() && error.is_remote() {
        return Fault::Closed(format!("the service closed the connection: {error}"));
    }
    if error.is_reset() && error.is_remote() {
        return Fault::Closed(format!("the service gave the request up: {error}"));
    }
    let hint = if fresh { format!("; does {} speak HTTP/2?", options.address) } else { String::new() };
    Fault::Garbage(format!("{error}{hint}"))
}

/// Whether the service says, or the end of the connection shows, that a request was not begun.
fn not_begun(error: &h2::Error, answered: u64) -> bool {
    error.reason() == Some(h2::Reason::REFUSED_STREAM)
        || answered > 0 && (error.is_io() || error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR))
}

/// A request that was sent: what it takes to send it again, and its answer to come.
struct Waiting {
    request: http::Request<()>,
    body: Option<Bytes>,
    response: Option<ResponseFuture>,
}

struct Http2Connection {
    scheme_and_host: String,
    requests: Arc<Vec<Compiled>>,
    options: Options,
    /// `None`: the service has closed the connection.
    sender: Option<SendRequest<Bytes>>,
    waiting: VecDeque<Waiting>,
    /// Answers on this connection.
    answered: u64,
    filled: Vec<u8>,
    body: Vec<u8>,
    runtime: Runtime,
}

impl Http2Connection {
    fn fill(&mut self, request: usize, values: &Values) -> Result<Waiting, Fault> {
        let compiled = &self.requests[request];
        let wrong = |what: &str| Fault::Denied(format!("a parameter makes no {what} of HTTP"));
        self.filled.clear();
        self.filled.extend_from_slice(self.scheme_and_host.as_bytes());
        compiled.path.fill(values, &mut self.filled);
        let mut filled = http::Request::new(());
        *filled.method_mut() = compiled.method.clone();
        *filled.uri_mut() = Uri::try_from(self.filled.as_slice()).map_err(|_| wrong("path"))?;
        *filled.version_mut() = http::Version::HTTP_2;
        let mut headers = HeaderMap::with_capacity(compiled.headers.len());
        for (name, value) in &compiled.headers {
            self.filled.clear();
            value.fill(values, &mut self.filled);
            headers.append(name, HeaderValue::from_bytes(&self.filled).map_err(|_| wrong("header"))?);
        }
        let body = compiled.body.as_ref().map(|body| {
            let mut text = Vec::new();
            body.fill(values, &mut text);
            Bytes::from(text)
        });
        if let Some(body) = &body {
            headers.insert(http::header::CONTENT_LENGTH, body.len().into());
        }
        *filled.headers_mut() = headers;
        Ok(Waiting { request: filled, body, response: None })
    }

    /// Sends a request; `Err` with the error of the protocol.
    fn send(&mut self, waiting: &mut Waiting) -> Result<(), h2::Error> {
        let Some(sender) = self.sender.as_mut() else { return Err(h2::Reason::NO_ERROR.into()) };
        let (request, body) = (waiting.request.clone(), waiting.body.clone());
        self.runtime.block_on(async {
            poll_fn(|context| sender.poll_ready(context)).await?;
            let (response, mut stream) = sender.send_request(request, body.is_none())?;
            if let Some(body) = body {
                stream.send_data(body, true)?;
            }
            waiting.response = Some(response);
            Ok(())
        })
    }

    /// Opens a new connection and sends everything that waits again.
    fn again(&mut self) -> Result<(), Fault> {
        self.sender = Some(open(&self.runtime, &self.options)?);
        self.answered = 0;
        for mut waiting in std::mem::take(&mut self.waiting) {
            self.send(&mut waiting).map_err(|error| fault(&error, &self.options, true))?;
            self.waiting.push_back(waiting);
        }
        Ok(())
    }

    /// Reads the oldest answer into `body`; the outer error is that no answer came in time.
    fn receive(&mut self) -> Result<Result<u16, Received>, Fault> {
        let Some(response) = self.waiting.front_mut().and_then(|waiting| waiting.response.take()) else {
            return Err(Fault::Closed("nothing was asked".to_owned()));
        };
        let body = &mut self.body;
        body.clear();
        let receiving = async {
            let mut response = response.await.map_err(Received::Nothing)?;
            while let Some(part) = response.body_mut().data().await {
                let part = part.map_err(Received::Part)?;
                if body.len() + part.len() > ANSWER_BYTES_MAX {
                    return Err(Received::TooMuch);
                }
                body.extend_from_slice(&part);
                response.body_mut().flow_control().release_capacity(part.len()).map_err(Received::Part)?;
            }
            Ok(response.status().as_u16())
        };
        let limit = self.options.timeout;
        self.runtime.block_on(async { timeout(limit, receiving).await }).map_err(|_| Fault::Timeout(limit))
    }
}

/// How an answer failed to come.
enum Received {
    /// Before its head.
    Nothing(h2::Error),
    /// After it.
    Part(h2::Error),
    /// It does not end.
    TooMuch,
}

impl Connection for Http2Connection {
    fn put(&mut self, request: usize, values: &Values) -> Result<(), Fault> {
        let mut waiting = self.fill(request, values)?;
        match self.send(&mut waiting) {
            Ok(()) => {
                self.waiting.push_back(waiting);
                Ok(())
            }
            Err(error) if not_begun(&error, self.answered) && self.waiting.is_empty() => {
                self.waiting.push_back(waiting);
                self.again()
            }
            Err(error) => Err(fault(&error, &self.options, self.answered == 0)),
        }
    }

    fn flush(&mut self) -> Result<(), Fault> {
        // Streams are written while their answers are waited for.
        Ok(())
    }

    fn take(&mut self) -> Result<Answer<'_>, Fault> {
        let mut received = self.receive()?;
        if let Err(Received::Nothing(error)) = &received
            && not_begun(error, self.answered)
        {
            self.again()?;
            received = self.receive()?;
        }
        let fresh = self.answered == 0;
        let status = received.map_err(|error| match error {
            Received::Nothing(error) | Received::Part(error) => fault(&error, &self.options, fresh),
            Received::TooMuch => Fault::Garbage(format!("an answer of more than {ANSWER_BYTES_MAX} bytes")),
        })?;
        self.answered += 1;
        self.waiting.pop_front();
        Ok(Answer { kind: AnswerKind::Status(status), body: &self.body, rows: 1 })
    }
}
