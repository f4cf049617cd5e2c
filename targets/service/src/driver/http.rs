//! HTTP/1.1 over connections that are kept: requests from templates, heads read by `httparse`.
//!
//! A service may close a connection between two requests; a request whose answer has not begun is then sent again over
//! a new connection, once.

use std::sync::Arc;

use super::{
    Answer, AnswerKind, Connection, Driver, Fault, Options, Request,
    address::Endpoint,
    stream::{ANSWER_BYTES_MAX, Stream, shown},
};
use crate::template::{Template, Values};

/// The most headers of an answer.
const HEADERS_MAX: usize = 96;
/// The longest head of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];

/// A request: everything before its length, and its body.
pub struct Compiled {
    head: Template,
    body: Option<Template>,
    is_head: bool,
}

/// A request as a template; `host` is what it says whom it asks.
pub fn compile(request: &Request, names: &[String], host: &str) -> Result<Compiled, String> {
    let form = || format!("`{}`: write a method and a path, as in `GET /path`", request.send);
    let (method, path) = request.send.trim().split_once(' ').ok_or_else(form)?;
    let path = path.trim();
    if !METHODS.contains(&method) || !path.starts_with('/') || path.contains(char::is_whitespace) {
        return Err(form());
    }
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
    for (name, value) in &request.headers {
        if name.is_empty() || name.contains([':', '\r', '\n', ' ']) || value.contains(['\r', '\n']) {
            return Err(format!("`{name}` cannot be a header; a name has no blanks, and a value is one line"));
        }
        if name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("host") {
            return Err(format!("the header `{name}` is written by uplift; leave it out"));
        }
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let body = request.body.as_deref().map(|body| Template::compile(body, names)).transpose()?;
    Ok(Compiled { head: Template::compile(&head, names)?, body, is_head: method == "HEAD" })
}

/// Connections that speak HTTP.
pub struct Http {
    requests: Arc<Vec<Compiled>>,
    options: Options,
}

impl Http {
    pub(super) fn new(requests: &[Request], names: &[String], options: &Options) -> Result<Self, String> {
        let host = host(options);
        let compiled = with_login_and_base(requests, options).map(|request| compile(&request, names, &host));
        Ok(Self { requests: Arc::new(compiled.collect::<Result<_, _>>()?), options: options.clone() })
    }
}

/// Whom requests ask.
pub(super) fn host(options: &Options) -> String {
    match &options.address.endpoint {
        // Ports that go without saying are not said.
        Endpoint::Tcp(host, 80 | 443) => host.clone(),
        Endpoint::Tcp(..) => options.address.to_string(),
        Endpoint::Unix(_) => "localhost".to_owned(),
    }
}

/// The requests with what the address says besides: who asks, and what stands before every path.
pub(super) fn with_login_and_base<'r>(
    requests: &'r [Request],
    options: &'r Options,
) -> impl Iterator<Item = Request> + 'r {
    let address = &options.address;
    let login = address.user.as_ref().map(|user| {
        let login = format!("{user}:{}", address.password.as_deref().unwrap_or_default());
        format!("Basic {}", openssl::base64::encode_block(login.as_bytes()))
    });
    requests.iter().map(move |request| {
        let mut request = request.clone();
        if !address.base.is_empty() {
            request.send = request.send.trim().replacen(" /", &format!(" {}/", address.base), 1);
        }
        if let Some(login) = &login {
            request.headers.entry("Authorization".to_owned()).or_insert_with(|| login.clone());
        }
        request
    })
}

impl Driver for Http {
    fn connect(&self, _index: usize) -> Result<Box<dyn Connection>, Fault> {
        Ok(Box::new(HttpConnection {
            stream: Stream::connect(&self.options)?,
            requests: Arc::clone(&self.requests),
            options: self.options.clone(),
            output: Vec::new(),
            waiting: std::collections::VecDeque::new(),
            answered: 0,
            closing: false,
            body: Vec::new(),
        }))
    }
}

struct HttpConnection {
    stream: Stream,
    requests: Arc<Vec<Compiled>>,
    options: Options,
    /// Requests that are sent together; kept until the first of them is answered.
    output: Vec<u8>,
    /// Whether each request without an answer is a HEAD.
    waiting: std::collections::VecDeque<bool>,
    /// Answers on this connection.
    answered: u64,
    /// The service will close the connection.
    closing: bool,
    body: Vec<u8>,
}

/// What the head of an answer says.
struct Head {
    status: u16,
    bytes: usize,
    length: Option<usize>,
    chunked: bool,
    close: bool,
}

