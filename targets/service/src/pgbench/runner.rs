//! Carries scripts out: one runner for each client, with a session and variables of its own.

use std::{sync::Arc, time::Duration};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{
    Value, Variables, evaluate,
    script::{Command, Located, Script, Sql, variable_at},
};
use crate::{
    driver::{
        Fault, Options,
        postgres::{Answered, Session},
    },
    expect::{CONFLICT, CONNECTION, REFUSED, UNEXPECTED},
    failures::Trouble,
    settings::QueryMode,
};

/// Runs scripts in one session.
pub struct Runner {
    scripts: Arc<Vec<Script>>,
    options: Options,
    session: Option<Session>,
    /// Which statements the server knows, by script and command.
    prepared: Vec<Vec<bool>>,
    variables: Variables,
    random: ChaCha8Rng,
    text: Vec<u8>,
}

/// The end of a statement that did not succeed, within its script.
type Ended = Result<(), Trouble>;

/// The number of a script, by their weights.
pub(super) fn choose(scripts: &[Script], random: &mut ChaCha8Rng) -> usize {
    let total: u32 = scripts.iter().map(|script| script.weight).sum();
    let mut left = if scripts.len() > 1 { random.random_range(0..total) } else { 0 };
    let mut chosen = 0;
    while left >= scripts[chosen].weight {
        left -= scripts[chosen].weight;
        chosen += 1;
    }
    chosen
}

/// The variables with which client `index` begins.
pub(super) fn first_variables(given: &Variables, index: usize, seed: u64) -> Variables {
    let mut variables = given.clone();
    variables.insert("client_id".to_owned(), Value::Int(index as i64));
    variables.entry("random_seed".to_owned()).or_insert(Value::Int(seed as i64));
    variables
}

impl Runner {
    /// For client `index`.
    pub fn new(scripts: Arc<Vec<Script>>, options: Options, given: &Variables, index: usize, seed: u64) -> Self {
        let variables = first_variables(given, index, seed);
        Self {
            prepared: scripts.iter().map(|script| vec![false; script.commands.len()]).collect(),
            scripts,
            options,
            session: None,
            variables,
            random: ChaCha8Rng::seed_from_u64(seed),
            text: Vec::new(),
        }
    }

    /// Logs in, where there is no session.
    ///
    /// # Errors
    /// Why there is none.
    pub fn connect(&mut self) -> Result<(), Fault> {
        if self.session.is_none() {
            self.session = Some(Session::connect(&self.options)?);
            self.prepared.iter_mut().for_each(|known| known.fill(false));
        }
        Ok(())
    }

    /// Where the next transaction begins among all random numbers of this client.
    pub fn position(&self) -> u64 {
        self.random.get_word_pos() as u64
    }

    /// Chooses a script by its weight and carries it out; its number, and what went wrong.
    pub fn run(&mut self) -> (usize, Ended) {
        let scripts = Arc::clone(&self.scripts);
        let chosen = choose(&scripts, &mut self.random);
        if let Err(fault) = self.connect() {
            return (chosen, Err(Trouble::of_fault(&fault)));
        }
        let ended = self.carry_out(&scripts[chosen], chosen);
        (chosen, ended)
    }

