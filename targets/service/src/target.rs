//! The target: one service for one trial.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use parking_lot::{Mutex, MutexGuard};
use uplift_sdk::{
    Check, Client, Drain, Durability, OpenContext, Sampled, Samples, SettingsError, Target, TargetError, model::Table,
};

use crate::{
    client::{self, Clients},
    counters::Counters,
    driver::{self, Address, Options, Request},
    joined,
    life::{self, Data, Home, Janitor, Service, snapshot, with_log},
    loader,
    parameters::Share,
    plan::Plan,
    read_back::{self, InForce},
    sampling::Sampling,
    settings::{HttpVersion, Variant, Workload},
    template::Values,
};

/// Seed of data that are kept and copied: every trial of the run has the same.
const SNAPSHOT_SEED: u64 = 0x5eed;

/// Starts a service for one trial, and loads its data.
pub fn open(context: OpenContext) -> Result<Box<dyn Target>, TargetError> {
    let reading = |error: SettingsError| TargetError::new("reading the scenario", error);
    let (workload, variant) = crate::read(&context.workload, &context.settings).map_err(reading)?;
    let plan = Plan::compile(&workload).map_err(reading)?;
    if plan.kinds().len() > 255 {
        let message = format!("{} operations; at most 255 are told apart", plan.kinds().len());
        return Err(reading(SettingsError::new("workload", "operations", message)));
    }
    let data = if context.ledger.is_some() { Data::Kept } else { Data::OfTrial };
    if context.ledger.is_some() && context.load.batch() > 1 {
        let message = "of operations that are sent together none can be told from the others; leave `load.batch` out";
        return Err(TargetError::engine("noting what clients are told", message));
    }
    let life = life::Plan { workload: workload.clone(), variant: variant.clone(), protocol: plan.protocol, data };
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
    let service = start_with_data(&context, &plan, &life, &home, &options, &janitor)?;
    let mut options = service.options(&options);
    options.helper = workload.helper.as_ref().map(|line| helper_line(line, &options.address, &home));
    let clients = Clients::new(&workload, &plan, &options, &context, Share::default())?;
    let in_force = read_back::read(&workload, &variant, plan.protocol, &options);
    let counters = Counters::open(workload.counters.clone().into_iter(), &options);
    let (every, origin_ns) = (workload.counters_every.0, context.events.origin_ns());
    let sampling = Sampling::start(&workload.counters, every, origin_ns, &options)
        .map_err(|error| TargetError::new("starting the thread that reads counters", error))?;
    let label = context.data_dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Box::new(Running {
        counters: Mutex::new(counters),
        sampling,
        service: Some(service),
        clients,
        in_force,
        options,
        plan,
        workload,
        variant,
        label,
        home,
        _janitor: janitor,
    }))
}

