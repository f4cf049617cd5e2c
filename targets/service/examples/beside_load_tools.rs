//! pgbench, redis-benchmark and wrk beside uplift's load: the same operations on the same service, interleaved on one machine.
//!
//! `cargo run -p uplift-service --example beside_load_tools -- target/debug/uplift` starts Redis, nginx and PostgreSQL, asks
//! each by its tool and by uplift in turn, and prints the ratio of throughputs with its 95 % interval, those of p50 and p99,
//! and the CPU time of either client for each operation. `--rounds 8 --seconds 5` are the defaults and take about eight
//! minutes on a quiet machine; `--only redis` takes one service, `--clients 4` other numbers of connections. It needs
//! `apt-get install redis-server redis-tools nginx-light wrk postgresql`.
//!
//! Percentiles are compared where the tool tells them: redis-benchmark and wrk print p50 and p99, pgbench writes down each
//! transaction (`-l`).

use std::{
    env, fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use uplift_postgres_service::Server;
use uplift_sdk::model::{Histogram, Trial};

/// What one client said of one stretch.
#[derive(Clone, Copy)]
struct Told {
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
    cpu_us: f64,
}

/// How much is measured.
#[derive(Clone)]
struct Order {
    uplift: PathBuf,
    rounds: usize,
    seconds: u64,
    clients: u32,
    only: Option<String>,
}

impl Order {
    fn read() -> Result<Self, String> {
        let mut arguments = env::args().skip(1);
        let uplift =
            arguments.next().filter(|first| !first.starts_with('-')).ok_or("the binary `uplift` is not named")?;
        let uplift = fs::canonicalize(&uplift).map_err(|error| format!("`{uplift}`: {error}"))?;
        let mut order = Self { uplift, rounds: 8, seconds: 5, clients: 8, only: None };
        while let Some(argument) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("`{argument}` takes a value"))?;
            let number = || value.parse::<u32>().ok().filter(|number| *number > 0).ok_or("it must be a number from 1");
            match argument.as_str() {
                "--rounds" => order.rounds = number()? as usize,
                "--seconds" => order.seconds = u64::from(number()?),
                "--clients" => order.clients = number()?,
                "--only" => order.only = Some(value),
                other => return Err(format!("`{other}` is not known")),
            }
        }
        Ok(order)
    }
}

/// Asks by the tool once.
type Ask = dyn Fn(&Order, &Path) -> Told;

/// One service and what is asked of it.
struct Case {
    name: &'static str,
    tool: &'static str,
    /// The part of a scenario between its title and its load.
    workload: String,
    /// Settings of the one variant.
    settings: String,
    ask: Box<Ask>,
}

