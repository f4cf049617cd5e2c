//! The harness's end of the conversation with one agent: requests, replies, timeouts, and how it ended.

mod cutting;
pub(crate) mod sharing;

use std::{
    io::{BufRead as _, BufReader, Read, Write},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel},
    thread,
    time::{Duration, Instant},
};

use uplift_model::{
    Table,
    description::DescribedTarget,
    protocol::{
        AgentHello, LINE_BYTES_MAX, PROTOCOL_VERSION, Prepare, Profiled, Ready, Reply, Request, TurnLength,
        TurnRequest, Validated,
    },
    trial::{Failure, FailureKind, Measured, TurnRecord},
};

use crate::{
    interrupt::Interrupt,
    launch::{AgentHandle, Exit, Moment, process::remedy},
    sampling::Sampling,
};

/// How often a waiting link looks at memory and interruption.
const WATCH_EVERY: Duration = Duration::from_millis(50);
/// How long an agent may take to say hello: the time of loading a binary.
const HELLO_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an agent that has finished may take to end.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How many looks after an agent's end its last words may still be under way: what it started can hold its stream open.
const LAST_WORDS_LOOKS: u32 = 20;

/// A conversation with one agent.
pub struct AgentConnection {
    handle: Box<dyn AgentHandle>,
    /// To the thread that writes; `None`: all is said.
    requests: Option<Sender<Vec<u8>>>,
    replies: Receiver<Result<Reply, String>>,
    interrupt: Interrupt,
    memory_bytes_max: u64,
    timeout: Duration,
    measuring: bool,
    /// How often its reply was looked for since it ended.
    looks_after_end: u32,
    /// Who the agent is.
    pub hello: AgentHello,
}

impl AgentConnection {
    /// Starts the conversation. `timeout` bounds set-up, what a turn takes beyond its length, and the final check.
    ///
    /// # Errors
    /// What went wrong in the first exchange.
    pub fn open(
        mut handle: Box<dyn AgentHandle>,
        interrupt: Interrupt,
        memory_bytes_max: u64,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let (input, output) = handle.take_streams();
        let (requests, lines) = channel();
        converse("agent-requests", move || write_requests(input, &lines))?;
        let (sender, replies) = sync_channel(4);
        converse("agent-replies", move || {
            let mut reader = BufReader::new(output);
            loop {
                match read_reply(&mut reader) {
                    Ok(None) => return,
                    Ok(Some(reply)) => {
                        if sender.send(Ok(reply)).is_err() {
                            return;
                        }
                    }
                    Err(message) => {
                        let _ = sender.send(Err(message));
                        return;
                    }
                }
            }
        })?;
        let hello = AgentHello {
            protocol: 0,
            version: String::new(),
            debug_assertions: false,
            sync_probe_live: false,
            targets: Vec::new(),
        };
        let mut link = Self {
            handle,
            requests: Some(requests),
            replies,
            interrupt,
            memory_bytes_max,
            timeout,
            measuring: false,
            looks_after_end: 0,
            hello,
        };
        match link.ask("hello", &Request::Hello { protocol: PROTOCOL_VERSION }, HELLO_TIMEOUT)? {
            Reply::Hello(hello) if hello.protocol == PROTOCOL_VERSION => link.hello = hello,
            Reply::Hello(hello) => {
                let message = format!(
                    "the agent speaks protocol {} and this harness {PROTOCOL_VERSION}; build both from versions of uplift with the same protocol",
                    hello.protocol
                );
                return Err(link.fail(FailureKind::Protocol, "hello", message));
            }
            other => return Err(link.unexpected("hello", &other)),
        }
        Ok(link)
    }

    /// Processes of this machine that are the agent's but no children of the harness.
    pub fn processes(&self) -> Vec<u32> {
        self.handle.processes()
    }

    /// What the agent's targets are.
    ///
    /// # Errors
    /// What the agent said.
    pub fn describe(&mut self) -> Result<Vec<DescribedTarget>, Failure> {
        match self.ask("describing", &Request::Describe, self.timeout)? {
            Reply::Described { targets } => Ok(targets),
            other => Err(self.unexpected("describing", &other)),
        }
    }

