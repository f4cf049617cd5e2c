//! RESP: commands as arrays of words, answers of any type, pipelined where a call holds several operations.
//!
//! The protocol is five kinds of lines; writing it here costs less than a client library that allocates each answer.

use uplift_command::words;

use super::{Answer, AnswerKind, Connection, Driver, Fault, Options, Request, stream::Stream, stream::shown};
use crate::template::{Template, Values};

/// How deep answers may be nested.
const DEPTH_MAX: u32 = 32;

/// A command: its words.
pub fn compile(request: &Request, names: &[String]) -> Result<Vec<Template>, String> {
    words::split(&request.send)?.iter().map(|word| Template::compile(word, names)).collect()
}

/// Connections to Redis.
pub struct Redis {
    commands: std::sync::Arc<Vec<Vec<Template>>>,
    options: Options,
}

impl Redis {
    pub(super) fn new(requests: &[Request], names: &[String], options: &Options) -> Result<Self, String> {
        let commands = requests.iter().map(|request| compile(request, names)).collect::<Result<_, _>>()?;
        Ok(Self { commands: std::sync::Arc::new(commands), options: options.clone() })
    }
}

impl Driver for Redis {
    fn connect(&self, _index: usize) -> Result<Box<dyn Connection>, Fault> {
        let mut connection = RedisConnection {
            stream: Stream::connect(&self.options)?,
            commands: std::sync::Arc::clone(&self.commands),
            output: Vec::new(),
            body: Vec::new(),
        };
        let address = &self.options.address;
        if let Some(password) = &address.password {
            let mut words: Vec<&[u8]> = vec![b"AUTH"];
            words.extend(address.user.as_deref().map(str::as_bytes));
            words.push(password.as_bytes());
            connection.greet(&words)?;
        }
        if let Some(database) = &address.database {
            connection.greet(&[b"SELECT", database.as_bytes()])?;
        }
        Ok(Box::new(connection))
    }
}

struct RedisConnection {
    stream: Stream,
    commands: std::sync::Arc<Vec<Vec<Template>>>,
    output: Vec<u8>,
    /// The last answer: texts joined by line ends.
    body: Vec<u8>,
}

impl RedisConnection {
    fn greet(&mut self, words: &[&[u8]]) -> Result<(), Fault> {
        head(b'*', words.len(), &mut self.output);
        for word in words {
            head(b'$', word.len(), &mut self.output);
            self.output.extend_from_slice(word);
            self.output.extend_from_slice(b"\r\n");
        }
        self.flush()?;
        let answer = self.take()?;
        match answer.kind {
            AnswerKind::Refused => Err(Fault::Denied(String::from_utf8_lossy(answer.body).into_owned())),
            _ => Ok(()),
        }
    }

    /// Reads one answer; texts go to the end of `body`.
    fn read(&mut self, depth: u32) -> Result<(AnswerKind, u64), Fault> {
        let line = self.stream.line()?;
        let Some((&kind, rest)) = line.split_first() else {
            return Err(Fault::Garbage("an empty line".to_owned()));
        };
        let length = |rest: &[u8]| -> Result<i64, Fault> {
            let number = std::str::from_utf8(rest).ok().and_then(|text| text.parse::<i64>().ok());
            number
                .filter(|&number| number >= -1)
                .ok_or_else(|| Fault::Garbage(format!("`{}` is no length", shown(rest))))
        };
        match kind {
            b'+' | b':' | b',' | b'#' | b'(' => {
                self.body.extend_from_slice(rest);
                Ok((AnswerKind::Ok, 1))
            }
            b'-' => {
                self.body.extend_from_slice(rest);
                Ok((AnswerKind::Refused, 0))
            }
            b'_' => Ok((AnswerKind::Empty, 0)),
            b'$' | b'=' | b'!' => {
                let length = length(rest)?;
                if length < 0 {
                    return Ok((AnswerKind::Empty, 0));
                }
                let length = length as usize;
                self.stream.need(length + 2)?;
                let text = self.stream.consume(length + 2);
                if !text.ends_with(b"\r\n") {
                    return Err(Fault::Garbage(format!("a text of {length} bytes does not end where it should")));
                }
                self.body.extend_from_slice(&text[..length]);
                Ok((if kind == b'!' { AnswerKind::Refused } else { AnswerKind::Ok }, 1))
            }
            b'*' | b'~' | b'>' | b'%' => {
                let length = length(rest)?;
                if depth == 0 {
                    return Err(Fault::Garbage(format!("answers nested deeper than {DEPTH_MAX}")));
                }
                let elements = if kind == b'%' { 2 * length } else { length };
                for element in 0..elements {
                    if element > 0 {
                        self.body.push(b'\n');
                    }
                    self.read(depth - 1)?;
                }
                let kind = if elements <= 0 { AnswerKind::Empty } else { AnswerKind::Ok };
                Ok((kind, elements.max(0) as u64))
            }
            _ => Err(Fault::Garbage(format!("a line that begins `{}`", shown(line)))),
        }
    }
}

