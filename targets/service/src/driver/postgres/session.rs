//! One session: greeting, authentication, and messages in both directions.

use std::collections::BTreeMap;

use bytes::BytesMut;
use postgres_protocol::{
    IsNull,
    authentication::{
        md5_hash,
        sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256},
    },
    message::{
        backend::{Header, Message},
        frontend,
    },
};

use crate::driver::{
    Fault, Options,
    stream::{ANSWER_BYTES_MAX, Stream, shown},
};

/// A session with the server.
#[derive(Debug)]
pub struct Session {
    stream: Stream,
    output: BytesMut,
    /// The first row of the last answer as text (columns by tabs), or the words of a refusal.
    body: Vec<u8>,
}

/// What the server said to one request, up to where it is ready for the next.
#[derive(Clone, Debug, Default)]
pub struct Answered {
    /// The code of a refusal.
    pub refused: Option<String>,
    /// Rows that were returned; where none were, rows that were changed.
    pub rows: u64,
    /// Columns of the last row as texts, where they were asked for.
    pub columns: Vec<(String, Option<String>)>,
    /// Where in the statement the refusal points, in characters from 1.
    pub position: Option<usize>,
    /// The state of the transaction: `I` idle, `T` within one, `E` within one that failed.
    pub transaction: u8,
}

impl Session {
    /// Connects and logs in.
    ///
    /// # Errors
    /// Why there is no session.
    pub fn connect(options: &Options) -> Result<Self, Fault> {
        let mut stream = Stream::connect_plain(options)?;
        let mut output = BytesMut::new();
        if options.address.tls || options.tls.on {
            frontend::ssl_request(&mut output);
            stream.send(&output.split())?;
            stream.need(1)?;
            if stream.consume(1) != b"S" {
                return Err(Fault::Denied(format!("{} does not encrypt; leave `tls` out", options.address)));
            }
            stream = stream.encrypted(options)?;
        }
        let mut session = Self { stream, output, body: Vec::new() };
        let user = options.address.user.as_deref().unwrap_or("postgres");
        let database = options.address.database.as_deref().unwrap_or(user);
        let parameters =
            [("user", user), ("database", database), ("application_name", "uplift"), ("client_encoding", "UTF8")];
        frontend::startup_message(parameters, &mut session.output)?;
        session.flush()?;
        session.log_in(user, options.address.password.as_deref())?;
        Ok(session)
    }

    fn log_in(&mut self, user: &str, password: Option<&str>) -> Result<(), Fault> {
        let mut scram: Option<ScramSha256> = None;
        let needed = || {
            password
                .ok_or_else(|| Fault::Denied(format!("the server asks `{user}` for a password, and the URL has none")))
        };
        loop {
            match self.message()? {
                Message::AuthenticationOk => {}
                Message::AuthenticationCleartextPassword => {
                    frontend::password_message(needed()?.as_bytes(), &mut self.output)?;
                    self.flush()?;
                }
                Message::AuthenticationMd5Password(body) => {
                    let hash = md5_hash(user.as_bytes(), needed()?.as_bytes(), body.salt());
                    frontend::password_message(hash.as_bytes(), &mut self.output)?;
                    self.flush()?;
                }
                Message::AuthenticationSasl(_) => {
                    let started = ScramSha256::new(needed()?.as_bytes(), ChannelBinding::unsupported());
                    frontend::sasl_initial_response(SCRAM_SHA_256, started.message(), &mut self.output)?;
                    scram = Some(started);
                    self.flush()?;
                }
                Message::AuthenticationSaslContinue(body) => {
                    let Some(scram) = &mut scram else {
                        return Err(Fault::Garbage("SASL that nobody began".to_owned()));
                    };
                    scram.update(body.data())?;
                    frontend::sasl_response(scram.message(), &mut self.output)?;
                    self.flush()?;
                }
                Message::AuthenticationSaslFinal(body) => {
                    let Some(scram) = &mut scram else {
                        return Err(Fault::Garbage("SASL that nobody began".to_owned()));
                    };
                    scram.finish(body.data()).map_err(|error| Fault::Denied(format!("SCRAM: {error}")))?;
                }
                Message::ReadyForQuery(_) => return Ok(()),
                Message::ParameterStatus(_) | Message::BackendKeyData(_) | Message::NoticeResponse(_) => {}
                Message::ErrorResponse(_) => {
                    return Err(Fault::Denied(String::from_utf8_lossy(&self.body).into_owned()));
                }
                _ => {
                    return Err(Fault::Garbage(
                        "a message that does not belong to a login, or a way to log in that is not known here"
                            .to_owned(),
                    ));
                }
            }
        }
    }

