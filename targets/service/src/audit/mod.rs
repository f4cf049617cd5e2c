//! A service that died under load, started again on what it left, and checked against what its clients were told.
//!
//! The ledger of a client says where each write was among the client's random numbers, so every write is known with all of
//! its values once the numbers are drawn again. [`leaves`] knows how a write is read back.

mod history;
mod leaves;
pub mod notes;
mod registers;

use std::{
    collections::{BTreeMap, btree_map::Entry as Place},
    env,
};

use uplift_sdk::{Audit, OpenContext, Recovered, TargetError, crash_ledger::Ledger, seed::client_seed};

use crate::{
    draws::Draws,
    driver::{self, Address, AnswerKind, Options, Request},
    leaves::Leaves,
    life::{self, Data, Home, Janitor, Service, with_log},
    loader::LoadDraws,
    parameters::samplers,
    plan::{Plan, load_request},
    settings::{HttpVersion, Protocol, Variant, Workload},
    target::{ask_checks, helper_line, tls},
    template::{Template, Values},
};
use leaves::{of_plan, of_request};
use registers::{Content, Fates, Register, Write};

/// Reads that are asked for together.
const PIPELINED: usize = 100;

/// Whether what is left of this service can be opened and checked against a ledger.
///
/// # Errors
/// Why it cannot.
pub fn can_reopen(workload: &Workload, variant: &Variant) -> Result<(), String> {
    if variant.settings.url.is_some() {
        return Err("a service with `url` was not started here, so nothing here can cut it".to_owned());
    }
    let url = uplift_postgres_service::URL_VARIABLE;
    let starts_cluster = life::Plan::of(workload, variant).is_some_and(|plan| plan.start_line().is_none());
    if starts_cluster && env::var(url).is_ok_and(|text| !text.trim().is_empty()) {
        return Err(format!("the server that {url} names was not started here; unset it"));
    }
    let plan = Plan::compile(workload).map_err(|error| error.to_string())?;
    match &workload.pgbench {
        Some(pgbench) => history::can_be_read_back(pgbench),
        None => of_plan(&plan).map(drop),
    }
}

/// A service on what is left of it.
pub struct Reopened {
    plan: Plan,
    workload: Workload,
    options: Options,
    seed: u64,
    clients: usize,
    /// The command after which it started.
    repaired: Option<String>,
    /// Ended in this order.
    _service: Service,
    home: Home,
    _janitor: Janitor,
}

impl Reopened {
    /// Starts it, without `init`.
    pub fn open(workload: Workload, variant: Variant, context: &OpenContext) -> Result<Self, TargetError> {
        let plan = Plan::compile(&workload).map_err(|error| TargetError::new("reading the scenario", error))?;
        let life = life::Plan { workload: workload.clone(), variant, protocol: plan.protocol, data: Data::Left };
        let janitor = Janitor::start(&context.data_dir)
            .map_err(|error| TargetError::new("starting the shell that cleans up when uplift is killed", error))?;
        let home = Home::create(&context.data_dir, &life, Some(&janitor))?;
        let options = Options {
            address: Address::local(0),
            timeout: workload.timeout.0,
            query_mode: workload.query_mode,
            tls: tls(&workload, &home),
            http2: workload.http == HttpVersion::Two,
            helper: None,
        };
        let start = || Service::start(&life, &home, &options, Some(&janitor));
        let (service, repaired) = match (start(), life.repair_line()) {
            (Ok(service), _) => (service, None),
            // Where the repair fails too, what the service said is what matters.
            (Err(error), Some(line)) if life::repair(&life, &home).is_ok() => {
                (start().map_err(|_| error)?, Some(line.to_owned()))
            }
            (Err(error), _) => return Err(error),
        };
        let mut options = service.options(&options);
        options.helper = workload.helper.as_ref().map(|line| helper_line(line, &options.address, &home));
        let clients = context.load.clients() as usize;
        let seed = context.seed;
        Ok(Self { plan, workload, options, seed, clients, repaired, _service: service, home, _janitor: janitor })
    }