/// The service on its data: made, or copied from what an earlier trial made.
fn start_with_data(
    context: &OpenContext,
    plan: &Plan,
    life: &life::Plan,
    home: &Home,
    options: &Options,
    janitor: &Janitor,
) -> Result<Service, TargetError> {
    let load_text = format!("{:?} {:?} {:?}", plan.load, plan.parameters, life.workload.pgbench);
    let ours = life.start_line().is_some() && life.variant.settings.url.is_none();
    // A PostgreSQL whose life is known makes its own cluster.
    let managed = life.start_line().is_none() && life.variant.settings.url.is_none();
    let kept = match life.workload.snapshot && (ours || managed) && life.data == Data::OfTrial {
        true => snapshot::place(&context.data_dir, life, &load_text),
        false => None,
    };
    if let Some(kept) = &kept {
        janitor.also_remove(kept);
        janitor.also_remove(&snapshot::lock_file(kept));
    }
    let locked = kept.as_ref().map(|kept| snapshot::lock(kept)).transpose();
    let _locked = locked.map_err(|error| TargetError::new("locking the snapshot of the data", error))?;
    let on_a_copy = |kept: &Path| {
        if managed {
            return Service::start_postgres(life, home, Some(kept));
        }
        snapshot::copy(kept, &home.data)
            .map_err(|error| TargetError::new("copying the snapshot of the data", error))?;
        Service::start(life, home, options, Some(janitor))
    };
    if let Some(kept) = kept.as_ref().filter(|kept| kept.is_dir()) {
        return on_a_copy(kept);
    }
    if ours {
        life::make(life, home)?;
    }
    let service = Service::start(life, home, options, Some(janitor))?;
    let seed = if kept.is_some() { SNAPSHOT_SEED } else { context.seed };
    let loading = service.options(options);
    let loading = Options {
        helper: life.workload.helper.as_ref().map(|line| helper_line(line, &loading.address, home)),
        ..loading
    };
    let loaded = loader::load(plan, &loading, seed).map_err(|error| match service.has_ended() {
        Some(how) => TargetError::engine(error.context.clone(), with_log(&how, &service.log_end(home))),
        None => error,
    });
    loaded?;
    let Some(kept) = kept.filter(|_| service.can_be_kept()) else { return Ok(service) };
    service.stop_and_keep(home, &kept)?;
    // The first trial starts as all others do. What a process left is where the copy would go.
    if managed { on_a_copy(&kept) } else { Service::start(life, home, options, Some(janitor)) }
}

/// What encrypted connections trust.
pub fn tls(workload: &Workload, home: &Home) -> crate::settings::Tls {
    let mut tls = workload.tls.clone();
    let data = home.data.display().to_string();
    tls.ca = tls.ca.map(|ca| ca.replace("{data}", &data));
    tls
}

/// The line that starts a helper.
pub fn helper_line(line: &str, address: &Address, home: &Home) -> String {
    let (host, port) = match &address.endpoint {
        driver::address::Endpoint::Tcp(host, port) => (host.clone(), port.to_string()),
        driver::address::Endpoint::Unix(_) => (String::new(), String::new()),
    };
    line.replace("{address}", &address.to_string())
        .replace("{host}", &host)
        .replace("{port}", &port)
        .replace("{data}", &home.data.display().to_string())
}

struct Running {
    workload: Workload,
    variant: Variant,
    plan: Plan,
    options: Options,
    clients: Clients,
    in_force: InForce,
    counters: Mutex<Counters>,
    /// Ends before the service does.
    sampling: Option<Sampling>,
    service: Option<Service>,
    /// The name of the trial's folder.
    label: String,
    home: Home,
    /// Dismissed after everything else is gone.
    _janitor: Janitor,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

impl Running {
    /// What ended the trial, where something did.
    fn trouble(&self) -> Option<String> {
        let service = self.service.as_ref()?;
        let log = || service.log_end(&self.home);
        if let Some(how) = service.has_ended() {
            return Some(with_log(&how, &log()));
        }
        self.clients.shared.failures.fatal().map(|why| match log() {
            log if log.is_empty() => why,
            log => with_log(&why, &log),
        })
    }

