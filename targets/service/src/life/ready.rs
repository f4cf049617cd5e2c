//! When a service is ready: a line of its log, a connection, a status, a statement.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use regex::Regex;

use super::{Home, Plan};
use crate::{
    driver::{self, Fault, Options, Request, stream::Stream},
    settings::Protocol,
    template::Values,
};

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Waits for the line that `ready.line` wants in the log.
///
/// # Errors
/// It ended before, or the time is over.
pub fn logged(plan: &Plan, home: &Home, has_ended: impl Fn() -> Option<String>) -> Result<(), String> {
    let ready = &plan.workload.ready;
    let Some(line) = &ready.line else { return Ok(()) };
    let wanted = Regex::new(line).map_err(|error| format!("`ready.line` is no regular expression: {error}"))?;
    let began = Instant::now();
    loop {
        let log = fs::read(&home.log).unwrap_or_default();
        if String::from_utf8_lossy(&log).lines().any(|line| wanted.is_match(line)) {
            return Ok(());
        }
        if let Some(how) = has_ended() {
            return Err(format!("{how} before it was ready"));
        }
        if began.elapsed() >= ready.timeout.0 {
            return Err(format!("it was not ready after {}: no line of its log matches `{line}`", ready.timeout));
        }
        thread::sleep(LOOK);
    }
}

/// Waits for a connection, and for the answers that `ready` wants.
///
/// # Errors
/// It ended before, or the time is over, with what was answered last.
pub fn answers(plan: &Plan, options: &Options, has_ended: impl Fn() -> Option<String>) -> Result<(), String> {
    let ready = &plan.workload.ready;
    let began = Instant::now();
    loop {
        let why = match try_once(plan, options) {
            Ok(()) => return Ok(()),
            Err(Fault::Denied(why)) => return Err(why),
            Err(other) => other.to_string(),
        };
        if let Some(how) = has_ended() {
            return Err(format!("{how} before it was ready"));
        }
        if began.elapsed() >= ready.timeout.0 {
            return Err(format!("it was not ready after {}: {why}", ready.timeout));
        }
        thread::sleep(LOOK);
    }
}

fn try_once(plan: &Plan, options: &Options) -> Result<(), Fault> {
    let ready = &plan.workload.ready;
    let (protocol, send) = match (&ready.http, &ready.sql, plan.protocol) {
        (Some(path), _, _) => (Protocol::Http, format!("GET {path}")),
        (_, Some(sql), _) => (Protocol::Postgres, sql.clone()),
        (_, _, Protocol::Redis) => (Protocol::Redis, "PING".to_owned()),
        (_, _, Protocol::Postgres) => (Protocol::Postgres, "SELECT 1".to_owned()),
        // Anything more would be a guess about what it understands; but a certificate must be trusted.
        (_, _, Protocol::Http | Protocol::Lines) => return Stream::connect(options).map(drop),
        (_, _, Protocol::Helper) => return Stream::connect_plain(options).map(drop),
    };
    let expected = |status: u16| ready.status.map_or((200..300).contains(&status), |wanted| wanted == status);
    let driver = driver::open(protocol, &[Request::plain(send)], &[], options).map_err(Fault::Denied)?;
    let mut connection = driver.connect(0)?;
    let answer = connection.ask(0, &Values::new())?;
    match answer.kind {
        driver::AnswerKind::Status(status) if !expected(status) => Err(Fault::Closed(format!("status {status}"))),
        driver::AnswerKind::Refused | driver::AnswerKind::Conflict => {
            Err(Fault::Closed(String::from_utf8_lossy(answer.body).into_owned()))
        }
        _ => Ok(()),
    }
}