impl HttpConnection {
    fn reconnect(&mut self) -> Result<(), Fault> {
        self.stream = Stream::connect(&self.options)?;
        (self.answered, self.closing) = (0, false);
        Ok(())
    }

    fn read_head(&mut self) -> Result<Head, Fault> {
        let mut tried = 0;
        loop {
            let unused = self.stream.unused();
            // Only when there is more than the last time, and an end of a head in it.
            if unused.len() > tried {
                let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
                let mut response = httparse::Response::new(&mut headers);
                match response.parse(unused) {
                    Ok(httparse::Status::Complete(bytes)) => return head_of(&response, bytes),
                    Ok(httparse::Status::Partial) if unused.len() > HEAD_BYTES_MAX => {
                        return Err(Fault::Garbage(format!("a head of more than {HEAD_BYTES_MAX} bytes")));
                    }
                    Ok(httparse::Status::Partial) => tried = unused.len(),
                    Err(error) => return Err(Fault::Garbage(format!("{error}: it begins `{}`", shown(unused)))),
                }
            }
            self.stream.read_more()?;
        }
    }

    fn read_answer(&mut self, is_head: bool) -> Result<u16, Fault> {
        let head = loop {
            let head = self.read_head()?;
            self.stream.consume(head.bytes);
            // What is said on the way is no answer.
            if !(100..200).contains(&head.status) {
                break head;
            }
        };
        self.body.clear();
        self.closing = head.close;
        if is_head || matches!(head.status, 204 | 304) {
        } else if head.chunked {
            self.read_chunks()?;
        } else if let Some(length) = head.length {
            self.stream.need(length)?;
            self.body.extend_from_slice(self.stream.consume(length));
        } else {
            self.closing = true;
            while self.stream.read_some()? > 0 {}
            let length = self.stream.unused().len();
            self.body.extend_from_slice(self.stream.consume(length));
        }
        Ok(head.status)
    }

    fn read_chunks(&mut self) -> Result<(), Fault> {
        loop {
            let line = self.stream.line()?;
            let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
            let length = std::str::from_utf8(digits).ok().and_then(|text| usize::from_str_radix(text.trim(), 16).ok());
            let Some(length) = length.filter(|&length| length <= ANSWER_BYTES_MAX) else {
                return Err(Fault::Garbage(format!("`{}` is no length of a chunk", shown(line))));
            };
            if length == 0 {
                // Trailers end with an empty line.
                while !self.stream.line()?.is_empty() {}
                return Ok(());
            }
            self.stream.need(length + 2)?;
            self.body.extend_from_slice(&self.stream.consume(length + 2)[..length]);
        }
    }
}

fn head_of(response: &httparse::Response<'_, '_>, bytes: usize) -> Result<Head, Fault> {
    let mut head = Head {
        status: response.code.unwrap_or_default(),
        bytes,
        length: None,
        chunked: false,
        close: response.version == Some(0),
    };
    for header in response.headers.iter() {
        let value = || String::from_utf8_lossy(header.value).trim().to_ascii_lowercase();
        if header.name.eq_ignore_ascii_case("content-length") {
            let value = value();
            let length = value.parse().map_err(|_| Fault::Garbage(format!("a length of `{value}`")))?;
            head.length = Some(length);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            head.chunked = value().ends_with("chunked");
        } else if header.name.eq_ignore_ascii_case("connection") {
            let value = value();
            head.close = value.contains("close") || (head.close && !value.contains("keep-alive"));
        }
    }
    Ok(head)
}