    /// Whether a target of the agent accepts a workload and settings.
    ///
    /// # Errors
    /// What the agent said.
    pub fn validate(&mut self, target: &str, workload: &Table, settings: &Table) -> Result<Validated, Failure> {
        let request =
            Request::Validate { target: target.to_owned(), workload: workload.clone(), settings: settings.clone() };
        match self.ask("validation", &request, self.timeout)? {
            Reply::Validated(validated) => Ok(validated),
            other => Err(self.unexpected("validation", &other)),
        }
    }

    /// Sets the target up.
    ///
    /// # Errors
    /// What the target or the agent said.
    pub fn prepare(&mut self, mut prepare: Prepare) -> Result<Ready, Failure> {
        prepare.data_dir = self.handle.data_dir();
        match self.ask("set-up", &Request::Prepare(Box::new(prepare)), self.timeout)? {
            Reply::Ready(ready) => Ok(ready),
            other => Err(self.unexpected("set-up", &other)),
        }
    }

    /// Begins a turn, which [`Self::end_turn`] waits for.
    ///
    /// # Errors
    /// Where the request cannot be written.
    pub fn begin_turn(&mut self, request: &TurnRequest) -> Result<(), Failure> {
        self.mark_first(request);
        self.post(&phase(request), &Request::Turn(request.clone()))
    }

    /// Waits for the end of the turn that was begun.
    ///
    /// # Errors
    /// What the target or the agent said.
    pub fn end_turn(&mut self, request: &TurnRequest) -> Result<TurnRecord, Failure> {
        let phase = phase(request);
        match self.wait(&phase, self.turn_timeout(request.length))? {
            Reply::Turn(record) => Ok(record),
            other => Err(self.unexpected(&phase, &other)),
        }
    }

    fn mark_first(&mut self, request: &TurnRequest) {
        if request.measured && !self.measuring {
            self.measuring = true;
            self.handle.mark(Moment::FirstTurn);
        }
    }

    /// How long a turn may take.
    fn turn_timeout(&self, length: TurnLength) -> Duration {
        let length = match length {
            // An open loop may go on for as long again to send what was due.
            TurnLength::Nanoseconds(ns) => Duration::from_nanos(ns.saturating_mul(2)),
            TurnLength::Operations(_) => Duration::ZERO,
        };
        length.saturating_add(self.timeout)
    }

    /// Keeps the agent and what it started on these CPUs.
    ///
    /// # Errors
    /// Where the launcher or the system cannot.
    pub fn keep_on(&mut self, cpus: &[u32]) -> Result<(), Failure> {
        self.handle.keep_on(cpus).map_err(|message| self.fail(FailureKind::Launch, "launch", message))
    }

    /// Starts sampling stacks; returns the sampler's name and warnings.
    ///
    /// # Errors
    /// What the agent said.
    pub fn profile_start(&mut self, sampling: Sampling) -> Result<(String, Vec<String>), Failure> {
        let Sampling { frequency_hz, off_cpu, tail_percentile, allocations } = sampling;
        let request = Request::ProfileStart { frequency_hz, off_cpu, tail_percentile, allocations };
        match self.ask("profiling", &request, self.timeout)? {
            Reply::Profiling { sampler, warnings } => Ok((sampler, warnings)),
            other => Err(self.unexpected("profiling", &other)),
        }
    }

    /// Stops sampling.
    ///
    /// # Errors
    /// What the agent said.
    pub fn profile_stop(&mut self) -> Result<Profiled, Failure> {
        match self.ask("profiling", &Request::ProfileStop, self.timeout)? {
            Reply::Profiled(profiled) => Ok(*profiled),
            other => Err(self.unexpected("profiling", &other)),
        }
    }

