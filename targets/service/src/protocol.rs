//! What services speak, and how connections to them are made.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What services speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// RESP, as Redis and its relatives speak it.
    Redis,
    /// HTTP/1.1 with keep-alive, or HTTP/2, as `http` says.
    Http,
    /// PostgreSQL's protocol 3.
    Postgres,
    /// One line of text, answered by one line.
    Lines,
    /// A client program in any language, asked by JSON lines on a pipe.
    Helper,
}

/// Versions of HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HttpVersion {
    /// One request after the other on each connection.
    #[default]
    #[serde(rename = "1.1")]
    One,
    /// Streams of one connection: by agreement within TLS (ALPN), without TLS by knowing beforehand (h2c).
    #[serde(rename = "2")]
    Two,
}

/// How statements are sent to PostgreSQL, in pgbench's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum QueryMode {
    /// As text with its values.
    Simple,
    /// Parsed anew each time, values apart.
    Extended,
    /// Parsed once for each connection.
    #[default]
    Prepared,
}

/// Encrypted connections.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Whether connections are encrypted; those of an `https` or `rediss` URL are in any case.
    pub on: bool,
    /// A file of certificates that are trusted, beside those of the system. `{data}` is filled in.
    pub ca: Option<String>,
    /// The name that the certificate must have; absent: the host's.
    pub name: Option<String>,
    /// Whether any certificate is taken.
    pub insecure: bool,
}