impl Connection for RedisConnection {
    fn put(&mut self, request: usize, values: &Values) -> Result<(), Fault> {
        let command = &self.commands[request];
        head(b'*', command.len(), &mut self.output);
        for word in command {
            head(b'$', word.filled_bytes(values), &mut self.output);
            word.fill(values, &mut self.output);
            self.output.extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Fault> {
        let sent = self.stream.send(&self.output);
        self.output.clear();
        sent
    }

    fn take(&mut self) -> Result<Answer<'_>, Fault> {
        self.body.clear();
        let (kind, rows) = self.read(DEPTH_MAX)?;
        Ok(Answer { kind, body: &self.body, rows })
    }
}

/// The head of an array or a text.
fn head(kind: u8, length: usize, output: &mut Vec<u8>) {
    output.push(kind);
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut left = length;
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    output.extend_from_slice(&digits[at..]);
    output.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, net::TcpListener, time::Duration};

    use super::*;
    use crate::{driver::Address, settings::Tls};

    fn answered(bytes: &'static [u8]) -> RedisConnection {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || listener.accept().unwrap().0.write_all(bytes).unwrap());
        let options = Options {
            address: Address::local(port),
            timeout: Duration::from_secs(10),
            query_mode: Default::default(),
            tls: Tls::default(),
            http2: false,
            helper: None,
        };
        RedisConnection {
            stream: Stream::connect(&options).unwrap(),
            commands: Default::default(),
            output: Vec::new(),
            body: Vec::new(),
        }
    }

    #[test]
    fn answers_of_every_kind_are_read() {
        let mut connection = answered(
            b"+OK\r\n:7\r\n$5\r\na\r\nbc\r\n$-1\r\n-ERR no\r\n*2\r\n$1\r\na\r\n*1\r\n:1\r\n*0\r\n*-1\r\n%1\r\n+k\r\n+v\r\n",
        );
        let mut next = || {
            let answer = connection.take().unwrap();
            (answer.kind, String::from_utf8_lossy(answer.body).into_owned(), answer.rows)
        };
        assert_eq!(next(), (AnswerKind::Ok, "OK".into(), 1));
        assert_eq!(next(), (AnswerKind::Ok, "7".into(), 1));
        assert_eq!(next(), (AnswerKind::Ok, "a\r\nbc".into(), 1));
        assert_eq!(next(), (AnswerKind::Empty, String::new(), 0));
        assert_eq!(next(), (AnswerKind::Refused, "ERR no".into(), 0));
        assert_eq!(next(), (AnswerKind::Ok, "a\n1".into(), 2));
        assert_eq!(next(), (AnswerKind::Empty, String::new(), 0));
        assert_eq!(next(), (AnswerKind::Empty, String::new(), 0));
        assert_eq!(next(), (AnswerKind::Ok, "k\nv".into(), 2));
        assert!(matches!(connection.take(), Err(Fault::Closed(_))));
    }

    #[test]
    fn garbage_is_said() {
        for garbage in [&b"HTTP/1.1 400 Bad\r\n"[..], b"$x\r\n", b"$3\r\nabcdef\r\n", b"*-7\r\n", b"\r\n"] {
            assert!(matches!(answered(garbage).take(), Err(Fault::Garbage(_))), "{}", shown(garbage));
        }
        let mut nested = Vec::new();
        (0..100).for_each(|_| nested.extend_from_slice(b"*1\r\n"));
        assert!(matches!(answered(nested.leak()).take(), Err(Fault::Garbage(_))));
    }

    #[test]
    fn lengths_are_written() {
        let mut output = Vec::new();
        head(b'*', 0, &mut output);
        head(b'$', 1234, &mut output);
        assert_eq!(output, b"*0\r\n$1234\r\n");
    }
}