    fn carry_out(&mut self, script: &Script, number: usize) -> Ended {
        let mut at = 0;
        // Requests that were ended within the open pipeline; `None`: no pipeline.
        let mut pipeline: Option<u32> = None;
        let mut open = b'I';
        while let Some(located) = script.commands.get(at) {
            at += 1;
            let done = match &located.command {
                Command::Set(name, expr) => {
                    evaluate(expr, &self.variables, &mut self.random).map(|value| match self.variables.get_mut(name) {
                        Some(kept) => *kept = value,
                        None => drop(self.variables.insert(name.clone(), value)),
                    })
                }
                Command::Sleep(expr, unit_ns) => evaluate(expr, &self.variables, &mut self.random)
                    .and_then(|value| value.int())
                    .map(|number| std::thread::sleep(Duration::from_nanos(number.max(0) as u64 * unit_ns))),
                Command::If(condition, otherwise) => {
                    evaluate(condition, &self.variables, &mut self.random).map(|value| {
                        if !value.holds() {
                            at = *otherwise;
                        }
                    })
                }
                Command::Jump(to) => {
                    at = *to;
                    Ok(())
                }
                Command::StartPipeline => {
                    pipeline = Some(0);
                    Ok(())
                }
                Command::SyncPipeline | Command::EndPipeline => {
                    let ends = matches!(located.command, Command::EndPipeline);
                    let synced = pipeline.unwrap_or_default() + 1;
                    pipeline = (!ends).then_some(synced);
                    let answered = self.session_do(|session| {
                        session.put_sync();
                        if !ends {
                            return Ok(None);
                        }
                        session.flush()?;
                        let mut last = Answered::default();
                        let mut refused = None;
                        for _ in 0..synced {
                            last = session.take(false)?;
                            refused = refused.or_else(|| last.refused.clone().map(|_| last.clone()));
                        }
                        Ok(Some(refused.unwrap_or(last)))
                    })?;
                    if let Some(answered) = answered {
                        open = answered.transaction;
                        self.judge(script, located, None, &answered)?;
                    }
                    Ok(())
                }
                Command::Sql(sql) => {
                    self.put(number, at - 1, sql, pipeline.is_some())
                        .map_err(|trouble| at_line(script, located, trouble))?;
                    if pipeline.is_none() {
                        let answered = self.session_do(|session| {
                            session.flush()?;
                            session.take(sql.into.is_some())
                        })?;
                        open = answered.transaction;
                        if answered.refused.is_some() {
                            // It may be unknown to the server, whether or not it was parsed before.
                            self.prepared[number][at - 1] = false;
                            let judged = self.judge(script, located, Some(sql), &answered);
                            self.roll_back(open);
                            return judged;
                        }
                        self.keep_columns(script, located, sql, answered)?;
                    }
                    Ok(())
                }
            };
            if let Err(message) = done {
                self.roll_back(open);
                let message = format!("line {} of `{}`: {message}", located.line, script.origin);
                return Err(Trouble { category: UNEXPECTED, message, fatal: true });
            }
        }
        if open != b'I' {
            self.roll_back(open);
            let message = format!("`{}` ends within a transaction; end it with `END;`", script.origin);
            return Err(Trouble { category: UNEXPECTED, message, fatal: true });
        }
        Ok(())
    }

    /// Does something with the session; a fault ends it.
    fn session_do<T>(&mut self, action: impl FnOnce(&mut Session) -> Result<T, Fault>) -> Result<T, Trouble> {
        let Some(session) = &mut self.session else {
            return Err(Trouble { category: CONNECTION, message: "there is no session".to_owned(), fatal: false });
        };
        action(session).map_err(|fault| {
            self.session = None;
            Trouble::of_fault(&fault)
        })
    }

    /// Writes a statement with the values of its variables.
    fn put(&mut self, script: usize, command: usize, sql: &Sql, in_pipeline: bool) -> Ended {
        let mode = self.options.query_mode;
        if mode == QueryMode::Simple {
            if in_pipeline {
                let message = "a pipeline needs `query_mode = \"extended\"` or \"prepared\"".to_owned();
                return Err(Trouble { category: UNEXPECTED, message, fatal: true });
            }
            self.text.clear();
            substitute(&sql.text, &self.variables, &mut self.text);
            let text = std::mem::take(&mut self.text);
            let put = self.session_do(|session| session.put_query(&text));
            self.text = text;
            return put;
        }
        let mut texts: Vec<Option<String>> = Vec::with_capacity(sql.variables.len());
        for name in &sql.variables {
            let value = self.variables.get(name).ok_or_else(|| Trouble {
                category: UNEXPECTED,
                message: format!("the variable `{name}` has no value"),
                fatal: true,
            })?;
            texts.push((*value != Value::Null).then(|| value.to_string()));
        }
        let known = mode == QueryMode::Prepared && std::mem::replace(&mut self.prepared[script][command], true);
        let name = if mode == QueryMode::Prepared { format!("P{script}_{command}") } else { String::new() };
        self.session_do(|session| {
            if !known {
                session.put_parse(&name, &sql.numbered)?;
            }
            session.put_execute_unsynced(&name, texts.iter().map(|text| text.as_ref().map(String::as_bytes)))?;
            if !in_pipeline {
                session.put_sync();
            }
            Ok(())
        })
    }

