//! Plain TCP lines: one line asks, one line answers.

use std::sync::Arc;

use super::{Answer, AnswerKind, Connection, Driver, Fault, Options, Request, stream::Stream};
use crate::template::{Template, Values};

/// A line.
pub fn compile(request: &Request, names: &[String]) -> Result<Template, String> {
    if request.send.contains('\n') {
        return Err("a request of the protocol `lines` is one line".to_owned());
    }
    Template::compile(&request.send, names)
}

/// Connections that speak lines.
pub struct Lines {
    lines: Arc<Vec<Template>>,
    options: Options,
}

impl Lines {
    pub(super) fn new(requests: &[Request], names: &[String], options: &Options) -> Result<Self, String> {
        let lines = requests.iter().map(|request| compile(request, names)).collect::<Result<_, _>>()?;
        Ok(Self { lines: Arc::new(lines), options: options.clone() })
    }
}

impl Driver for Lines {
    fn connect(&self, _index: usize) -> Result<Box<dyn Connection>, Fault> {
        let stream = Stream::connect(&self.options)?;
        Ok(Box::new(LineConnection { stream, lines: Arc::clone(&self.lines), output: Vec::new(), body: Vec::new() }))
    }
}

struct LineConnection {
    stream: Stream,
    lines: Arc<Vec<Template>>,
    output: Vec<u8>,
    body: Vec<u8>,
}

impl Connection for LineConnection {
    fn put(&mut self, request: usize, values: &Values) -> Result<(), Fault> {
        self.lines[request].fill(values, &mut self.output);
        self.output.push(b'\n');
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Fault> {
        let sent = self.stream.send(&self.output);
        self.output.clear();
        sent
    }

    fn take(&mut self) -> Result<Answer<'_>, Fault> {
        self.body.clear();
        self.body.extend_from_slice(self.stream.line()?);
        Ok(Answer { kind: AnswerKind::Ok, body: &self.body, rows: 1 })
    }
}
