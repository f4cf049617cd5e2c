//! `uplift agent-check PROGRAM`: whether a program of any language can be an agent.
//!
//! The harness is strict with agents, and a trial ends at the first mistake; here all of them are found and named.

mod answers;
mod talk;

use std::{path::Path, time::Duration};

use serde_json::json;
use uplift_model::{
    Table,
    protocol::{PROTOCOL_VERSION, Prepare, Reply, Request, TurnLength, TurnRequest},
    scenario::Load,
    trial::FailureKind,
};

use self::talk::{Talk, unexpected};
use crate::{args::AgentCheckArgs, error::CliError, exit, external, output::Terminal, overrides::value_of};

/// Length of the turns that are bounded by time.
const TURN: Duration = Duration::from_millis(100);
/// Calls of the client in the turn that is bounded by them.
const CALLS: u64 = 10;
/// How long the variant must be quiet between two turns.
const QUIET: Duration = Duration::from_millis(200);
/// A key that no target knows.
const NO_KEY: &str = "no-such-key";

/// What was found, line by line.
#[derive(Default)]
struct Findings {
    text: String,
    passed: u32,
    failed: u32,
}

impl Findings {
    fn note(&mut self, what: &str, outcome: Result<String, String>) -> bool {
        let (word, detail) = match &outcome {
            Ok(detail) => ("ok  ", detail),
            Err(detail) => ("FAIL", detail),
        };
        let colon = if detail.is_empty() { "" } else { ": " };
        self.text.push_str(&format!("{word} {what}{colon}{detail}\n"));
        *(if outcome.is_ok() { &mut self.passed } else { &mut self.failed }) += 1;
        outcome.is_ok()
    }

    /// Several rules of one answer: one line if all hold, else one for each that does not.
    fn rules(&mut self, what: &str, detail: String, broken: Vec<String>) -> bool {
        if broken.is_empty() {
            return self.note(what, Ok(detail));
        }
        broken.into_iter().fold(true, |_, rule| self.note(what, Err(rule)))
    }
}

/// What is tried, and with what.
struct Subject<'a> {
    program: &'a Path,
    timeout: Duration,
    target: String,
    workload: Table,
    settings: Table,
}

/// Tries everything and prints what was found.
pub fn run(args: &AgentCheckArgs, terminal: &Terminal) -> Result<u8, CliError> {
    let program = external::find(&args.program)?;
    let mut subject = Subject {
        program: &program,
        timeout: args.timeout.0,
        target: args.target.clone().unwrap_or_default(),
        workload: table(&args.workload, "--workload")?,
        settings: table(&args.settings, "--set")?,
    };
    let mut findings = Findings::default();
    match whole_trial(&mut subject, &mut findings) {
        Ok(()) => refusals(&subject, &mut findings),
        Err(step) => {
            findings.note(step.what, Err(step.why));
        }
    }
    findings.text.push_str(&format!("agent-check: {} passed, {} failed\n", findings.passed, findings.failed));
    terminal.print(&findings.text);
    Ok(if findings.failed == 0 { exit::OK } else { exit::FAILED })
}

fn table(pairs: &[String], option: &str) -> Result<Table, CliError> {
    let read = |pair: &String| {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            CliError::usage(format!("{option} `{pair}` has no `=`"), &format!("write {option} key=value"))
        })?;
        Ok((key.trim().to_owned(), value_of(value.trim())))
    };
    pairs.iter().map(read).collect()
}

/// A step that ends the conversation.
struct Broken {
    what: &'static str,
    why: String,
}

fn at(what: &'static str) -> impl Fn(String) -> Broken {
    move |why| Broken { what, why }
}