    /// With the end of the service's log.
    fn failed(&self, why: impl std::fmt::Display) -> TargetError {
        TargetError::engine("reading back what was written", with_log(&why.to_string(), &life::log_end(&self.home)))
    }

    /// Every place that was loaded or written to, and what was done to it.
    fn places(&self, ledger: &Ledger) -> Result<Places, TargetError> {
        let mut places = Places::default();
        let names = self.plan.load_names();
        let failed = |why: String| self.failed(why);
        let mut draws = LoadDraws::new(&self.plan, self.seed).map_err(failed)?;
        for step in &self.plan.load {
            // Steps that leave nothing that is read back draw their values all the same.
            let leaves = of_request(&load_request(step), self.plan.protocol).unwrap_or_default();
            let known = places.compiled(&leaves, &names).map_err(failed)?;
            let used = draws.used(step);
            for n in 0..step.count {
                let values = draws.next(&used, n);
                for (number, leaves) in &known {
                    places.of(*number, leaves, values).loaded = leaves.content(values);
                }
            }
        }
        let operations = of_plan(&self.plan).map_err(failed)?;
        let mut compiled = Vec::new();
        for alternatives in &operations {
            let all: Result<Vec<_>, _> = alternatives.iter().map(|leaves| places.compiled(leaves, &names)).collect();
            compiled.push(all.map_err(failed)?);
        }
        for (index, entries) in ledger.clients.iter().enumerate() {
            let samplers =
                samplers(&self.plan.parameters).map_err(|(name, why)| self.failed(format!("{name}: {why}")))?;
            let mut draws = Draws::new(&self.plan.operations, samplers, client_seed(self.seed, index));
            let mut begun_after_ns = 0;
            for entry in entries {
                let drawn = draws.again(&self.plan.operations, entry.kind as usize, entry.key, entry.value);
                let drawn = drawn.ok_or_else(|| {
                    self.failed(format!("client {index} noted an operation that it does not draw again"))
                })?;
                let mut values = vec![Vec::new()];
                values.extend(draws.values.iter().cloned());
                let operation = places.operations.len();
                let acknowledged_ns = entry.acknowledged_ns();
                places.operations.push(acknowledged_ns);
                for (number, leaves) in &compiled[drawn.operation][drawn.alternative] {
                    let Some(content) = leaves.content(&values) else {
                        return Err(self.failed(format!("`{}` does not grow by a whole number", leaves.read)));
                    };
                    let write = Write { operation, acknowledged_ns, begun_after_ns, content };
                    places.of(*number, leaves, &values).writes.push(write);
                }
                begun_after_ns = acknowledged_ns.unwrap_or(begun_after_ns);
            }
        }
        Ok(places)
    }

    /// Reads every place, and judges it.
    fn judge(&self, places: &Places, fates: &mut Fates, audit: &mut Audit) -> Result<(), TargetError> {
        let driver = driver::open(self.plan.protocol, &places.requests, &self.plan.load_names(), &self.options)
            .map_err(|why| self.failed(why))?;
        let mut connection = driver.connect(0).map_err(|fault| self.failed(fault))?;
        let together = match self.plan.protocol {
            Protocol::Redis | Protocol::Postgres => PIPELINED,
            Protocol::Http | Protocol::Lines | Protocol::Helper => 1,
        };
        let all: Vec<(&String, &PlaceOf)> = places.by_read.iter().collect();
        for some in all.chunks(together) {
            for (_, place) in some {
                connection.put(place.request, &place.values).map_err(|fault| self.failed(fault))?;
            }
            connection.flush().map_err(|fault| self.failed(fault))?;
            for (read, place) in some {
                let answer = connection.take().map_err(|fault| self.failed(fault))?;
                let found = match answer.kind {
                    AnswerKind::Empty | AnswerKind::Status(404) => None,
                    AnswerKind::Ok if self.plan.protocol == Protocol::Postgres && answer.rows == 0 => None,
                    AnswerKind::Ok | AnswerKind::Status(200..300) => Some(answer.body),
                    AnswerKind::Refused | AnswerKind::Conflict | AnswerKind::Status(_) => {
                        audit.wrong += 1;
                        let why = driver::stream::shown(answer.body);
                        audit.note(|| format!("`{read}` is refused: {why}"));
                        continue;
                    }
                };
                place.register.judge(read, found, fates, audit);
            }
        }
        Ok(())
    }
}

