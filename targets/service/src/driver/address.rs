//! Where a service is, and what a client must know to get in.

use std::path::PathBuf;

use crate::protocol::Protocol;

/// The end that is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Host and port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

/// An address with everything around it.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// Where.
    pub endpoint: Endpoint,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// Who asks, where that is asked for.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// The database (PostgreSQL: its name; Redis: its number).
    pub database: Option<String>,
    /// What stands before every path (HTTP).
    pub base: String,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The password is nobody's business.
        write!(f, "Address({self})")
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.endpoint {
            Endpoint::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Endpoint::Tcp(host, port) => write!(f, "{host}:{port}"),
            Endpoint::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Address {
    /// A port of this machine.
    pub fn local(port: u16) -> Self {
        Self::of(Endpoint::Tcp("127.0.0.1".to_owned(), port))
    }

    /// An end without anything around it.
    pub fn of(endpoint: Endpoint) -> Self {
        Self { endpoint, tls: false, user: None, password: None, database: None, base: String::new() }
    }

    /// The host's name, where there is one.
    pub fn host(&self) -> &str {
        match &self.endpoint {
            Endpoint::Tcp(host, _) => host,
            Endpoint::Unix(_) => "localhost",
        }
    }

    /// Reads `scheme://user:password@host:port/rest`; PostgreSQL takes its socket's folder as `?host=/folder` too.
    ///
    /// # Errors
    /// A sentence that does not repeat the password.
    pub fn parse(url: &str, protocol: Protocol) -> Result<Self, String> {
        let (schemes, default_port): (&[&str], Option<u16>) = match protocol {
            Protocol::Redis => (&["redis", "rediss", "unix"], Some(6379)),
            Protocol::Http => (&["http", "https"], None),
            Protocol::Postgres => (&["postgres", "postgresql"], Some(5432)),
            Protocol::Lines | Protocol::Helper => (&["tcp", "unix", "http", "https", "redis", "postgres"], None),
        };
        let form = || format!("write `{}://host:port`", schemes[0]);
        let (scheme, rest) = url.split_once("://").ok_or_else(|| format!("the URL has no `://`; {}", form()))?;
        if !schemes.contains(&scheme) {
            return Err(format!("`{scheme}://` is not for this protocol; {}", form()));
        }
        if scheme == "unix" {
            return Ok(Self::of(Endpoint::Unix(PathBuf::from(rest))));
        }
        let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, query)| (rest, query));
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (login, place) = authority.rsplit_once('@').map_or(("", authority), |(login, place)| (login, place));
        let (user, password) = login.split_once(':').map_or((login, None), |(user, word)| (user, Some(word)));
        let default_port = default_port.or(match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        });
        let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => place.rsplit_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            Some(port) => port.parse().map_err(|_| format!("`{port}` is no port; {}", form()))?,
            None => default_port.ok_or_else(|| format!("the URL has no port; {}", form()))?,
        };
        let unix = query.split('&').find_map(|pair| pair.strip_prefix("host=")).map(percent_decoded);
        let endpoint = match unix {
            Some(folder) if folder.starts_with('/') => {
                Endpoint::Unix(PathBuf::from(format!("{folder}/.s.PGSQL.{port}")))
            }
            _ if host.is_empty() => return Err(format!("the URL has no host; {}", form())),
            _ => Endpoint::Tcp(host.to_owned(), port),
        };
        let named = |text: &str| Some(percent_decoded(text)).filter(|text| !text.is_empty());
        Ok(Self {
            endpoint,
            tls: matches!(scheme, "https" | "rediss")
                || query
                    .split('&')
                    .any(|pair| matches!(pair, "sslmode=require" | "sslmode=verify-full" | "sslmode=verify-ca")),
            user: named(user),
            password: password.and_then(named),
            database: named(path.trim_start_matches('/')).filter(|_| protocol != Protocol::Http),
            base: if protocol == Protocol::Http { path.trim_end_matches('/').to_owned() } else { String::new() },
        })
    }

    /// Reads what libpq reads: `host='…' port=… user=… dbname=…`.
    pub fn of_postgres(connection: &str) -> Result<Self, String> {
        if connection.contains("://") {
            return Self::parse(connection, Protocol::Postgres);
        }
        let mut pairs = std::collections::BTreeMap::new();
        let mut rest = connection.trim();
        while let Some((name, value)) = rest.split_once('=') {
            let value = value.trim_start();
            let (text, behind) = match value.strip_prefix('\'') {
                None => {
                    value.split_once(char::is_whitespace).map_or((value.to_owned(), ""), |(a, b)| (a.to_owned(), b))
                }
                Some(quoted) => {
                    let mut text = String::new();
                    let mut characters = quoted.char_indices();
                    let mut end = quoted.len();
                    while let Some((at, character)) = characters.next() {
                        match character {
                            '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
                            '\'' => {
                                end = at + 1;
                                break;
                            }
                            other => text.push(other),
                        }
                    }
                    (text, &quoted[end..])
                }
            };
            pairs.insert(name.trim().to_owned(), text);
            rest = behind.trim_start();
        }
        let port = pairs.get("port").map_or(Ok(5432), |port| port.parse::<u16>());
        let port = port.map_err(|_| "the port of the connection string is no number".to_owned())?;
        let host = pairs.remove("host").unwrap_or_else(|| "localhost".to_owned());
        let endpoint = if host.starts_with('/') {
            Endpoint::Unix(PathBuf::from(format!("{host}/.s.PGSQL.{port}")))
        } else {
            Endpoint::Tcp(host, port)
        };
        Ok(Self {
            user: pairs.remove("user"),
            password: pairs.remove("password"),
            database: pairs.remove("dbname"),
            ..Self::of(endpoint)
        })
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let code = behind.get(..2).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        match (first, code) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let address = Address::parse("https://u:p%40ss@example:8443/base/", Protocol::Http).unwrap();
        assert_eq!(address.endpoint, Endpoint::Tcp("example".into(), 8443));
        assert_eq!((address.tls, address.base.as_str()), (true, "/base"));
        assert_eq!((address.user.as_deref(), address.password.as_deref()), (Some("u"), Some("p@ss")));
        assert!(!format!("{address:?}").contains("ss@"), "the password is not shown");
        let address = Address::parse("redis://[::1]/2", Protocol::Redis).unwrap();
        assert_eq!((address.to_string().as_str(), address.database.as_deref()), ("[::1]:6379", Some("2")));
        let address = Address::parse("postgres://me@localhost:5432/db?host=%2Ftmp%2Fx", Protocol::Postgres).unwrap();
        assert_eq!(address.endpoint, Endpoint::Unix("/tmp/x/.s.PGSQL.5432".into()));
        for (url, said) in [
            ("localhost:1", "no `://`"),
            ("ftp://x:1", "not for this protocol"),
            ("http://x:port", "is no port"),
            ("http://:1", "no host"),
        ] {
            assert!(Address::parse(url, Protocol::Http).unwrap_err().contains(said), "{url}");
        }
        assert!(Address::parse("tcp://x", Protocol::Lines).unwrap_err().contains("no port"));
    }

    #[test]
    fn connection_strings_are_read() {
        let address = Address::of_postgres(r"host='/a b\'c' port=5433 user=postgres dbname=postgres").unwrap();
        assert_eq!(address.endpoint, Endpoint::Unix("/a b'c/.s.PGSQL.5433".into()));
        assert_eq!((address.user.as_deref(), address.database.as_deref()), (Some("postgres"), Some("postgres")));
    }
}