    fn keep_log(&self) {
        let Some(folder) = &self.workload.logs else { return };
        let kept = PathBuf::from(folder).join(format!("{}.log", self.label));
        // A log that cannot be kept is no reason to lose a trial.
        let _ = std::fs::create_dir_all(folder).and_then(|()| std::fs::copy(&self.home.log, kept));
    }
}

impl Target for Running {
    fn effective(&self) -> BTreeMap<String, String> {
        let mut effective = self.in_force.settings.clone();
        let settings = &self.variant.settings;
        let own = [("start", &settings.start), ("init", &settings.init), ("dir", &settings.dir)];
        effective.extend(own.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?))));
        if settings.url.is_some() {
            // A URL may hold a password.
            effective.insert("service_at".to_owned(), self.options.address.to_string());
        }
        if let Some(missing) = &self.in_force.missing {
            effective.insert("settings_in_force".to_owned(), format!("not read: {missing}"));
        }
        effective
    }

    fn system(&self) -> Option<Table> {
        joined::system(&self.options)
    }

    fn durability(&self) -> Durability {
        self.in_force.durability.or(self.variant.settings.durability).unwrap_or(Durability::None)
    }

    fn client(&self, index: usize, seed: u64) -> Result<Box<dyn Client + '_>, TargetError> {
        self.clients.client(index, seed)
    }

    fn resume(&self) {
        self.sampling.iter().for_each(Sampling::resume);
    }

    fn quiesce(&self) -> Result<(), TargetError> {
        self.sampling.iter().for_each(Sampling::pause);
        self.trouble().map_or(Ok(()), |why| Err(TargetError::engine("under load", why)))
    }

    fn drain(&self) -> Result<Drain, TargetError> {
        match self.trouble() {
            Some(why) => Err(TargetError::engine("after the load", why)),
            None => Ok(Drain { owed: Some(0), detail: self.clients.shared.failures.summary(), ..Drain::default() }),
        }
    }

    fn check(&self) -> Result<Check, TargetError> {
        let asked = ask_checks(&self.plan, &self.options);
        let detail = match &asked {
            Ok(0) => "the service answers; the scenario has no `checks`".to_owned(),
            Ok(checks) => format!("the service answers, and {checks} checks passed"),
            Err(why) => why.clone(),
        };
        // Whoever answers a new connection is alive, whatever the scenario checks.
        let alive = self.clients.shared.driver.connect(0).map(drop);
        Ok(match (asked, alive) {
            (Ok(checks), Ok(())) => Check { passed: true, checked: checks + 1, detail },
            (Err(why), _) => Check { passed: false, checked: 1, detail: why },
            (_, Err(fault)) => {
                Check { passed: false, checked: 1, detail: format!("the service does not answer: {fault}") }
            }
        })
    }

    fn sample(&self, samples: &mut Samples) {
        lock(&self.counters).sample(samples);
        self.sampling.iter().for_each(|sampling| sampling.note(samples));
        client::sample_cpu(samples);
        samples.absent("rss_peak_bytes", "that of the load generator is not the service's");
    }

    fn sampled(&self) -> Option<Sampled> {
        self.sampling.as_ref().map(Sampling::sampled)
    }

    fn close(mut self: Box<Self>) -> Result<(), TargetError> {
        self.sampling = None;
        let Some(service) = self.service.take() else { return Ok(()) };
        let stopped = service.stop();
        stopped.map_err(|why| TargetError::engine("stopping the service", with_log(&why, &life::log_end(&self.home))))
    }

    fn processes(&self) -> Vec<u32> {
        self.service.as_ref().map(Service::processes).unwrap_or_default()
    }

    fn unobservable_work(&self) -> Option<String> {
        self.service.as_ref().and_then(Service::unobservable)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.sampling = None;
        if let Some(Err(why)) = self.service.take().map(Service::stop) {
            eprintln!("{why}");
        }
        self.keep_log();
    }
}

/// Asks what a scenario checks: how many checks passed.
///
/// # Errors
/// The first that did not.
pub fn ask_checks(plan: &Plan, options: &Options) -> Result<u64, String> {
    for (name, check) in &plan.checks {
        let request = Request { expect: check.expect.clone(), ..Request::plain(&check.send) };
        let judge = check.expect.judge()?;
        let driver = driver::open(plan.protocol, &[request], &[], options)?;
        let mut connection = driver.connect(0).map_err(|fault| format!("check `{name}`: {fault}"))?;
        let answer = connection.ask(0, &Values::new()).map_err(|fault| format!("check `{name}`: {fault}"))?;
        if judge.of(&answer) != uplift_sdk::OutcomeKind::Ok {
            let answer = driver::stream::shown(answer.body);
            return Err(format!("check `{name}`: `{}` was answered by `{answer}`", check.send));
        }
    }
    Ok(plan.checks.len() as u64)
}