impl Recovered for Reopened {
    fn audit(&self, ledger: &Ledger) -> Result<Audit, TargetError> {
        debug_assert!(ledger.clients.len() <= self.clients, "a ledger for each client");
        let mut audit = Audit {
            acknowledged: ledger.acknowledged(),
            in_flight: ledger.open(),
            repaired: self.repaired.clone(),
            ..Audit::default()
        };
        if let Some(pgbench) = &self.workload.pgbench {
            history::audit(pgbench, &self.plan, &self.options, self.seed, ledger, &mut audit)
                .map_err(|why| self.failed(why))?;
        } else {
            let places = self.places(ledger)?;
            let mut fates = Fates::default();
            self.judge(&places, &mut fates, &mut audit)?;
            for (operation, acknowledged_ns) in places.operations.iter().enumerate() {
                let Some(ns) = acknowledged_ns else { continue };
                match (fates.lost.contains(&operation), fates.seen.contains(&operation)) {
                    (true, _) => audit.note_lost(*ns, ledger.cut_ns),
                    (false, false) => audit.superseded += 1,
                    (false, true) => {}
                }
            }
        }
        // What holds after every load holds after this one.
        if let Err(why) = ask_checks(&self.plan, &self.options) {
            audit.wrong += 1;
            audit.note(|| why);
        }
        Ok(audit)
    }
}

/// What is looked at.
#[derive(Default)]
struct Places {
    requests: Vec<Request>,
    by_read: BTreeMap<String, PlaceOf>,
    /// When each operation of the load was acknowledged.
    operations: Vec<Option<u64>>,
}

struct PlaceOf {
    /// The request that reads it, and the values in it.
    request: usize,
    values: Values,
    register: Register,
}

/// [`Leaves`], ready to be filled.
struct Compiled {
    read: String,
    template: Template,
    value: Option<Template>,
    adds: Option<Template>,
    there: bool,
}

impl Compiled {
    /// `None`: it adds no number.
    fn content(&self, values: &Values) -> Option<Content> {
        let filled = |template: &Template| {
            let mut text = Vec::new();
            template.fill(values, &mut text);
            text
        };
        Some(match (&self.value, &self.adds) {
            (Some(value), _) => Content::Holds(filled(value)),
            (None, Some(adds)) => Content::Adds(std::str::from_utf8(&filled(adds)).ok()?.parse().ok()?),
            (None, None) if self.there => Content::There,
            (None, None) => Content::Gone,
        })
    }
}

impl Places {
    /// Each with the number of its request.
    fn compiled(&mut self, leaves: &[Leaves], names: &[String]) -> Result<Vec<(usize, Compiled)>, String> {
        let mut all = Vec::new();
        for one in leaves {
            let of = |text: &Option<String>| text.as_ref().map(|text| Template::compile(text, names)).transpose();
            let compiled = Compiled {
                read: one.read.clone(),
                template: Template::compile(&one.read, names)?,
                value: of(&one.value)?,
                adds: of(&one.adds)?,
                there: one.there,
            };
            let known = self.requests.iter().position(|request| request.send == one.read);
            let number = known.unwrap_or_else(|| {
                self.requests.push(Request::plain(&one.read));
                self.requests.len() - 1
            });
            all.push((number, compiled));
        }
        Ok(all)
    }

    /// The place that a request with these values reads.
    fn of(&mut self, request: usize, leaves: &Compiled, values: &Values) -> &mut Register {
        let mut read = Vec::new();
        leaves.template.fill(values, &mut read);
        match self.by_read.entry(String::from_utf8_lossy(&read).into_owned()) {
            Place::Occupied(there) => &mut there.into_mut().register,
            Place::Vacant(free) => {
                let mut own = vec![Vec::new(); values.len()];
                leaves.template.values().for_each(|number| own[number].clone_from(&values[number]));
                &mut free.insert(PlaceOf { request, values: own, register: Register::default() }).register
            }
        }
    }
}
