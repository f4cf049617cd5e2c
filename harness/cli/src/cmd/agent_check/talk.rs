//! One conversation with the agent under test, request by request, whatever it answers.

use std::{
    fs,
    io::{BufReader, Write},
    path::{Path, PathBuf},
    process,
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::Duration,
};

use serde::Serialize;
use uplift_engine::{
    AgentHandle, Launch as _, LaunchOrder, ProcessLauncher, agent_connection::read_reply, launch::Exit,
};
use uplift_model::{
    protocol::{AgentHello, PROTOCOL_VERSION, Reply, Request},
    trial::{Failure, FailureKind},
};

static TALKS: AtomicU32 = AtomicU32::new(0);

/// A conversation; dropping it ends the agent.
pub struct Talk {
    handle: Box<dyn AgentHandle>,
    requests: Option<Box<dyn Write + Send>>,
    replies: Receiver<Result<Option<Reply>, String>>,
    timeout: Duration,
    folder: PathBuf,
}

impl Talk {
    /// Starts the program.
    pub fn start(program: &Path, timeout: Duration) -> Result<Self, String> {
        let number = TALKS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("uplift-agent-check-{}-{number}", process::id()));
        fs::create_dir(&folder).map_err(|error| format!("could not create `{}`: {error}", folder.display()))?;
        let order = LaunchOrder {
            binary: Some(program.to_owned()),
            data_dir: folder.clone(),
            label: "agent-check".to_owned(),
            pair: "agent-check".to_owned(),
            memory_bytes_max: u64::MAX,
            counts_allocations: false,
        };
        let mut handle = ProcessLauncher::default().start(&order).map_err(|failure| {
            let _ = fs::remove_dir(&folder);
            failure.message
        })?;
        let (requests, replies) = handle.take_streams();
        let (sender, receiver) = channel();
        thread::spawn(move || {
            let mut reader = BufReader::new(replies);
            loop {
                let read = read_reply(&mut reader);
                let is_last = !matches!(read, Ok(Some(_)));
                if sender.send(read).is_err() || is_last {
                    return;
                }
            }
        });
        Ok(Self { handle, requests: Some(requests), replies: receiver, timeout, folder })
    }

    /// The agent's fresh data directory.
    pub fn data_dir(&self) -> String {
        self.handle.data_dir()
    }

    /// Sends a request without waiting for its answer.
    pub fn send(&mut self, request: &impl Serialize) -> Result<(), String> {
        let mut line = serde_json::to_vec(request).map_err(|error| format!("could not write a request: {error}"))?;
        line.push(b'\n');
        let requests = self.requests.as_mut().ok_or("the conversation was ended")?;
        requests
            .write_all(&line)
            .and_then(|()| requests.flush())
            .map_err(|error| format!("it does not read its standard input: {error}"))
    }

    /// The next reply; `None`: it closed its standard output.
    pub fn receive(&mut self) -> Result<Option<Reply>, String> {
        match self.replies.recv_timeout(self.timeout) {
            Ok(reply) => reply,
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("no answer within {:.1} s; raise --timeout if it needs longer", self.timeout.as_secs_f64()))
            }
        }
    }

    /// Sends a request and waits for the answer.
    pub fn ask(&mut self, request: &impl Serialize) -> Result<Reply, String> {
        self.send(request)?;
        match self.receive()? {
            Some(Reply::Failed(failure)) => Err(format!("it failed in {}: {}", failure.phase, failure.message)),
            Some(reply) => Ok(reply),
            None => Err(format!("it ended without an answer{}", self.last_words())),
        }
    }

    /// The first exchange.
    pub fn hello(&mut self) -> Result<AgentHello, String> {
        match self.ask(&Request::Hello { protocol: PROTOCOL_VERSION })? {
            Reply::Hello(hello) => Ok(hello),
            other => Err(unexpected("hello", &other)),
        }
    }

    /// Sends a request that must be refused, and takes the refusal.
    pub fn refused(&mut self, request: &impl Serialize, kind: FailureKind) -> Result<Failure, String> {
        self.send(request)?;
        match self.receive()? {
            Some(Reply::Failed(failure)) if failure.kind == kind => Ok(failure),
            Some(Reply::Failed(failure)) => Err(format!(
                "it must fail with the kind {kind:?}, and failed with {:?}: {}",
                failure.kind, failure.message
            )),
            Some(other) => Err(unexpected("failed", &other)),
            None => Err(format!("it ended without an answer{}", self.last_words())),
        }
    }

    /// Hangs up, and waits for the end of the agent: the code that it ended with.
    pub fn end(mut self) -> Result<i32, String> {
        self.requests = None;
        match self.replies.recv_timeout(self.timeout) {
            Ok(Ok(Some(other))) => return Err(unexpected("nothing", &other)),
            Ok(Ok(None)) | Err(RecvTimeoutError::Disconnected) => {}
            Ok(Err(message)) => return Err(message),
            Err(RecvTimeoutError::Timeout) => {
                let limit = self.timeout.as_secs_f64();
                return Err(format!("it did not end within {limit:.1} s of the end of its standard input"));
            }
        }
        match self.handle.wait() {
            Exit::Code(code) => Ok(code),
            exit => Err(format!("it did not end by itself: {exit:?}{}", self.last_words())),
        }
    }

    fn last_words(&mut self) -> String {
        self.handle.kill();
        self.handle.wait();
        let tail = self.handle.stderr_tail();
        if tail.trim().is_empty() { String::new() } else { format!("; it wrote: {}", tail.trim()) }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.handle.kill();
        self.handle.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A reply that does not belong here, by its name.
pub fn unexpected(wanted: &str, reply: &Reply) -> String {
    let name = serde_json::to_value(reply).ok();
    let name = name.as_ref().and_then(|value| value.get("reply")?.as_str()).unwrap_or("something");
    format!("the answer must be `{wanted}`, and was `{name}`")
}