    /// What a refusal means.
    fn judge(&self, script: &Script, located: &Located, sql: Option<&Sql>, answered: &Answered) -> Ended {
        let Some(code) = &answered.refused else { return Ok(()) };
        let words = self.session.as_ref().map(|session| String::from_utf8_lossy(session.body()).into_owned());
        let conflict = matches!(code.as_str(), "40001" | "40P01");
        // Written wrongly, not allowed, or not there: the same again would be refused again.
        let fatal = ["42", "0A", "28", "3D", "3F"].iter().any(|class| code.starts_with(class));
        let before = sql.zip(answered.position).map_or(0, |(sql, position)| {
            sql.text.chars().take(position.saturating_sub(1)).filter(|&c| c == '\n').count()
        });
        let line = located.line + before;
        Err(Trouble {
            category: if conflict { CONFLICT } else { REFUSED },
            message: format!("line {line} of `{}`: {}", script.origin, words.unwrap_or_default()),
            fatal,
        })
    }

    /// `\gset`: the columns of the only row become variables; `\aset`: those of the last one.
    fn keep_columns(&mut self, script: &Script, located: &Located, sql: &Sql, answered: Answered) -> Ended {
        let Some(prefix) = &sql.into else { return Ok(()) };
        if answered.columns.is_empty() {
            let message = format!("line {} of `{}`: `\\gset` wants a row, got none", located.line, script.origin);
            return Err(Trouble { category: UNEXPECTED, message, fatal: false });
        }
        for (column, text) in answered.columns {
            let value = text.map_or(Value::Null, |text| Value::of_text(&text));
            self.variables.insert(format!("{prefix}{column}"), value);
        }
        Ok(())
    }

    /// Leaves a transaction that nobody will end.
    fn roll_back(&mut self, state: u8) {
        if state != b'I' {
            let _ = self.session_do(|session| {
                session.put_query(b"ROLLBACK")?;
                session.flush()?;
                session.take(false)
            });
        }
    }
}

fn at_line(script: &Script, located: &Located, mut trouble: Trouble) -> Trouble {
    if trouble.category == UNEXPECTED {
        trouble.message = format!("line {} of `{}`: {}", located.line, script.origin, trouble.message);
    }
    trouble
}

/// The text with the values of variables in place, as the simple query mode of pgbench has it: those without a value stay.
fn substitute(text: &str, variables: &Variables, into: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(colon) = rest.find(':') {
        into.extend_from_slice(&rest.as_bytes()[..colon]);
        rest = &rest[colon..];
        if rest.starts_with("::") {
            into.extend_from_slice(b"::");
            rest = &rest[2..];
            continue;
        }
        match variable_at(rest).and_then(|name| Some((name, variables.get(name)?))) {
            Some((name, value)) => {
                into.extend_from_slice(value.to_string().as_bytes());
                rest = &rest[1 + name.len()..];
            }
            None => {
                into.push(b':');
                rest = &rest[1..];
            }
        }
    }
    into.extend_from_slice(rest.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_put_in_place() {
        let variables = Variables::from([("a".to_owned(), Value::Int(5)), ("b".to_owned(), Value::Double(0.5))]);
        let mut text = Vec::new();
        substitute("SELECT :a::int, ':a', :b, :c, '12:30'", &variables, &mut text);
        assert_eq!(String::from_utf8(text).unwrap(), "SELECT 5::int, '5', 0.5, :c, '12:30'");
    }
}
