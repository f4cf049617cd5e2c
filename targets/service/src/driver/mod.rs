//! Drivers: one file for each protocol, behind one trait.
//!
//! A driver compiles the requests of a scenario once and opens connections; a connection belongs to one client thread,
//! writes requests into a buffer, sends them together, and reads the answers in order. It does not choose, time or judge
//! anything. Sockets block: a client of the load is a thread, and a thread that waits costs less than a runtime.

pub mod address;
pub mod helper;
pub mod http;
pub mod http2;
pub mod lines;
pub mod postgres;
pub mod redis;
pub mod stream;

use std::{collections::BTreeMap, time::Duration};

use crate::{
    expect::{CONNECTION, Expect, TIMEOUT, UNEXPECTED},
    leaves::Leaves,
    protocol::{Protocol, QueryMode, Tls},
    template::Values,
};

pub use crate::answer::{Answer, AnswerKind};
pub use address::Address;

/// One request as a scenario writes it.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The operation it belongs to, for drivers that say it.
    pub name: String,
    /// A command, `GET /path`, a statement, a line.
    pub send: String,
    /// Of an HTTP request.
    pub body: Option<String>,
    /// Of an HTTP request.
    pub headers: BTreeMap<String, String>,
    /// When its answer is a success.
    pub expect: Expect,
    /// What it leaves, where that does not follow from its command.
    pub leaves: Vec<Leaves>,
}

impl Request {
    /// A request without anything around it.
    pub fn plain(send: impl Into<String>) -> Self {
        Self { send: send.into(), ..Self::default() }
    }
}

/// What all connections of a driver share.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the service is.
    pub address: Address,
    /// The longest that one answer may take.
    pub timeout: Duration,
    /// Of PostgreSQL.
    pub query_mode: QueryMode,
    /// Of encrypted connections.
    pub tls: Tls,
    /// Whether HTTP is its version 2.
    pub http2: bool,
    /// The program of the protocol `helper`, its placeholders filled.
    pub helper: Option<String>,
}

/// Why there is no answer. The connection is of no more use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No answer in time.
    Timeout(Duration),
    /// The connection ended, or could not be opened.
    Closed(String),
    /// What came is not of the protocol.
    Garbage(String),
    /// It makes no sense to try again: a certificate that is not trusted, a password that is wrong.
    Denied(String),
}

impl Fault {
    /// The failure category of the operation.
    pub fn category(&self) -> u8 {
        match self {
            Self::Timeout(_) => TIMEOUT,
            Self::Closed(_) => CONNECTION,
            Self::Garbage(_) | Self::Denied(_) => UNEXPECTED,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Timeout(after) => write!(f, "no answer within {after:?}"),
            Self::Closed(why) | Self::Denied(why) => f.write_str(why),
            Self::Garbage(what) => write!(f, "the answer is not of the protocol: {what}"),
        }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Closed(format!("the connection ended: {error}"))
    }
}

/// Opens connections to one service.
pub trait Driver: Send + Sync {
    /// A new connection for client `index`.
    ///
    /// # Errors
    /// Why there is none.
    fn connect(&self, index: usize) -> Result<Box<dyn Connection>, Fault>;
}

/// One connection, used by one thread.
pub trait Connection: Send {
    /// Writes request number `request` behind those that wait to be sent.
    ///
    /// # Errors
    /// The connection is of no more use.
    fn put(&mut self, request: usize, values: &Values) -> Result<(), Fault>;

    /// Sends what waits.
    ///
    /// # Errors
    /// The connection is of no more use.
    fn flush(&mut self) -> Result<(), Fault>;

    /// Waits for the answer to the oldest request that has none.
    ///
    /// # Errors
    /// The connection is of no more use.
    fn take(&mut self) -> Result<Answer<'_>, Fault>;

    /// Sends request number `request` and waits for its answer.
    ///
    /// # Errors
    /// The connection is of no more use.
    fn ask(&mut self, request: usize, values: &Values) -> Result<Answer<'_>, Fault> {
        self.put(request, values)?;
        self.flush()?;
        self.take()
    }
}

/// Whether `requests` can be compiled; `names` are those of the parameters.
///
/// # Errors
/// The number of the request that cannot, and why.
pub fn check(protocol: Protocol, requests: &[Request], names: &[String]) -> Result<(), (usize, String)> {
    let compiles = |request: &Request| match protocol {
        Protocol::Redis => redis::compile(request, names).map(drop),
        Protocol::Http => http::compile(request, names, "").map(drop),
        Protocol::Postgres => postgres::statement::Statement::compile(&request.send, names).map(drop),
        Protocol::Lines => lines::compile(request, names).map(drop),
        Protocol::Helper => helper::compile(request, names).map(drop),
    };
    requests.iter().enumerate().try_for_each(|(index, request)| compiles(request).map_err(|why| (index, why)))
}

/// The driver of `protocol` for these requests.
///
/// # Errors
/// A request that cannot be compiled.
pub fn open(
    protocol: Protocol,
    requests: &[Request],
    names: &[String],
    options: &Options,
) -> Result<Box<dyn Driver>, String> {
    Ok(match protocol {
        Protocol::Redis => Box::new(redis::Redis::new(requests, names, options)?),
        Protocol::Http if options.http2 => Box::new(http2::Http2::new(requests, names, options)?),
        Protocol::Http => Box::new(http::Http::new(requests, names, options)?),
        Protocol::Postgres => Box::new(postgres::Postgres::new(requests, names, options)?),
        Protocol::Lines => Box::new(lines::Lines::new(requests, names, options)?),
        Protocol::Helper => Box::new(helper::Helper::new(requests, names, options)?),
    })
}

/// Asks once, over a connection of its own: the words of the answer.
///
/// # Errors
/// A sentence: what was asked and why there is no answer.
pub fn ask_once(protocol: Protocol, send: &str, options: &Options) -> Result<String, String> {
    let refused = |why: String| format!("`{send}`: {why}");
    let driver = open(protocol, &[Request::plain(send)], &[], options).map_err(refused)?;
    let mut connection = driver.connect(0).map_err(|fault| refused(fault.to_string()))?;
    let answer = connection.ask(0, &Values::new()).map_err(|fault| refused(fault.to_string()))?;
    let text = String::from_utf8_lossy(answer.body).into_owned();
    match answer.kind {
        AnswerKind::Ok | AnswerKind::Empty | AnswerKind::Status(200..300) => Ok(text),
        AnswerKind::Status(status) => Err(refused(format!("status {status}"))),
        AnswerKind::Refused | AnswerKind::Conflict => Err(refused(text)),
    }
}
