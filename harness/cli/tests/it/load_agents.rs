//! Several agents drive one service: what they send adds up, and what becomes of one of them is said.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::bench::{Bench, Said};

/// Whether there is a Redis; where `UPLIFT_REQUIRE` names it there must be.
fn has_redis() -> bool {
    let there = Command::new("redis-server").arg("--version").output().is_ok();
    let required = std::env::var("UPLIFT_REQUIRE").is_ok_and(|names| names.split(',').any(|one| one.trim() == "redis"));
    assert!(there || !required, "UPLIFT_REQUIRE names redis, and there is no `redis-server`");
    if !there {
        eprintln!("skipped: no redis-server; apt-get install redis-server");
    }
    there
}

/// Every number of the sequence is set once: an agent that sends another's fails.
fn scenario(load: &str, trial: &str) -> String {
    format!(
        "schema = 1\ntarget = \"service\"\ntitle = \"shared\"\nstory = \"several agents\"\n\
         [workload]\nservice = \"redis\"\n\
         [workload.parameters]\nn = {{ sequential = {{}} }}\n\
         [workload.operations]\nset = {{ send = \"SET key:{{n}} 1 NX\", expect = {{ equals = \"OK\" }} }}\n\
         [workload.counters]\ncommands = {{ info = \"total_commands_processed\", per = \"total\" }}\n\
         [load]\n{load}\n[trial]\nwarmup = \"200ms\"\n{trial}\n[variants.only]\nappendonly = \"no\"\n"
    )
}

fn bench_with(text: &str) -> Bench {
    let bench = Bench::new();
    let folder = bench.folder.path().join("scenarios/service");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("shared.toml"), text).unwrap();
    bench
}

fn command(bench: &Bench, arguments: &[&str]) -> Command {
    let mut command = bench.command(arguments);
    command.env("UPLIFT_SCENARIOS", bench.folder.path().join("scenarios"));
    command
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("`{value}` is no count"))
}

/// What every trial of several agents must keep to.
fn adds_up(trial: &Value, clients: &[u64]) {
    assert_eq!(trial["outcome"]["status"], "ok", "{}", trial["outcome"]);
    let measured = &trial["measured"];
    let agents = measured["load_agents"].as_array().unwrap();
    let of = |key: &str| agents.iter().map(|agent| count(&agent[key])).collect::<Vec<u64>>();
    assert_eq!(of("clients"), clients);
    let turns = &measured["turns"].as_array().unwrap()[count(&measured["dropped_turns"]) as usize..];
    let attempts: u64 = turns.iter().map(|turn| count(&turn["attempts"])).sum();
    assert!(attempts > 0 && of("attempts").iter().all(|&own| own > 0));
    assert_eq!(of("attempts").iter().sum::<u64>(), attempts);
    let operation = &measured["operations"][0];
    assert_eq!(count(&operation["ok"]), attempts, "no number was sent twice: {}", measured["drain"]);
    // The server's own count holds besides what it was asked for counters.
    let commands = measured["counters"]["commands"].as_f64().unwrap();
    let asked = 4.0 * turns.len() as f64;
    assert!((0.0..=asked).contains(&(commands - attempts as f64)), "{commands} commands, {attempts} operations");
    let cpu_ns: u64 = of("cpu_ns").iter().sum();
    let client_ns = measured["counters"]["client_cpu_ns"].as_f64().unwrap();
    assert!(client_ns > 0.0 && cpu_ns > 0, "{client_ns} {cpu_ns}");
    let cpus =
        |value: &Value| value.as_array().map(|all| all.iter().map(count).collect::<Vec<u64>>()).unwrap_or_default();
    let system = cpus(&measured["system_cpus"]);
    let held = thread::available_parallelism().unwrap().get() > 1;
    assert_eq!(!system.is_empty(), held);
    for agent in agents {
        assert_eq!(agent["held"], held);
        assert_eq!(agent["clock_error_ns"], 0, "one machine has one clock");
        assert!(cpus(&agent["cpus"]).iter().all(|cpu| !held || !system.contains(cpu)), "{measured}");
    }
}