fn main() -> ExitCode {
    let order = match Order::read() {
        Ok(order) => order,
        Err(why) => {
            eprintln!(
                "{why}; usage: beside_load_tools UPLIFT [--rounds N] [--seconds N] [--clients N] [--only redis|http|postgres]"
            );
            return ExitCode::from(2);
        }
    };
    let folder = env::temp_dir().join(format!("uplift-beside-load-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for results");
    println!(
        "{} rounds of {} s, {} connections, each tool and uplift in turn",
        order.rounds, order.seconds, order.clients
    );
    println!(
        "| operation | tool | its throughput | uplift's of that | p50 of that | p99 of that | CPU, tool | CPU, uplift |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|");
    let wanted = |name: &str| order.only.as_deref().is_none_or(|only| only == name);
    if wanted("redis") {
        let service = Redis::start(&folder);
        compare(&order, &folder, &service.case());
    }
    if wanted("http") {
        let service = Nginx::start(&folder);
        compare(&order, &folder, &service.case());
    }
    if wanted("postgres") {
        let server = Server::start(&folder.join("postgres"), &[]).expect("PostgreSQL: apt-get install postgresql");
        let place = Place::of(server.connection());
        place.initialize();
        for case in place.cases() {
            compare(&order, &folder, &case);
        }
    }
    let _ = fs::remove_dir_all(&folder);
    ExitCode::SUCCESS
}

fn compare(order: &Order, folder: &Path, case: &Case) {
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for round in 0..order.rounds {
        // Whoever goes first alternates, so that a drift meets both.
        for tool in [round % 2, 1 - round % 2] {
            if tool == 0 {
                theirs.push((case.ask)(order, folder));
            } else {
                ours.push(uplift(order, folder, case));
            }
        }
    }
    let ratio = |of: fn(&Told) -> f64| ratio_words(theirs.iter().zip(&ours).map(|(their, our)| of(our) / of(their)));
    let middle = |all: &[Told], of: fn(&Told) -> f64| median(all.iter().map(of).collect());
    println!(
        "| {} | {} | {:.0}/s | {} | {} | {} | {:.1} µs | {:.1} µs |",
        case.name,
        case.tool,
        middle(&theirs, |told| told.per_second),
        ratio(|told| told.per_second),
        ratio(|told| told.p50_us),
        ratio(|told| told.p99_us),
        middle(&theirs, |told| told.cpu_us),
        middle(&ours, |told| told.cpu_us),
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Geometric mean and its 95 % interval by Student's t.
fn ratio_words(ratios: impl Iterator<Item = f64>) -> String {
    const T: [f64; 15] = [12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13];
    let logs: Vec<f64> = ratios.map(f64::ln).collect();
    let n = logs.len() as f64;
    let mean = logs.iter().sum::<f64>() / n;
    if logs.len() < 2 {
        return format!("{:.3}", mean.exp());
    }
    let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let half = T.get(logs.len() - 2).unwrap_or(&2.0) * (variance / n).sqrt();
    format!("{:.3} [{:.3}, {:.3}]", mean.exp(), (mean - half).exp(), (mean + half).exp())
}

/// One trial of uplift, of one window.
fn uplift(order: &Order, folder: &Path, case: &Case) -> Told {
    let scenarios = folder.join("scenarios/service");
    let results = folder.join("results");
    fs::create_dir_all(&scenarios).expect("a folder for a scenario");
    let _ = fs::remove_dir_all(&results);
    let text = format!(
        "schema = 1\ntarget = \"service\"\ntitle = \"beside {}\"\nstory = \"the same load\"\n{}\n[load]\nmode = \"closed\"\nclients = {}\n\n[trial]\ninterleave = \"trials\"\nwarmup = \"500ms\"\nwindow = \"{}s\"\n\n[variants.only]\ndurability = \"none\"\n{}\n",
        case.tool, case.workload, order.clients, order.seconds, case.settings
    );
    fs::write(scenarios.join("beside.toml"), text).expect("a scenario");
    let output = Command::new(&order.uplift)
        .args(["run", "service/beside", "--blocks", "1"])
        .env("UPLIFT_SCENARIOS", folder.join("scenarios"))
        .current_dir(folder)
        .output()
        .expect("uplift");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let run = fs::read_dir(results.join("runs")).expect("a run").flatten().next().expect("a run").path();
    let lines = fs::read_to_string(run.join("trials.jsonl")).expect("trials");
    let trial: Trial = serde_json::from_str(lines.lines().next().expect("a trial")).expect("a trial");
    let measured = trial.measured.expect("a trial that measured");
    let mut response = Histogram::new();
    measured.operations.iter().for_each(|operation| response.merge(&operation.response));
    let turn = &measured.turns[0];
    assert_eq!(turn.failed, 0, "{}", measured.drain.detail);
    let quantile = |q| response.quantile(q).expect("response times") as f64 / 1e3;
    Told {
        per_second: turn.ok as f64 * 1e9 / turn.base_ns(),
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
        cpu_us: measured.counters["client_cpu_ns"] / 1e3 / turn.attempts as f64,
    }
}

/// Runs a tool: what it printed, and its CPU time in microseconds.
fn timed(command: &mut Command) -> (String, f64) {
    let children = || {
        // SAFETY: a zeroed rusage is valid, and the pointer is.
        let used = unsafe {
            let mut used: libc::rusage = std::mem::zeroed();
            libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut used);
            used
        };
        let us = |time: libc::timeval| time.tv_sec as f64 * 1e6 + time.tv_usec as f64;
        us(used.ru_utime) + us(used.ru_stime)
    };
    let before = children();
    let output = command.output().expect("the tool is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (String::from_utf8_lossy(&output.stdout).into_owned(), children() - before)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// A server that is ended with this value.
struct Started(Child);

impl Started {
    fn new(command: &mut Command, port: u16) -> Self {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the server is installed");
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(10), "the server does not answer");
            thread::sleep(Duration::from_millis(10));
        }
        Self(child)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // SAFETY: the process is this program's own and has not been waited for.
        unsafe { libc::kill(self.0.id() as libc::pid_t, libc::SIGTERM) };
        let _ = self.0.wait();
    }
}

struct Redis {
    port: u16,
    _server: Started,
}

impl Redis {
    fn start(folder: &Path) -> Self {
        let port = free_port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--save", "", "--dir"]).arg(folder);
        Self { port, _server: Started::new(&mut command, port) }
    }

    fn case(&self) -> Case {
        let port = self.port;
        let ask = move |order: &Order, _: &Path| {
            // It is told a number of requests: as many as fill the time, by a first short stretch.
            let run = |requests: u64| {
                let mut command = Command::new("redis-benchmark");
                command.args(["-p", &port.to_string(), "-c", &order.clients.to_string(), "--csv", "-r", "1000"]);
                command.args(["-n", &requests.to_string(), "GET", "key:__rand_int__"]);
                let (text, cpu_us) = timed(&mut command);
                let line = text.lines().last().expect("a line of numbers").to_owned();
                let numbers: Vec<f64> = line.rsplit("\",\"").take(7).map(number).collect();
                // The last are p50, p95, p99, max; the first is the rate.
                let (p99, p50, rate) = (numbers[1], numbers[3], numbers[6]);
                Told { per_second: rate, p50_us: p50 * 1e3, p99_us: p99 * 1e3, cpu_us: cpu_us / requests as f64 }
            };
            let first = run(20_000);
            run((first.per_second * order.seconds as f64) as u64)
        };
        Case {
            name: "GET",
            tool: "redis-benchmark",
            workload: "[workload]\nprotocol = \"redis\"\noperations.get = { send = \"GET key:{key}\" }\nparameters.key = { uniform = { to = 999, pad = 12 } }\n".to_owned(),
            settings: format!("url = \"redis://127.0.0.1:{port}\""),
            ask: Box::new(ask),
        }
    }
}

fn number(text: &str) -> f64 {
    text.trim_matches(['"', ' ', '\n']).parse().unwrap_or_else(|_| panic!("`{text}` is no number"))
}

struct Nginx {
    port: u16,
    _server: Started,
}

impl Nginx {
    fn start(folder: &Path) -> Self {
        let (port, data) = (free_port(), folder.join("nginx"));
        fs::create_dir_all(&data).expect("a folder for nginx");
        let at = data.display();
        let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {at}/{name}; "))
            .concat();
        let text = format!(
            "daemon off; pid {at}/pid; error_log stderr; worker_processes 1; events {{}} http {{ access_log off; keepalive_requests 100000000; {paths} server {{ listen 127.0.0.1:{port}; location / {{ return 200 \"hello\\n\"; }} }} }}"
        );
        let file = data.join("nginx.conf");
        fs::write(&file, text).expect("a configuration");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&data).arg("-c").arg(&file);
        Self { port, _server: Started::new(&mut command, port) }
    }

    fn case(&self) -> Case {
        let port = self.port;
        let ask = move |order: &Order, _: &Path| {
            let mut command = Command::new("wrk");
            command.args(["-t", "1", "--latency", "-c", &order.clients.to_string()]);
            command.args(["-d", &format!("{}s", order.seconds), &format!("http://127.0.0.1:{port}/")]);
            let (text, cpu_us) = timed(&mut command);
            let after = |name: &str| {
                let line = text.lines().find_map(|line| line.trim().strip_prefix(name)).expect("a line of wrk");
                line.trim().to_owned()
            };
            let requests = text.lines().find_map(|line| line.trim().split_once(" requests in ")).expect("requests");
            Told {
                per_second: number(&after("Requests/sec:")),
                p50_us: time_us(&after("50%")),
                p99_us: time_us(&after("99%")),
                cpu_us: cpu_us / number(requests.0),
            }
        };
        Case {
            name: "GET /",
            tool: "wrk",
            workload: "[workload]\nprotocol = \"http\"\noperations.get = { send = \"GET /\" }\n".to_owned(),
            settings: format!("url = \"http://127.0.0.1:{port}\""),
            ask: Box::new(ask),
        }
    }
}

/// "212.00us", "1.32ms".
fn time_us(text: &str) -> f64 {
    let at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let scale = match &text[at..] {
        "us" => 1.0,
        "ms" => 1e3,
        _ => 1e6,
    };
    number(&text[..at]) * scale
}

/// Where a cluster of PostgreSQL is.
#[derive(Clone)]
struct Place {
    connection: String,
    arguments: Vec<String>,
}

impl Place {
    fn of(connection: &str) -> Self {
        let value = |name: &str| {
            let rest = connection.split(&format!("{name}=")).nth(1)?;
            Some(rest.split_whitespace().next()?.trim_matches('\'').to_owned())
        };
        let mut arguments = Vec::new();
        for (flag, name) in [("-h", "host"), ("-p", "port"), ("-U", "user")] {
            arguments.extend(value(name).map(|value| [flag.to_owned(), value]).into_iter().flatten());
        }
        arguments.extend(value("dbname"));
        Self { connection: connection.to_owned(), arguments }
    }

    fn pgbench(&self, options: &[&str]) -> Command {
        let mut command = Command::new("pgbench");
        command.args(options).args(&self.arguments);
        command
    }

    fn initialize(&self) {
        timed(&mut self.pgbench(&["-i", "-q", "-s", "10"]));
    }

    fn cases(&self) -> Vec<Case> {
        [("select-only", "SELECT"), ("tpcb-like", "TPC-B")].map(|(script, name)| self.case(script, name)).into()
    }

    fn case(&self, script: &'static str, name: &'static str) -> Case {
        let place = self.clone();
        let ask = move |order: &Order, folder: &Path| {
            let (clients, seconds) = (order.clients.to_string(), order.seconds.to_string());
            let log = folder.join("pgbench").display().to_string();
            let options = ["-n", "-M", "prepared", "-b", script, "-c", &clients, "-j", &clients, "-T", &seconds];
            let (text, cpu_us) = timed(place.pgbench(&options).args(["-l", "--log-prefix", &log]));
            let mut times = Vec::new();
            for entry in fs::read_dir(folder).expect("the folder").flatten() {
                if entry.file_name().to_string_lossy().starts_with("pgbench.") {
                    let text = fs::read_to_string(entry.path()).expect("a log of pgbench");
                    times.extend(text.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<f64>().ok()));
                    let _ = fs::remove_file(entry.path());
                }
            }
            times.sort_by(f64::total_cmp);
            let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")).expect("its rate");
            Told {
                per_second: number(rate.split_whitespace().next().unwrap_or_default()),
                p50_us: times[times.len() / 2],
                p99_us: times[times.len() * 99 / 100],
                cpu_us: cpu_us / times.len() as f64,
            }
        };
        Case {
            name,
            tool: "pgbench",
            workload: format!(
                "[workload]\nprotocol = \"postgres\"\nquery_mode = \"prepared\"\npgbench = {{ scale = 10, initialize = false, scripts.s = {{ builtin = \"{script}\" }} }}\n"
            ),
            settings: format!("url = \"{}\"", self.url()),
            ask: Box::new(ask),
        }
    }

    /// As a scenario names it: the folder of a socket stands behind the question mark.
    fn url(&self) -> String {
        let value = |flag: &str| {
            let at = self.arguments.iter().position(|argument| argument == flag);
            at.and_then(|at| self.arguments.get(at + 1)).cloned().unwrap_or_default()
        };
        if self.connection.contains("://") {
            return self.connection.clone();
        }
        let (host, port, user) = (value("-h"), value("-p"), value("-U"));
        let database = self.arguments.last().cloned().unwrap_or_default();
        if host.starts_with('/') {
            return format!("postgres://{user}@localhost:{port}/{database}?host={host}");
        }
        format!("postgres://{user}@{host}:{port}/{database}")
    }
}