/// A trial from hello to the end of the process.
fn whole_trial(subject: &mut Subject<'_>, findings: &mut Findings) -> Result<(), Broken> {
    let mut talk = Talk::start(subject.program, subject.timeout).map_err(at("start"))?;
    let hello = talk.hello().map_err(at("hello"))?;
    let detail =
        format!("protocol {}, version {}, targets: {}", hello.protocol, hello.version, hello.targets.join(", "));
    findings.rules("hello", detail, answers::hello(&hello));

    let described = match talk.ask(&Request::Describe).map_err(at("describe"))? {
        Reply::Described { targets } => targets,
        other => return Err(at("describe")(unexpected("described", &other))),
    };
    findings.rules("describe", format!("{} targets", described.len()), answers::described(&described, &hello));
    if subject.target.is_empty() {
        subject.target = described.first().map(|target| target.name.clone()).unwrap_or_default();
    }
    let target = described.iter().find(|target| target.name == subject.target).ok_or_else(|| {
        let known: Vec<&str> = described.iter().map(|target| target.name.as_str()).collect();
        at("describe")(format!("there is no target `{}`; there is: {}", subject.target, known.join(", ")))
    })?;

    let validate = |settings: &Table| Request::Validate {
        target: subject.target.clone(),
        workload: subject.workload.clone(),
        settings: settings.clone(),
    };
    let accepted = match talk.ask(&validate(&subject.settings)).map_err(at("validate"))? {
        Reply::Validated(validated) => validated.problem,
        other => return Err(at("validate")(unexpected("validated", &other))),
    };
    if let Some(problem) = accepted {
        let (table, keys) = (problem.table.name(), problem.keys.join("."));
        let fix = "say with --workload and --set what it needs";
        return Err(at("validate")(format!("{table}.{keys}: {}; {fix}", problem.message)));
    }
    findings.note("validate", Ok("accepts workload and settings".to_owned()));
    let mut wrong = subject.settings.clone();
    wrong.insert(NO_KEY.to_owned(), json!(1));
    let refusal = match talk.ask(&validate(&wrong)).map_err(at("validate"))? {
        Reply::Validated(validated) => answers::unknown_key(validated.problem, NO_KEY),
        other => return Err(at("validate")(unexpected("validated", &other))),
    };
    findings.note("validate an unknown setting", refusal);

    let prepare = subject.prepare(&subject.target, &subject.settings, talk.data_dir());
    let ready = match talk.ask(&prepare).map_err(at("prepare"))? {
        Reply::Ready(ready) => ready,
        other => return Err(at("prepare")(unexpected("ready", &other))),
    };
    findings.note("prepare", Ok(format!("set up in {:.1} ms, {}", ready.setup_ns as f64 / 1e6, ready.durability)));

    let mut turns = Vec::new();
    for (what, index, measured, length) in [
        ("warm-up turn", 0, false, TurnLength::Nanoseconds(TURN.as_nanos() as u64)),
        ("turn of some calls", 0, true, TurnLength::Operations(CALLS)),
        ("turn of some time", 1, true, TurnLength::Nanoseconds(TURN.as_nanos() as u64)),
    ] {
        let begun = std::time::Instant::now();
        let request = TurnRequest { index, measured, length };
        let record = match talk.ask(&Request::Turn(request.clone())).map_err(at(what))? {
            Reply::Turn(record) => record,
            other => return Err(at(what)(unexpected("turn", &other))),
        };
        let broken = answers::turn(&request, &record, begun.elapsed(), turns.last());
        findings.rules(what, format!("{} operations in {:.1} ms", record.ok, record.wall_ns as f64 / 1e6), broken);
        turns.push(record);
        std::thread::sleep(QUIET);
    }
    let measured = match talk.ask(&Request::Finish { drop_turns: 1 }).map_err(at("finish"))? {
        Reply::Finished(measured) => measured,
        other => return Err(at("finish")(unexpected("finished", &other))),
    };
    let broken = answers::measured(&measured, &ready, &turns, &target.description);
    findings.rules("finish", measured.check.detail.clone(), broken);
    findings.note("end after the report", ended(talk.end(), |code| code == 0));
    Ok(())
}

impl Subject<'_> {
    fn prepare(&self, target: &str, settings: &Table, data_dir: String) -> Request {
        Request::Prepare(Box::new(Prepare {
            target: target.to_owned(),
            workload: self.workload.clone(),
            settings: settings.clone(),
            load: Load::Closed { clients: 2, think: None, batch: 1, agents: 0 },
            data_dir,
            seed: 7,
            longest_turn_ns: TURN.as_nanos() as u64,
            slice_ns: 0,
            disk: None,
            ledger: None,
            role: None,
        }))
    }
}

/// What must be refused with a sentence, each in a conversation of its own.
fn refusals(subject: &Subject<'_>, findings: &mut Findings) {
    let start = || -> Result<Talk, String> {
        let mut talk = Talk::start(subject.program, subject.timeout)?;
        talk.hello().map(|_| talk)
    };
    let refused = |what: &dyn Fn(&Talk) -> Request, kind| {
        let mut talk = start()?;
        let request = what(&talk);
        let failure = talk.refused(&request, kind)?;
        if failure.message.trim().is_empty() {
            return Err("it must say why in a sentence".to_owned());
        }
        ended(talk.end(), |code| code != 0).map(|_| failure.message)
    };
    let no_target = |talk: &Talk| subject.prepare("no-such-target", &subject.settings, talk.data_dir());
    findings.note("refuse an unknown target", refused(&no_target, FailureKind::Settings));
    let mut wrong = subject.settings.clone();
    wrong.insert(NO_KEY.to_owned(), json!(1));
    let no_setting = |talk: &Talk| subject.prepare(&subject.target, &wrong, talk.data_dir());
    findings.note("refuse an unknown setting", refused(&no_setting, FailureKind::Settings));

    let unknown = || {
        let mut talk = start()?;
        let failure = talk.refused(&json!({ "request": "no-such-request" }), FailureKind::Protocol)?;
        ended(talk.end(), |code| code != 0).map(|_| failure.message)
    };
    findings.note("refuse an unknown request", unknown());
    let other_protocol = || {
        let mut talk = Talk::start(subject.program, subject.timeout)?;
        match talk.ask(&Request::Hello { protocol: PROTOCOL_VERSION + 1000 })? {
            Reply::Hello(hello) if hello.protocol == PROTOCOL_VERSION => {}
            Reply::Hello(hello) => return Err(format!("its hello must name its own protocol, not {}", hello.protocol)),
            other => return Err(unexpected("hello", &other)),
        }
        match talk.receive()? {
            Some(Reply::Failed(failure)) => ended(talk.end(), |code| code != 0).map(|_| failure.message),
            Some(other) => Err(unexpected("failed", &other)),
            None => Err("after its hello it must fail with a sentence that names both versions".to_owned()),
        }
    };
    findings.note("refuse another protocol", other_protocol());
    let hung_up = || ended(start()?.end(), |code| code == 0);
    findings.note("end when the harness hangs up", hung_up());
}

fn ended(code: Result<i32, String>, is_right: impl Fn(i32) -> bool) -> Result<String, String> {
    match code? {
        code if is_right(code) => Ok(format!("code {code}")),
        0 => Err("it must end with another code than 0".to_owned()),
        code => Err(format!("it must end with code 0, and ended with {code}")),
    }
}