    /// Ends the trial in order: drain, check, report. The agent then ends by itself.
    ///
    /// # Errors
    /// What the target or the agent said.
    pub fn finish(&mut self, drop_turns: u32) -> Result<Measured, Failure> {
        self.handle.mark(Moment::LastTurn);
        let mut measured = match self.ask("drain and check", &Request::Finish { drop_turns }, self.timeout)? {
            Reply::Finished(measured) => *measured,
            other => return Err(self.unexpected("drain and check", &other)),
        };
        let (gauges, missing) = self.handle.observations();
        measured.gauges.extend(gauges);
        measured.resources.missing.extend(missing);
        self.requests = None;
        // The agent has said all; that its stream ends says that it has taken itself down.
        let deadline = Instant::now() + EXIT_TIMEOUT;
        let ended = loop {
            match self.replies.recv_timeout(WATCH_EVERY) {
                Err(RecvTimeoutError::Disconnected) => break true,
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            }
            if self.handle.has_ended() {
                break true;
            }
            if self.interrupt.is_set() {
                return Err(self.fail(FailureKind::Interrupted, "teardown", "the run was interrupted".to_owned()));
            }
            if Instant::now() >= deadline {
                break false;
            }
        };
        if !ended {
            self.handle.kill();
        }
        match self.handle.wait() {
            Exit::Code(0) => Ok(measured),
            exit if ended => {
                let message = format!("the agent reported and then {}", exit_words(&exit));
                Err(self.fail(FailureKind::Crashed, "teardown", message))
            }
            _ => {
                let message =
                    format!("the agent did not end within {} s of its report and was killed", EXIT_TIMEOUT.as_secs());
                Err(self.fail(FailureKind::TimedOut, "teardown", message))
            }
        }
    }

    /// Sends a request and waits for the reply.
    fn ask(&mut self, phase: &str, request: &Request, timeout: Duration) -> Result<Reply, Failure> {
        self.post(phase, request)?;
        self.wait(phase, timeout)
    }

    /// Waits for the reply to the request before.
    fn wait(&mut self, phase: &str, timeout: Duration) -> Result<Reply, Failure> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if let Some(reply) = self.look(phase, WATCH_EVERY)? {
                return Ok(reply);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(self.too_slow(phase, timeout));
            }
        }
    }

    /// Sends a request.
    fn post(&mut self, phase: &str, request: &Request) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(request)
            .map_err(|error| self.fail(FailureKind::Protocol, phase, format!("could not write a request: {error}")))?;
        line.push(b'\n');
        // An agent that died takes nothing any more; why it died is found out when its reply is looked for.
        let _ = self.requests.as_ref().map(|requests| requests.send(line));
        self.looks_after_end = 0;
        Ok(())
    }

    /// Looks for the reply for so long, and at memory and interruption.
    fn look(&mut self, phase: &str, wait: Duration) -> Result<Option<Reply>, Failure> {
        match self.replies.recv_timeout(wait) {
            Ok(Ok(Reply::Failed(mut failure))) => {
                self.handle.kill();
                self.handle.wait();
                failure.stderr_tail = self.handle.stderr_tail();
                if failure.kind == FailureKind::Unavailable
                    && let Some(remedy) = self.handle.remedy()
                {
                    failure.message = format!("{}; {remedy}", failure.message);
                    failure.problem = failure.problem.map(|problem| Box::new(problem.fix(remedy)));
                }
                return Err(failure);
            }
            Ok(Ok(reply)) => {
                // However short the turn was: memory is looked at after each.
                self.check_memory(phase)?;
                return Ok(Some(reply));
            }
            Ok(Err(message)) => return Err(self.fail(FailureKind::Protocol, phase, message)),
            Err(RecvTimeoutError::Disconnected) => return Err(self.crashed(phase)),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if self.handle.has_ended() {
            self.looks_after_end += 1;
            if self.looks_after_end > LAST_WORDS_LOOKS {
                return Err(self.crashed(phase));
            }
            return Ok(None);
        }
        if self.interrupt.is_set() {
            return Err(self.fail(FailureKind::Interrupted, phase, "the run was interrupted".to_owned()));
        }
        self.check_memory(phase)?;
        Ok(None)
    }

    /// Ends an agent that has not answered in time.
    fn too_slow(&mut self, phase: &str, timeout: Duration) -> Failure {
        let message = format!(
            "no answer within {:.1} s, the agent and its process group were killed; `timeout` in [trial] is the limit",
            timeout.as_secs_f64()
        );
        self.fail(FailureKind::TimedOut, phase, message)
    }

    fn check_memory(&mut self, phase: &str) -> Result<(), Failure> {
        if self.handle.memory_bytes().is_none_or(|bytes| bytes <= self.memory_bytes_max) {
            return Ok(());
        }
        let message = format!(
            "the agent and what it started used more than the {} MiB that a trial may use and were killed; raise --memory-max if that is what the system needs",
            self.memory_bytes_max >> 20
        );
        Err(self.fail(FailureKind::OutOfMemory, phase, message))
    }

    /// The agent ended without an answer.
    fn crashed(&mut self, phase: &str) -> Failure {
        let exit = self.handle.wait();
        let kind = match exit {
            Exit::OutOfMemory(_) => FailureKind::OutOfMemory,
            _ => FailureKind::Crashed,
        };
        self.fail(kind, phase, format!("the agent {}", exit_words(&exit)))
    }

    fn unexpected(&mut self, phase: &str, reply: &Reply) -> Failure {
        let name = serde_json::to_value(reply)
            .ok()
            .and_then(|value| value.get("reply").and_then(|name| name.as_str().map(str::to_owned)))
            .unwrap_or_default();
        self.fail(
            FailureKind::Protocol,
            phase,
            format!("the agent answered `{name}`, which is no answer to this request"),
        )
    }

    fn fail(&mut self, kind: FailureKind, phase: &str, message: String) -> Failure {
        self.handle.kill();
        self.handle.wait();
        Failure { kind, phase: phase.to_owned(), message, stderr_tail: self.handle.stderr_tail(), problem: None }
    }
}

