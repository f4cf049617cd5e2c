//! The life of a service: made, started, ready, stopped, and nothing of it left.
//!
//! A [`Home`] is the folder of its data; it outlives a start, so that a service can be stopped and started on data that are
//! there ([`Service::start`] never makes data: [`make`] does). Who wants to know what a service has kept starts it again
//! in the same home.

mod files;
mod janitor;
mod listening;
mod process;
mod ready;
pub mod snapshot;

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
};

use uplift_postgres_service::{Server, ServiceError};
use uplift_sdk::{TargetError, TargetErrorKind};

use crate::{
    driver::{Address, Options, address::Endpoint},
    known::Known,
    settings::{Protocol, Variant, Workload},
};
pub use janitor::Janitor;
use process::Process;

/// How often a start is tried again on another port where the one that was free is taken.
const PORT_TRIES: u32 = 3;

/// Where a service lives for one trial.
#[derive(Debug)]
pub struct Home {
    /// `{data}`: what it writes.
    pub data: PathBuf,
    /// Its standard output and error.
    pub log: PathBuf,
    /// A folder with a short name, for `{socket}`.
    sockets: Option<PathBuf>,
}

/// What a start needs to know.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The scenario's part.
    pub workload: Workload,
    /// The variant's part.
    pub variant: Variant,
    /// What it speaks.
    pub protocol: Protocol,
    /// What becomes of its data.
    pub data: Data,
}

/// What becomes of the data of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// They are the trial's, and go with it.
    OfTrial,
    /// They outlive the service, whatever ends it.
    Kept,
    /// They are what a service that died has left.
    Left,
}

impl Plan {
    /// Of a workload that says what it speaks.
    pub fn of(workload: &Workload, variant: &Variant) -> Option<Self> {
        let protocol = workload.protocol().ok()?;
        Some(Self { workload: workload.clone(), variant: variant.clone(), protocol, data: Data::OfTrial })
    }

    /// The words that start the service.
    pub fn start_line(&self) -> Option<&str> {
        self.variant.settings.start.as_deref().or(self.workload.service.and_then(Known::start))
    }

    /// The words that repair what a crash has left of it.
    pub fn repair_line(&self) -> Option<&str> {
        self.workload.repair.as_deref().or(self.workload.service.and_then(Known::repair))
    }

    fn uses(&self, place: &str) -> bool {
        let variant = &self.variant;
        self.start_line().is_some_and(|start| start.contains(place))
            || variant.texts().any(|text| text.contains(place))
            || !variant.settings.templates.is_empty()
    }
}

/// A service that answers.
pub struct Service {
    kind: Kind,
    /// How it is reached.
    pub address: Address,
}

enum Kind {
    Given(String),
    Process(Process),
    Postgres(Server),
}

/// The values of placeholders.
pub type Placeholders = BTreeMap<String, String>;

impl Home {
    /// Below a trial's folder. `janitor` removes what lies outside of it when this process is gone.
    ///
    /// # Errors
    /// A folder that could not be created.
    pub fn create(trial: &Path, plan: &Plan, janitor: Option<&Janitor>) -> Result<Self, TargetError> {
        let data = trial.join("service");
        fs::create_dir_all(&data).map_err(|error| TargetError::new(format!("creating `{}`", data.display()), error))?;
        let sockets = if plan.uses("{socket}") {
            Some(files::short_folder().map_err(|error| TargetError::new("creating a folder for a socket", error))?)
        } else {
            None
        };
        if let (Some(janitor), Some(sockets)) = (janitor, &sockets) {
            janitor.remove_outside(sockets);
        }
        Ok(Self { data, log: trial.join("service.log"), sockets })
    }

    fn placeholders(&self, plan: &Plan, port: u16) -> Placeholders {
        let mut filled = plan.variant.own.clone();
        filled.insert("port".to_owned(), port.to_string());
        filled.insert("data".to_owned(), self.data.display().to_string());
        if let Some(sockets) = &self.sockets {
            filled.insert("socket".to_owned(), sockets.join("s").display().to_string());
        }
        filled
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Some(sockets) = &self.sockets {
            let _ = fs::remove_dir_all(sockets);
        }
    }
}

