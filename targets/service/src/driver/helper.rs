//! A client program in any language: asked by JSON lines on its standard input, it answers by JSON lines.
//!
//! One process for each client of the load. `{"operation": …, "send": …, "body": …}` asks; `{"ok": true}`,
//! `{"empty": true}` or `{"ok": false, "error": …}` answers, with `body` and `rows` where they are looked at.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::{fd::AsRawFd as _, unix::process::CommandExt as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use serde::Deserialize;
use uplift_command::words;

use super::{Answer, AnswerKind, Connection, Driver, Fault, Options, Request, stream::ANSWER_BYTES_MAX, stream::shown};
use crate::template::{Template, Values};

/// A request: the operation's name, and the texts.
pub fn compile(request: &Request, names: &[String]) -> Result<(String, Template, Option<Template>), String> {
    let body = request.body.as_deref().map(|body| Template::compile(body, names)).transpose()?;
    Ok((request.name.clone(), Template::compile(&request.send, names)?, body))
}

/// Client processes.
pub struct Helper {
    requests: Arc<Vec<(String, Template, Option<Template>)>>,
    options: Options,
}

impl Helper {
    pub(super) fn new(requests: &[Request], names: &[String], options: &Options) -> Result<Self, String> {
        let requests = requests.iter().map(|request| compile(request, names)).collect::<Result<_, _>>()?;
        Ok(Self { requests: Arc::new(requests), options: options.clone() })
    }
}

impl Driver for Helper {
    fn connect(&self, index: usize) -> Result<Box<dyn Connection>, Fault> {
        let line = self.options.helper.as_deref().unwrap_or_default();
        let words = words::split(line).map_err(Fault::Denied)?;
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env("UPLIFT_ADDRESS", self.options.address.to_string());
        command.env("UPLIFT_CLIENT", index.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        // SAFETY: prctl is async-signal-safe and touches only the new process, which ends with the client's thread.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let mut child = command
            .spawn()
            .map_err(|error| Fault::Denied(format!("the helper `{line}` could not be started: {error}")))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Fault::Denied(format!("the helper `{line}` has no pipes")));
        };
        let requests = Arc::clone(&self.requests);
        let output = BufReader::new(output);
        let timeout = self.options.timeout;
        Ok(Box::new(HelperConnection { child, input, output, requests, timeout, asked: Vec::new(), body: Vec::new() }))
    }
}

struct HelperConnection {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    requests: Arc<Vec<(String, Template, Option<Template>)>>,
    timeout: Duration,
    asked: Vec<u8>,
    body: Vec<u8>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply {
    #[serde(default)]
    ok: Option<bool>,
    #[serde(default)]
    empty: bool,
    #[serde(default)]
    conflict: bool,
    #[serde(default)]
    error: String,
    #[serde(default)]
    body: String,
    #[serde(default)]
    rows: u64,
}

impl HelperConnection {
    fn wait(&self) -> Result<(), Fault> {
        if !self.output.buffer().is_empty() {
            return Ok(());
        }
        let mut polled = libc::pollfd { fd: self.output.get_ref().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let timeout_ms = i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one valid pollfd.
        match unsafe { libc::poll(&raw mut polled, 1, timeout_ms) } {
            0 => Err(Fault::Timeout(self.timeout)),
            _ => Ok(()),
        }
    }
}

impl Connection for HelperConnection {
    fn put(&mut self, request: usize, values: &Values) -> Result<(), Fault> {
        let (name, send, body) = &self.requests[request];
        let text = |template: &Template| {
            let mut bytes = Vec::new();
            template.fill(values, &mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let mut asked = serde_json::json!({ "operation": name, "send": text(send) });
        if let Some(body) = body {
            asked["body"] = text(body).into();
        }
        self.asked.extend_from_slice(asked.to_string().as_bytes());
        self.asked.push(b'\n');
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Fault> {
        let sent = self.input.write_all(&self.asked).and_then(|()| self.input.flush());
        self.asked.clear();
        sent.map_err(|error| Fault::Closed(format!("the helper does not read: {error}")))
    }

    fn take(&mut self) -> Result<Answer<'_>, Fault> {
        self.wait()?;
        let mut line = Vec::new();
        let read = (&mut self.output).take(ANSWER_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
        if read == 0 {
            let how = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
            return Err(Fault::Closed(format!("the helper ended ({how})")));
        }
        let reply: Reply = serde_json::from_slice(&line)
            .map_err(|error| Fault::Garbage(format!("the helper said `{}`: {error}", shown(&line))))?;
        let kind = match reply {
            Reply { conflict: true, .. } => AnswerKind::Conflict,
            Reply { empty: true, .. } => AnswerKind::Empty,
            Reply { ok: Some(true), .. } => AnswerKind::Ok,
            Reply { ok: Some(false), .. } => AnswerKind::Refused,
            Reply { ok: None, .. } => {
                return Err(Fault::Garbage(format!("the helper said neither `ok` nor `empty`: `{}`", shown(&line))));
            }
        };
        self.body = if reply.error.is_empty() { reply.body } else { reply.error }.into_bytes();
        Ok(Answer { kind, body: &self.body, rows: reply.rows })
    }
}

impl Drop for HelperConnection {
    fn drop(&mut self) {
        // It would end at the end of its input, in its own time.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