    /// The next message whole; only while logging in, where it does not matter what it costs.
    fn message(&mut self) -> Result<Message, Fault> {
        let length = self.need_message()?;
        let bytes = self.stream.consume(length);
        if bytes[0] == b'E' {
            refusal(&bytes[5..], &mut self.body);
        }
        let parsed = Message::parse(&mut BytesMut::from(bytes));
        parsed?.ok_or_else(|| Fault::Garbage("a message that is cut off".to_owned()))
    }

    /// Reads until one message is there, and returns how long it is.
    fn need_message(&mut self) -> Result<usize, Fault> {
        self.stream.need(5)?;
        let header = Header::parse(self.stream.unused()).ok().flatten();
        let length = header.and_then(|header| usize::try_from(header.len()).ok()).map(|length| length + 1);
        let known = self.stream.unused()[0].is_ascii_alphanumeric();
        match length.filter(|&length| known && length <= ANSWER_BYTES_MAX) {
            Some(length) => {
                self.stream.need(length)?;
                Ok(length)
            }
            None => Err(Fault::Garbage(format!("it begins `{}`", shown(self.stream.unused())))),
        }
    }

    /// A statement as text.
    ///
    /// # Errors
    /// A text with a zero byte.
    pub fn put_query(&mut self, text: &[u8]) -> Result<(), Fault> {
        let text = std::str::from_utf8(text).map_err(|_| Fault::Denied("a statement that is not UTF-8".to_owned()))?;
        Ok(frontend::query(text, &mut self.output)?)
    }

    /// Has a statement parsed under `name`.
    ///
    /// # Errors
    /// A text with a zero byte.
    pub fn put_parse(&mut self, name: &str, text: &str) -> Result<(), Fault> {
        Ok(frontend::parse(name, text, [], &mut self.output)?)
    }

    /// Carries out the statement `name` with these values as texts, and ends the request.
    ///
    /// # Errors
    /// Too many values.
    pub fn put_execute<'a>(&mut self, name: &str, values: impl Iterator<Item = Option<&'a [u8]>>) -> Result<(), Fault> {
        self.put_execute_unsynced(name, values)?;
        self.put_sync();
        Ok(())
    }

    /// The same without ending the request.
    ///
    /// # Errors
    /// Too many values.
    pub fn put_execute_unsynced<'a>(
        &mut self,
        name: &str,
        values: impl Iterator<Item = Option<&'a [u8]>>,
    ) -> Result<(), Fault> {
        let write = |value: Option<&[u8]>, buffer: &mut BytesMut| match value {
            Some(value) => {
                buffer.extend_from_slice(value);
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        };
        frontend::bind("", name, [], values, write, [], &mut self.output)
            .map_err(|_| Fault::Denied("a statement has at most 65,535 values of at most 2 GiB".to_owned()))?;
        frontend::describe(b'P', "", &mut self.output)?;
        Ok(frontend::execute("", 0, &mut self.output)?)
    }

    /// Ends the request.
    pub fn put_sync(&mut self) {
        frontend::sync(&mut self.output);
    }

    /// Sends what waits.
    ///
    /// # Errors
    /// The connection ended.
    pub fn flush(&mut self) -> Result<(), Fault> {
        let sent = self.stream.send(&self.output);
        self.output.clear();
        sent
    }

    /// Reads up to where the server is ready for the next request; `columns`: keeps the last row.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub fn take(&mut self, columns: bool) -> Result<Answered, Fault> {
        let mut answered = Answered::default();
        let mut names: Vec<String> = Vec::new();
        let mut changed = 0;
        self.body.clear();
        loop {
            let length = self.need_message()?;
            let message = self.stream.consume(length);
            let body = &message[5..];
            match message[0] {
                b'Z' => {
                    answered.transaction = body.first().copied().unwrap_or(b'I');
                    if answered.rows == 0 {
                        answered.rows = changed;
                    }
                    return Ok(answered);
                }
                b'D' => {
                    answered.rows += 1;
                    if answered.rows == 1 && answered.refused.is_none() {
                        append_row(body, &mut self.body)?;
                    }
                    if columns {
                        answered.columns = names.iter().cloned().zip(row(body)?).collect();
                    }
                }
                b'T' if columns => names = described(body)?,
                b'C' => {
                    let tag = String::from_utf8_lossy(body);
                    let count = tag.trim_end_matches('\0').rsplit(' ').next().and_then(|word| word.parse::<u64>().ok());
                    changed += count.unwrap_or(0);
                }
                b'E' => {
                    self.body.clear();
                    let fields = refusal(body, &mut self.body);
                    answered.position = fields.get(&b'P').and_then(|text| text.parse().ok());
                    answered.refused = Some(fields.get(&b'C').cloned().unwrap_or_default());
                    if fields.get(&b'C').is_some_and(|code| code.starts_with("57P")) {
                        return Err(Fault::Closed(String::from_utf8_lossy(&self.body).into_owned()));
                    }
                }
                b'G' | b'W' => return Err(Fault::Denied("COPY from and to a client is not for a load".to_owned())),
                _ => {}
            }
        }
    }

    /// The first row of the last answer, or the words of its refusal.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