/// A port that nobody listens on at this moment.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Writes what a fresh service needs into its home: files, and whatever `init` makes.
///
/// # Errors
/// A file that could not be written, or an `init` that failed.
pub fn make(plan: &Plan, home: &Home) -> Result<(), TargetError> {
    let Some(init) = &plan.variant.settings.init else { return Ok(()) };
    let filled = home.placeholders(plan, 0);
    files::write(plan, home, &filled)?;
    process::run_once(plan, home, init, &filled)
}

/// Repairs what a crash has left in a home, where there is a way to.
///
/// # Errors
/// The command failed.
pub fn repair(plan: &Plan, home: &Home) -> Result<(), TargetError> {
    let Some(line) = plan.repair_line() else { return Ok(()) };
    process::run_once(plan, home, line, &home.placeholders(plan, 0))
}

impl Service {
    /// Starts a service on the data in `home`, whatever they are, and returns when it is ready.
    ///
    /// # Errors
    /// A program that is missing ([`TargetErrorKind::Unavailable`]), a service that ended or never got ready, with the
    /// end of its log.
    pub fn start(plan: &Plan, home: &Home, options: &Options, janitor: Option<&Janitor>) -> Result<Self, TargetError> {
        if let Some(url) = &plan.variant.settings.url {
            let address = Address::parse(url, plan.protocol)
                .map_err(|message| TargetError::engine("reading the settings", format!("settings.url: {message}")))?;
            let service = Self { kind: Kind::Given(address.to_string()), address };
            ready::answers(plan, &service.options(options), || None)
                .map_err(|why| TargetError::engine(format!("waiting for the service at {}", service.address), why))?;
            return Ok(service);
        }
        let Some(start) = plan.start_line() else { return Self::start_postgres(plan, home, None) };
        let mut tries = 0;
        loop {
            tries += 1;
            let port = free_port().map_err(|error| TargetError::new("looking for a free port", error))?;
            let filled = home.placeholders(plan, port);
            files::write(plan, home, &filled)?;
            let process = Process::start(plan, home, start, &filled, janitor)?;
            let mut address = match &home.sockets {
                Some(sockets) if !plan.uses("{port}") => Address::of(Endpoint::Unix(sockets.join("s"))),
                _ => Address::local(port),
            };
            address.tls = plan.workload.tls.on;
            let service = Self { kind: Kind::Process(process), address };
            let ready = service.wait_until_ready(plan, home, options);
            match ready {
                Ok(()) => return Ok(service),
                // The port was free, and somebody else has it now.
                Err(_) if tries < PORT_TRIES && plan.uses("{port}") && service.has_ended().is_some() && taken(port) => {
                }
                Err(why) => {
                    let log = service.log_end(home);
                    return Err(TargetError::engine(format!("starting `{start}`"), with_log(&why, &log)));
                }
            }
        }
    }

    /// A PostgreSQL of our own, on a copy of the data in `kept` where there are any.
    ///
    /// # Errors
    /// As [`Service::start`].
    pub fn start_postgres(plan: &Plan, home: &Home, kept: Option<&Path>) -> Result<Self, TargetError> {
        let settings: Vec<(&str, &str)> =
            plan.variant.own.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let server = match (kept, plan.data) {
            (Some(kept), _) => Server::start_on(&home.data, &settings, &|data| snapshot::copy(kept, data)),
            (None, Data::OfTrial) => Server::start(&home.data, &settings),
            (None, Data::Kept) => Server::start_kept(&home.data, &settings),
            (None, Data::Left) => Server::reopen(&home.data, &settings),
        };
        let server = server.map_err(of_postgres)?;
        let address = Address::of_postgres(server.connection())
            .map_err(|message| TargetError::engine("reading how to connect", message))?;
        Ok(Self { kind: Kind::Postgres(server), address })
    }

