//! PostgreSQL: statements as text, parsed each time, or parsed once; pipelined where a call holds several operations.
//!
//! Messages are those of `postgres-protocol`, the crate under tokio-postgres. Each request ends with a Sync, so that each
//! is a transaction of its own and a refusal does not touch its neighbours.

mod session;
pub mod statement;

use std::{collections::VecDeque, sync::Arc};

use super::{Answer, AnswerKind, Connection, Driver, Fault, Options, Request};
use crate::{settings::QueryMode, template::Values};
pub use session::{Answered, Session};
use statement::Statement;

/// Connections to PostgreSQL.
pub struct Postgres {
    statements: Arc<Vec<Statement>>,
    options: Options,
}

impl Postgres {
    pub(super) fn new(requests: &[Request], names: &[String], options: &Options) -> Result<Self, String> {
        let compiled = requests.iter().map(|request| Statement::compile(&request.send, names));
        Ok(Self { statements: Arc::new(compiled.collect::<Result<_, _>>()?), options: options.clone() })
    }
}

impl Driver for Postgres {
    fn connect(&self, _index: usize) -> Result<Box<dyn Connection>, Fault> {
        Ok(Box::new(PostgresConnection {
            session: Session::connect(&self.options)?,
            names: (0..self.statements.len()).map(|request| format!("s{request}")).collect(),
            prepared: vec![false; self.statements.len()],
            waiting: VecDeque::new(),
            statements: Arc::clone(&self.statements),
            mode: self.options.query_mode,
            text: Vec::new(),
        }))
    }
}

struct PostgresConnection {
    session: Session,
    statements: Arc<Vec<Statement>>,
    /// The server's names of the statements.
    names: Vec<String>,
    /// Which statements the server knows.
    prepared: Vec<bool>,
    /// Requests without an answer.
    waiting: VecDeque<usize>,
    mode: QueryMode,
    text: Vec<u8>,
}

impl Connection for PostgresConnection {
    fn put(&mut self, request: usize, values: &Values) -> Result<(), Fault> {
        self.waiting.push_back(request);
        let statement = &self.statements[request];
        let given = || statement.values.iter().map(|&number| Some(values[number].as_slice()));
        match self.mode {
            QueryMode::Simple => {
                self.text.clear();
                statement.literal(values, &mut self.text);
                self.session.put_query(&self.text)
            }
            QueryMode::Extended => {
                self.session.put_parse("", &statement.text)?;
                self.session.put_execute("", given())
            }
            QueryMode::Prepared => {
                if !std::mem::replace(&mut self.prepared[request], true) {
                    self.session.put_parse(&self.names[request], &statement.text)?;
                }
                self.session.put_execute(&self.names[request], given())
            }
        }
    }

    fn flush(&mut self) -> Result<(), Fault> {
        self.session.flush()
    }

    fn take(&mut self) -> Result<Answer<'_>, Fault> {
        let answered = self.session.take(false)?;
        let request = self.waiting.pop_front();
        if answered.refused.as_deref().is_some_and(|code| code.starts_with("26"))
            && let Some(prepared) = request.and_then(|request| self.prepared.get_mut(request))
        {
            // Unknown to the server after all: its parsing was refused the first time.
            *prepared = false;
        }
        let kind = match answered.refused.as_deref() {
            None => AnswerKind::Ok,
            // Serialisation failure and deadlock.
            Some("40001" | "40P01") => AnswerKind::Conflict,
            Some(_) => AnswerKind::Refused,
        };
        let rows = answered.rows;
        Ok(Answer { kind, body: self.session.body(), rows })
    }
}