#[test]
fn closed_and_open_loads_of_several_agents_add_up() {
    if !has_redis() {
        return;
    }
    let bench = bench_with(&scenario("clients = 8\nagents = 3", "interleave = \"trials\"\nwindow = \"500ms\""));
    let said =
        Said(command(&bench, &["run", "service/shared", "--variant", "only", "--blocks", "1"]).output().unwrap());
    said.code(0);
    let trials = bench.trials();
    adds_up(&trials[0], &[3, 3, 2]);
    assert!(trials[0]["measured"]["slices"].as_array().unwrap().len() >= 3, "slices of several agents are added");

    let open = "mode = \"open\"\nrate = 400\narrival = \"constant\"\nclients = 4\nagents = 2";
    let bench = bench_with(&scenario(open, "window = \"1s\""));
    Said(command(&bench, &["run", "service/shared", "--variant", "only", "--blocks", "1"]).output().unwrap()).code(0);
    let trials = bench.trials();
    adds_up(&trials[0], &[2, 2]);
    let turn = &trials[0]["measured"]["turns"][0];
    assert_eq!(count(&turn["attempts"]) + count(&turn["unsent"]), 400, "the rates of all agents add up");
    let starts: u64 =
        trials[0]["measured"]["load_agents"].as_array().unwrap().iter().map(|agent| count(&agent["starts"])).sum();
    assert!(starts > 4, "arrivals that are waited for are watched");
    let report = fs::read_to_string(bench.run_folder().join("report.md")).unwrap();
    assert!(report.contains("the load came from 2 load agents"), "{report}");
}

#[test]
fn turns_of_several_agents_are_compared() {
    if !has_redis() {
        return;
    }
    let text =
        scenario("clients = 4\nagents = 2", "turn = \"20ms\"\nrounds = 4") + "[variants.other]\nappendonly = \"no\"\n";
    let arguments = ["compare", "only", "other", "service/shared", "--blocks", "1"];
    let bench = bench_with(&text);
    Said(command(&bench, &arguments).output().unwrap()).code(0);
    let trials = bench.trials();
    assert_eq!(trials.len(), 2);
    trials.iter().for_each(|trial| adds_up(trial, &[2, 2]));
}

/// The processes that a process has started.
fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_task = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap_or_default();
    tasks
        .flat_map(|task| of_task(task).split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// Command lines of processes that mention a folder.
fn about(folder: &Path) -> Vec<String> {
    let folder = folder.display().to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| fs::read_to_string(process.path().join("cmdline")).ok())
        .filter(|line| line.contains(&folder))
        .collect()
}

#[test]
fn a_load_agent_that_dies_fails_the_trial_and_leaves_nothing() {
    if !has_redis() {
        return;
    }
    let bench = bench_with(&scenario("clients = 4\nagents = 2", "interleave = \"trials\"\nwindow = \"20s\""));
    let uplift = command(&bench, &["run", "service/shared", "--variant", "only", "--blocks", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let victim = loop {
        // The keeper first, then the load agents, which have threads of their own once they are ready.
        let agents = children(uplift.id());
        let threads = |pid: u32| fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().count();
        if let [_, _, last] = agents[..]
            && threads(last) > 2
        {
            break last;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "no load agents: {agents:?}");
        thread::sleep(Duration::from_millis(20));
    };
    thread::sleep(Duration::from_millis(600));
    // SAFETY: it is a child of the child of this test, which waits for it.
    unsafe { libc::kill(victim as libc::pid_t, libc::SIGKILL) };
    let said = Said(uplift.wait_with_output().unwrap());
    assert!(began.elapsed() < Duration::from_secs(20), "the end of the window is not waited for");
    said.code(5).says("load agent 2 of 2").says("signal 9");
    let trials = bench.trials();
    assert_eq!(trials[0]["outcome"]["kind"], "crashed", "{}", trials[0]["outcome"]);
    assert_eq!(trials[0]["measured"], Value::Null, "nothing of it is taken for the service's");
    assert_eq!(about(bench.folder.path()), Vec::<String>::new());
}

#[test]
fn what_cannot_be_shared_is_said_before_anything_starts() {
    let bench = Bench::new();
    let said = bench.uplift(&[
        "run",
        "reference/steady",
        "--variant",
        "baseline",
        "--set",
        "load.clients=2",
        "--set",
        "load.agents=2",
        "--blocks",
        "1",
    ]);
    said.code(2).says("cannot be driven by several agents");
    let bench = bench_with(&scenario("clients = 2\nagents = 3", ""));
    let said = Said(command(&bench, &["list"]).output().unwrap());
    said.says("3 agents cannot share 2 clients");
}

#[test]
fn a_screen_of_several_agents_is_refused_before_anything_starts() {
    if thread::available_parallelism().map_or(1, usize::from) < 2 {
        eprintln!("skipped: a screen needs two CPUs");
        return;
    }
    let text = scenario("clients = 2\nagents = 2", "") + "[variants.other]\nappendonly = \"yes\"\n";
    let bench = bench_with(&text);
    let said = Said(command(&bench, &["compare", "only", "other", "service/shared", "--screen"]).output().unwrap());
    said.code(2).says("`agents` in [load]");
}