/// What an agent sent, where its numbers can be; else the failure that they are.
pub(crate) fn arrived<T>(checked: Result<(), String>, phase: &str, sent: T) -> Result<T, Failure> {
    match checked {
        Ok(()) => Ok(sent),
        Err(message) => Err(Failure {
            kind: FailureKind::Protocol,
            phase: phase.to_owned(),
            message: format!("the agent reported numbers that cannot be: {message}"),
            stderr_tail: String::new(),
            problem: None,
        }),
    }
}

/// What a turn is called in a failure.
pub(crate) fn phase(request: &TurnRequest) -> String {
    if request.measured { format!("turn {}", request.index) } else { "warm-up".to_owned() }
}

/// Starts one end of the conversation on a thread of its own.
fn converse(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    match thread::Builder::new().name(name.to_owned()).spawn(work) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure {
            kind: FailureKind::Launch,
            phase: "launch".to_owned(),
            message: format!("a thread that talks with the agent cannot be started: {error}{}", remedy(&error)),
            stderr_tail: String::new(),
            problem: None,
        }),
    }
}

/// Writes requests until there are no more. An agent that does not read blocks this thread and no time-out; it comes
/// free when the agent is ended. An agent that died takes nothing any more; why it died is found out elsewhere.
fn write_requests(mut input: impl Write, lines: &Receiver<Vec<u8>>) {
    for line in lines {
        if input.write_all(&line).and_then(|()| input.flush()).is_err() {
            return;
        }
    }
}

fn exit_words(exit: &Exit) -> String {
    match exit {
        Exit::Code(code) => format!("ended with code {code}"),
        Exit::Signal(signal) => format!("was ended by signal {signal}"),
        Exit::OutOfMemory(Some(limit)) => format!(
            "was killed: out of memory; its limit was {} MiB, raise --memory or --memory-max if that is what the system needs",
            limit >> 20
        ),
        Exit::OutOfMemory(None) => "was killed: out of memory".to_owned(),
        Exit::Lost(why) => format!("was lost: {why}"),
        Exit::Unknown => "ended, and the system does not tell how".to_owned(),
    }
}

/// Reads one reply line; `None` at the end of the stream.
///
/// # Errors
/// A sentence about a line that is too long, cut off, not JSON, or not a reply of this protocol.
pub fn read_reply(reader: &mut impl std::io::BufRead) -> Result<Option<Reply>, String> {
    let mut line = Vec::new();
    let read = reader
        .take(LINE_BYTES_MAX as u64)
        .read_until(b'\n', &mut line)
        .map_err(|error| format!("could not read the agent's stream: {error}"))?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        return if read == LINE_BYTES_MAX {
            Err(format!("the agent sent a line longer than {LINE_BYTES_MAX} bytes"))
        } else {
            // Cut off by the agent's end; what it died of is the better story.
            Ok(None)
        };
    }
    serde_json::from_slice(&line).map(Some).map_err(|error| {
        let text = String::from_utf8_lossy(&line);
        let excerpt: String = text.trim().chars().take(80).collect();
        format!("the agent sent `{excerpt}`, which is not a reply of protocol {PROTOCOL_VERSION}: {error}")
    })
}