impl Connection for HttpConnection {
    fn put(&mut self, request: usize, values: &Values) -> Result<(), Fault> {
        let Compiled { head, body, is_head } = &self.requests[request];
        if self.waiting.is_empty() {
            self.output.clear();
        }
        head.fill(values, &mut self.output);
        if let Some(body) = body {
            let length = format!("Content-Length: {}\r\n\r\n", body.filled_bytes(values));
            self.output.extend_from_slice(length.as_bytes());
            body.fill(values, &mut self.output);
        } else {
            self.output.extend_from_slice(b"\r\n");
        }
        self.waiting.push_back(*is_head);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Fault> {
        if self.closing {
            self.reconnect()?;
        }
        match self.stream.send(&self.output) {
            Err(Fault::Closed(_)) if self.answered > 0 => {
                self.reconnect()?;
                self.stream.send(&self.output)
            }
            sent => sent,
        }
    }

    fn take(&mut self) -> Result<Answer<'_>, Fault> {
        let is_head = self.waiting.front().copied().unwrap_or_default();
        let status = match self.read_answer(is_head) {
            // Closed while nothing of an answer had come: the service had given the connection up before.
            Err(Fault::Closed(_))
                if self.answered > 0 && self.stream.unused().is_empty() && self.waiting.len() == 1 =>
            {
                self.reconnect()?;
                self.stream.send(&self.output)?;
                self.read_answer(is_head)?
            }
            Err(Fault::Closed(_)) if self.closing => {
                return Err(Fault::Closed("the service closed the connection before it had answered all".to_owned()));
            }
            other => other?,
        };
        self.answered += 1;
        self.waiting.pop_front();
        Ok(Answer { kind: AnswerKind::Status(status), body: &self.body, rows: 1 })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader, Read as _, Write as _},
        net::TcpListener,
        time::Duration,
    };

    use super::*;
    use crate::{driver::Address, settings::Tls};

    /// A server that answers the requests of each connection with the next of `scripts`, then closes it.
    fn server(scripts: Vec<Vec<&'static [u8]>>) -> (Options, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = std::thread::spawn(move || {
            let mut seen = Vec::new();
            for script in scripts {
                let mut stream = BufReader::new(listener.accept().unwrap().0);
                for answer in script {
                    let (mut head, mut length) = (String::new(), 0);
                    loop {
                        let mut line = String::new();
                        if stream.read_line(&mut line).unwrap() == 0 {
                            return seen;
                        }
                        if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                            length = text.trim().parse().unwrap();
                        }
                        head.push_str(&line);
                        if line == "\r\n" {
                            break;
                        }
                    }
                    let mut body = vec![0; length];
                    stream.read_exact(&mut body).unwrap();
                    seen.push(head + &String::from_utf8(body).unwrap());
                    stream.get_mut().write_all(answer).unwrap();
                }
            }
            seen
        });
        let options = Options {
            address: Address::local(port),
            timeout: Duration::from_secs(10),
            query_mode: Default::default(),
            tls: Tls::default(),
            http2: false,
            helper: None,
        };
        (options, serving)
    }

    fn request(send: &str, body: Option<&str>) -> Request {
        Request { body: body.map(str::to_owned), ..Request::plain(send) }
    }

    #[test]
    fn bodies_of_every_form_are_read_and_closed_connections_are_opened_again() {
        let (options, serving) = server(vec![
            vec![
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3;x=1\r\nabc\r\n2\r\nde\r\n0\r\nT: x\r\n\r\n",
                b"HTTP/1.1 204 No Content\r\n\r\n",
            ],
            vec![b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"],
            vec![b"HTTP/1.0 200 OK\r\n\r\nto the end"],
        ]);
        let names = ["key".to_owned()];
        let requests = [request("GET /a/{key}", None), request("PUT /{key}", Some("{\"v\": \"{key}\"}"))];
        let driver = Http::new(&requests, &names, &options).unwrap();
        let mut connection = driver.connect(0).unwrap();
        let values = vec![b"k1".to_vec()];
        let mut ask = |request| {
            let answer = connection.ask(request, &values).unwrap();
            (answer.kind, String::from_utf8_lossy(answer.body).into_owned())
        };
        assert_eq!(ask(0), (AnswerKind::Status(200), "ok".into()));
        assert_eq!(ask(1), (AnswerKind::Status(201), "abcde".into()));
        assert_eq!(ask(0), (AnswerKind::Status(204), String::new()));
        assert_eq!(ask(0), (AnswerKind::Status(404), String::new()), "over a new connection");
        assert_eq!(ask(0), (AnswerKind::Status(200), "to the end".into()));
        let seen = serving.join().unwrap();
        assert!(seen[0].starts_with("GET /a/k1 HTTP/1.1\r\nHost: 127.0.0.1:"), "{}", seen[0]);
        assert!(seen[1].ends_with("Content-Length: 11\r\n\r\n{\"v\": \"k1\"}"), "{}", seen[1]);
    }

    #[test]
    fn garbage_and_requests_that_are_none_are_said() {
        let (options, serving) = server(vec![vec![b"+PONG\r\n\r\n"]]);
        let driver = Http::new(&[request("GET /", None)], &[], &options).unwrap();
        let mut connection = driver.connect(0).unwrap();
        assert!(matches!(connection.ask(0, &Values::new()), Err(Fault::Garbage(_))));
        serving.join().unwrap();
        for send in ["/path", "FETCH /", "GET path", "GET /a b"] {
            assert!(compile(&Request::plain(send), &[], "h").is_err(), "{send}");
        }
        let mut bad = Request::plain("GET /");
        bad.headers.insert("Host".into(), "x".into());
        assert!(compile(&bad, &[], "h").is_err());
    }
}