/// Calls `each` with the texts of a row.
fn columns_of<'a>(body: &'a [u8], mut each: impl FnMut(Option<&'a [u8]>)) -> Result<(), Fault> {
    let cut = || Fault::Garbage("a row that is cut off".to_owned());
    let (count, mut rest) = body.split_first_chunk::<2>().ok_or_else(cut)?;
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, behind) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        rest = behind;
        let length = i32::from_be_bytes(*length);
        if length < 0 {
            each(None);
            continue;
        }
        let (text, behind) = rest.split_at_checked(length as usize).ok_or_else(cut)?;
        each(Some(text));
        rest = behind;
    }
    Ok(())
}

/// The texts of a row, by tabs.
fn append_row(body: &[u8], into: &mut Vec<u8>) -> Result<(), Fault> {
    let mut first = true;
    columns_of(body, |text| {
        if !std::mem::take(&mut first) {
            into.push(b'\t');
        }
        into.extend_from_slice(text.unwrap_or_default());
    })
}

/// The texts of a row, to be kept.
fn row(body: &[u8]) -> Result<Vec<Option<String>>, Fault> {
    let mut texts = Vec::new();
    columns_of(body, |text| texts.push(text.map(|text| String::from_utf8_lossy(text).into_owned())))?;
    Ok(texts)
}

/// The names of the columns.
fn described(body: &[u8]) -> Result<Vec<String>, Fault> {
    let cut = || Fault::Garbage("a description that is cut off".to_owned());
    let (count, mut rest) = body.split_first_chunk::<2>().ok_or_else(cut)?;
    let mut names = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let end = rest.iter().position(|&byte| byte == 0).ok_or_else(cut)?;
        names.push(String::from_utf8_lossy(&rest[..end]).into_owned());
        rest = rest.get(end + 1 + 18..).ok_or_else(cut)?;
    }
    Ok(names)
}

/// The fields of a refusal; its words go into `body`.
fn refusal(fields: &[u8], body: &mut Vec<u8>) -> BTreeMap<u8, String> {
    let mut found = BTreeMap::new();
    for field in fields.split(|&byte| byte == 0).filter(|field| !field.is_empty()) {
        found.insert(field[0], String::from_utf8_lossy(&field[1..]).into_owned());
    }
    let of = |key: u8| found.get(&key).cloned().unwrap_or_default();
    body.extend_from_slice(format!("{}: {} (SQLSTATE {})", of(b'S'), of(b'M'), of(b'C')).as_bytes());
    found
}