    fn wait_until_ready(&self, plan: &Plan, home: &Home, options: &Options) -> Result<(), String> {
        ready::logged(plan, home, || self.has_ended())?;
        ready::answers(plan, &self.options(options), || self.has_ended())?;
        // Whoever answers must be ours.
        if let (Kind::Process(process), Endpoint::Tcp(_, port)) = (&self.kind, &self.address.endpoint) {
            if let Some(how) = process.has_ended() {
                return Err(how);
            }
            listening::belongs_to(*port, process.pid(), &process.members())?;
        }
        Ok(())
    }

    /// `options` with the address of this service.
    pub fn options(&self, options: &Options) -> Options {
        let mut own = options.clone();
        own.address = self.address.clone();
        own
    }

    /// Its processes, where they can be seen.
    pub fn processes(&self) -> Vec<u32> {
        match &self.kind {
            Kind::Given(_) => Vec::new(),
            Kind::Process(process) => vec![process.pid()],
            Kind::Postgres(server) => server.pid().into_iter().collect(),
        }
    }

    /// Why its processes cannot be seen, where they cannot.
    pub fn unobservable(&self) -> Option<String> {
        match &self.kind {
            Kind::Given(address) => {
                Some(format!("the service at {address} was not started here, and its processes cannot be seen"))
            }
            Kind::Process(_) => None,
            Kind::Postgres(server) if server.pid().is_none() => {
                Some(format!("the processes of PostgreSQL ({}) cannot be seen from here", server.origin()))
            }
            Kind::Postgres(_) => None,
        }
    }

    /// How it ended, where it has.
    pub fn has_ended(&self) -> Option<String> {
        match &self.kind {
            Kind::Process(process) => process.has_ended(),
            Kind::Given(_) | Kind::Postgres(_) => None,
        }
    }

    /// The last lines of its log.
    pub fn log_end(&self, home: &Home) -> String {
        match &self.kind {
            Kind::Process(_) => files::log_end(&home.log),
            Kind::Given(_) | Kind::Postgres(_) => String::new(),
        }
    }

    /// Whether its data can be kept and copied: it was started here, and its files are ours.
    pub fn can_be_kept(&self) -> bool {
        match &self.kind {
            Kind::Given(_) => false,
            Kind::Process(_) => true,
            Kind::Postgres(server) => server.can_be_kept(),
        }
    }

    /// Stops it and keeps its data at `place`: only a service that was stopped has all of them in its files.
    ///
    /// # Errors
    /// It had to be killed, or its data could not be copied.
    pub fn stop_and_keep(self, home: &Home, place: &Path) -> Result<(), TargetError> {
        let copying = |error| TargetError::new("keeping a copy of the data", error);
        match self.kind {
            Kind::Postgres(server) => server.stop_with(&|data| snapshot::keep(data, place)).map_err(of_postgres),
            Kind::Process(process) => {
                process.stop().map_err(|why| TargetError::engine("stopping the service to keep its data", why))?;
                snapshot::keep(&home.data, place).map_err(copying)
            }
            Kind::Given(_) => Ok(()),
        }
    }

    /// Stops it: the signal, its grace, and an end to whatever is left.
    ///
    /// # Errors
    /// It had to be killed.
    pub fn stop(self) -> Result<(), String> {
        match self.kind {
            Kind::Process(process) => process.stop(),
            Kind::Given(_) | Kind::Postgres(_) => Ok(()),
        }
    }
}

fn of_postgres(error: ServiceError) -> TargetError {
    match error {
        ServiceError::Unavailable { state, remedy } => {
            TargetError::new("looking for PostgreSQL", TargetErrorKind::Unavailable { state, remedy })
                .missing("postgres")
        }
        ServiceError::Failed { context, message } => TargetError::engine(context, message),
    }
}

/// The last lines of the log in a home.
pub fn log_end(home: &Home) -> String {
    files::log_end(&home.log)
}

/// A sentence with the end of a log.
pub fn with_log(why: &str, log: &str) -> String {
    if log.is_empty() { format!("{why}; its log is empty") } else { format!("{why}; its log ends with: {log}") }
}

fn taken(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_err()
}
