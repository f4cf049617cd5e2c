//! Engines that are reached in other ways than by the socket of this machine, and the swarm that several of them are.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use uplift_docker::{Engine, inventory};

use crate::{
    bench::{Bench, Said},
    docker::{long_run, outcomes},
    own_engine::{OwnEngine, Ways, can_start_engines, has_program},
};

const RUN: [&str; 9] =
    ["run", "reference/steady", "--variant", "baseline", "--quick", "--blocks", "1", "--launch", "docker"];

/// A folder whose path is short enough for a socket in it.
fn folder() -> TempDir {
    TempDir::with_prefix("uplift-engine-").unwrap()
}

fn said(mut command: Command) -> Said {
    Said(command.output().unwrap())
}

#[track_caller]
fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An authority, and certificates of it for 127.0.0.1 and for a client.
fn certificates(folder: &Path) {
    let newkey = "-newkey rsa:2048 -nodes -batch";
    openssl(folder, &format!("req -x509 {newkey} -subj /CN=authority -days 2 -keyout ca-key.pem -out ca.pem"));
    fs::write(folder.join("server.ext"), "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n").unwrap();
    fs::write(folder.join("client.ext"), "extendedKeyUsage=clientAuth\n").unwrap();
    for (who, key, cert) in [("server", "server-key.pem", "server.pem"), ("client", "key.pem", "cert.pem")] {
        openssl(folder, &format!("req {newkey} -subj /CN={who} -keyout {key} -out {who}.csr"));
        openssl(
            folder,
            &format!(
                "x509 -req -days 2 -in {who}.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -extfile {who}.ext -out {cert}"
            ),
        );
    }
}

/// The run is done, its data were the engine's, and nothing but the image is left.
#[track_caller]
fn is_remote_and_clean(bench: &Bench, said: &Said, own: &OwnEngine) {
    said.code(0);
    assert_eq!(outcomes(bench), ["ok"]);
    let run = fs::read_to_string(bench.run_folder().join("run.json")).unwrap();
    assert!(run.contains("is another machine's"), "the reader is told: {run}");
    let left = inventory::everything(&Engine::connect_to(&own.host()).unwrap()).unwrap();
    let left: Vec<&String> = left.iter().filter(|thing| !thing.starts_with("image ")).collect();
    assert!(left.iter().all(|thing| thing.starts_with("network ")), "{left:?}");
}

#[test]
fn an_engine_behind_a_port_is_used() {
    if !can_start_engines() {
        return;
    }
    let folder = folder();
    let options = ["--host", "tcp://127.0.0.1:2375"].map(str::to_owned).into();
    let own = OwnEngine::start_as(folder.path(), &Ways { options, ..Ways::default() });
    let bench = Bench::new();
    let mut command = own.inside(&bench.command(&RUN));
    command.env("DOCKER_HOST", "tcp://127.0.0.1:2375").env_remove("DOCKER_TLS_VERIFY").env_remove("DOCKER_CERT_PATH");
    is_remote_and_clean(&bench, &said(command), &own);
}

#[test]
fn an_engine_with_tls_is_used_and_verified() {
    if !can_start_engines() {
        return;
    }
    if !has_program("openssl") {
        eprintln!("skipped: openssl makes the certificates; apt-get install openssl");
        return;
    }
    let folder = folder();
    let (ours, others) = (folder.path().join("ours"), folder.path().join("others"));
    for certificates_of in [&ours, &others] {
        fs::create_dir(certificates_of).unwrap();
        certificates(certificates_of);
    }
    let file = |name: &str| ours.join(name).display().to_string();
    let options = vec![
        "--host=tcp://127.0.0.1:2376".to_owned(),
        "--tlsverify".to_owned(),
        format!("--tlscacert={}", file("ca.pem")),
        format!("--tlscert={}", file("server.pem")),
        format!("--tlskey={}", file("server-key.pem")),
    ];
    let own = OwnEngine::start_as(&folder.path().join("engine"), &Ways { options, ..Ways::default() });
    let bench = Bench::new();
    let with = |certificates: Option<&Path>| {
        let mut command = own.inside(&bench.command(&RUN));
        command.env("DOCKER_HOST", "tcp://127.0.0.1:2376").env_remove("DOCKER_TLS_VERIFY");
        match certificates {
            Some(folder) => command.env("DOCKER_TLS_VERIFY", "1").env("DOCKER_CERT_PATH", folder),
            None => command.env_remove("DOCKER_CERT_PATH"),
        };
        said(command)
    };
    with(None).code(5).says("HTTPS");
    with(Some(&others)).code(5).says("certificate verify failed");
    with(Some(&folder.path().join("engine"))).code(5).says("ca.pem").says("DOCKER_CERT_PATH names the folder");
    is_remote_and_clean(&bench, &with(Some(&ours)), &own);
}

/// A server of SSH on this machine. Ended when it is dropped.
struct Shell(Child);

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_engine_behind_a_secure_shell_is_used() {
    if !can_start_engines() {
        return;
    }
    let server = Path::new("/usr/sbin/sshd");
    if !server.exists() || !has_program("ssh") || !has_program("ssh-keygen") {
        eprintln!("skipped: no server of SSH; apt-get install openssh-server");
        return;
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let own = OwnEngine::start(&at("engine"));
    for name in ["host-key", "key"] {
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(at(name)).status();
        assert!(made.unwrap().success());
    }
    fs::create_dir_all("/run/sshd").unwrap();
    let settings = format!(
        "Port 2222\nListenAddress 127.0.0.1\nHostKey {}\nPidFile none\nUsePAM no\nStrictModes no\nAuthorizedKeysFile {}\nPermitRootLogin yes\nSetEnv DOCKER_HOST={}\n",
        at("host-key").display(),
        at("key.pub").display(),
        own.host()
    );
    fs::write(at("sshd_config"), settings).unwrap();
    let mut listen = Command::new(server);
    listen.args(["-D", "-e", "-f"]).arg(at("sshd_config"));
    let mut listen = own.inside(&listen);
    let _shell = Shell(listen.stdout(Stdio::null()).stderr(fs::File::create(at("sshd.log")).unwrap()).spawn().unwrap());
    // A user's settings, as `~/.ssh/config` would hold them.
    let wrapper = at("bin/ssh");
    fs::create_dir(at("bin")).unwrap();
    let key = at("key");
    let script = format!(
        "#!/bin/sh\nexec /usr/bin/ssh -F none -i {} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \"$@\"\n",
        key.display()
    );
    fs::write(&wrapper, script).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", at("bin").display(), std::env::var("PATH").unwrap_or_default());
    let bench = Bench::new();
    let run = |host: &str| {
        let mut command = own.inside(&bench.command(&RUN));
        command.env("DOCKER_HOST", host).env("PATH", &path);
        said(command)
    };
    run("ssh://127.0.0.1:2").code(5).says("no engine answers (ssh:");
    for _ in 0..500 {
        if fs::read_to_string(at("sshd.log")).is_ok_and(|log| log.contains("listening on")) {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    let done = run("ssh://127.0.0.1:2222");
    assert!(done.0.status.success(), "{}\n{}", done.err(), fs::read_to_string(at("sshd.log")).unwrap());
    is_remote_and_clean(&bench, &done, &own);
}

/// A whole life on an engine on which nothing else happens, so that everything on it can be counted.
#[test]
fn an_engine_is_empty_again_after_runs_and_a_prune() {
    if !can_start_engines() {
        return;
    }
    let folder = folder();
    let own = OwnEngine::start(folder.path());
    let holds = || inventory::everything(&Engine::connect_to(&own.host()).unwrap()).unwrap();
    let before = holds();
    for more in [&[][..], &["--set", "fault=crash"], &["--memory", "64m", "--set", "fault=allocate"]] {
        let bench = Bench::new();
        let arguments: Vec<&str> = RUN.iter().chain(more).copied().collect();
        let mut command = bench.command(&arguments);
        command.env("DOCKER_HOST", own.host());
        said(command).code(if more.is_empty() { 0 } else { 5 });
    }
    let more: Vec<String> = holds().difference(&before).cloned().collect();
    assert!(more.iter().all(|thing| thing.starts_with("image ")), "only the image stays for the next run: {more:?}");
    let bench = Bench::new();
    let mut command = bench.command(&["docker", "prune"]);
    command.env("DOCKER_HOST", own.host());
    said(command).code(0);
    assert_eq!(holds(), before, "and not even a layer of it after a prune");
}

/// Three engines in one network that are the nodes of one swarm; the first is its manager.
struct Swarm {
    engines: Vec<OwnEngine>,
    folder: TempDir,
}

impl Swarm {
    fn start() -> Self {
        let folder = folder();
        let address = |index: usize| format!("10.77.0.{}", index + 1);
        let mut engines: Vec<OwnEngine> = Vec::new();
        for index in 0..3 {
            let name = format!("node-{}", index + 1);
            let engine = Self::node(folder.path(), &name, &address(index), engines.first());
            engines.push(engine);
        }
        let listen = |index: usize| format!("{}:2377", address(index));
        let init = ["swarm", "init", "--advertise-addr", &address(0), "--listen-addr", &listen(0)];
        engines[0].docker(&init);
        let token = engines[0].docker(&["swarm", "join-token", "--quiet", "worker"]);
        for (index, engine) in engines.iter().enumerate().skip(1) {
            let (address, listen) = (address(index), listen(index));
            engine.docker(&[
                "swarm",
                "join",
                "--token",
                &token,
                "--advertise-addr",
                &address,
                "--listen-addr",
                &listen,
                init[5],
            ]);
            let label = format!("uplift.engine={}", engine.host());
            engines[0].docker(&["node", "update", "--label-add", &label, &format!("node-{}", index + 1)]);
        }
        Self { engines, folder }
    }

    fn node(folder: &Path, name: &str, address: &str, beside: Option<&OwnEngine>) -> OwnEngine {
        let ways = Ways { beside, name: Some(name), addresses: vec![address.to_owned()], ..Ways::default() };
        OwnEngine::start_as(&folder.join(name), &ways)
    }

    /// The third node again, after it was killed.
    fn revive(&mut self) {
        self.engines.truncate(2);
        let node = Self::node(self.folder.path(), "node-3", "10.77.0.3", self.engines.first());
        self.engines.push(node);
        while !self.engines[0].docker(&["node", "inspect", "--format", "{{.Status.State}}", "node-3"]).contains("ready")
        {
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn command(&self, bench: &Bench, arguments: &[&str]) -> Command {
        let mut command = bench.command(arguments);
        command.env("DOCKER_HOST", self.engines[0].host());
        command
    }

    /// Everything on all nodes but images and networks.
    fn holds(&self) -> Vec<String> {
        let all = self.engines.iter().filter_map(|engine| Engine::connect_to(&engine.host()).ok());
        all.flat_map(|engine| inventory::everything(&engine).unwrap())
            .filter(|thing| !thing.starts_with("image ") && !thing.starts_with("network "))
            .collect()
    }
}

fn places(bench: &Bench, variant: &str) -> Vec<String> {
    let trials = bench.trials();
    let of = trials.iter().filter(|trial| trial["variant"] == variant);
    of.map(|trial| trial["place"].as_str().unwrap_or("nowhere").to_owned()).collect()
}

#[test]
fn a_swarm_runs_pairs_on_its_nodes_and_a_dead_node_costs_its_block() {
    if !can_start_engines() {
        return;
    }
    let mut swarm = Swarm::start();

    // Blocks are spread over all nodes, and both variants of a block are on one.
    let bench = Bench::new();
    let compare = ["compare", "baseline", "same", "reference/steady", "--quick", "--launch", "swarm", "--blocks"];
    let arguments: Vec<&str> = compare.iter().copied().chain(["6"]).collect();
    said(swarm.command(&bench, &arguments)).code(0);
    assert_eq!(outcomes(&bench), ["ok"; 12]);
    let baseline = places(&bench, "baseline");
    assert_eq!(baseline, places(&bench, "same"), "a pair is on one node");
    for node in ["node-1", "node-2", "node-3"] {
        assert_eq!(baseline.iter().filter(|place| *place == node).count(), 2, "{baseline:?}");
    }
    // The histogram of a variant holds what was measured on all of the nodes.
    let operations: u64 = bench
        .trials()
        .iter()
        .filter(|trial| trial["variant"] == "baseline")
        .flat_map(|trial| trial["measured"]["operations"].as_array().unwrap().clone())
        .map(|operation| operation["ok"].as_u64().unwrap())
        .sum();
    let merged = bench.uplift(&["export", "latest", "--to", "hgrm", "--variant", "baseline"]);
    merged.code(0);
    let total =
        merged.out().split("Total count    = ").nth(1).and_then(|rest| rest.split(']').next()?.trim().parse().ok());
    assert_eq!(total, Some(operations), "{}", merged.out());
    assert_eq!(swarm.holds(), Vec::<String>::new());

    // A label chooses nodes, limits hold, and what a limit did is told as on a single engine.
    swarm.engines[0].docker(&["node", "update", "--label-add", "disk=fast", "node-3"]);
    let bench = Bench::new();
    let run = ["run", "reference/steady", "--variant", "baseline", "--quick", "--launch", "swarm", "--blocks", "2"];
    let arguments: Vec<&str> = run.iter().copied().chain(["--swarm-label", "disk=fast"]).collect();
    said(swarm.command(&bench, &arguments)).code(0);
    assert_eq!(places(&bench, "baseline"), ["node-3", "node-3"]);
    let bench = Bench::new();
    let arguments: Vec<&str> = run.iter().copied().chain(["--memory", "64m", "--set", "fault=allocate"]).collect();
    said(swarm.command(&bench, &arguments)).code(5).says("was killed: out of memory; its limit was 64 MiB");
    let arguments: Vec<&str> = run.iter().copied().chain(["--swarm-label", "disk=none"]).collect();
    said(swarm.command(&bench, &arguments)).code(5).says("no node has the label disk=none");
    assert_eq!(swarm.holds(), Vec::<String>::new());

    // A node dies under a trial: that block fails and says why, the others go on without the node.
    let bench = Bench::new();
    let host = swarm.engines[0].host();
    let mut child = long_run(&bench, Some(&host), "swarm");
    let dying = Engine::connect_to(&swarm.engines[2].host()).unwrap();
    while !inventory::everything(&dying).unwrap().iter().any(|thing| thing.starts_with("container ")) {
        thread::sleep(Duration::from_millis(5));
    }
    swarm.engines[2].kill();
    let failed = |bench: &Bench| outcomes(bench).iter().any(|outcome| outcome != "ok");
    while !failed(&bench) {
        assert_eq!(child.try_wait().unwrap(), None, "it goes on");
        thread::sleep(Duration::from_millis(20));
    }
    let before = bench.trials().len();
    while bench.trials().len() < before + 8 {
        assert_eq!(child.try_wait().unwrap(), None, "it goes on");
        thread::sleep(Duration::from_millis(20));
    }
    crate::own_engine::signal(&child, libc::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let trials = bench.trials();
    let failures: Vec<_> = trials.iter().filter(|trial| trial["outcome"]["status"] != "ok").collect();
    let message = |trial: &Value| trial["outcome"]["message"].as_str().unwrap_or_default().to_owned();
    let lost = failures
        .iter()
        .find(|trial| message(trial).contains("node `node-3`"))
        .unwrap_or_else(|| panic!("{failures:#?}"));
    // The interrupt ended a block as well.
    let of_block = |trial: &&&Value| message(trial) != "the run was interrupted" && trial["block"] != lost["block"];
    assert_eq!(failures.iter().filter(of_block).count(), 0, "one block: {failures:#?}");
    let later = trials.iter().filter(|trial| trial["block"].as_u64() > lost["block"].as_u64());
    assert!(later.clone().count() >= 4 && later.clone().all(|trial| trial["place"] != "node-3"));
    let run = fs::read_to_string(bench.run_folder().join("run.json")).unwrap();
    assert!(run.contains("node `node-3` of the swarm was lost"), "{run}");
    assert_eq!(swarm.holds(), Vec::<String>::new(), "on the nodes that live");
    said(swarm.command(&bench, &["docker", "prune"])).code(0).says("node node-3 is not looked at");
    swarm.revive();
    said(swarm.command(&bench, &["docker", "prune"])).code(0);
    assert_eq!(swarm.holds(), Vec::<String>::new(), "on the node that came back");

    // What a killed harness leaves is found from the manager.
    let bench = Bench::new();
    let mut killed = long_run(&bench, Some(&host), "swarm");
    while swarm.holds().is_empty() {
        thread::sleep(Duration::from_millis(5));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    said(swarm.command(&bench, &["docker", "prune"])).code(0);
    assert_eq!(swarm.holds(), Vec::<String>::new());
}

#[test]
fn a_single_engine_is_no_swarm_and_says_how_it_becomes_one() {
    if crate::own_engine::engine().is_none_or(|engine| engine.facts().swarm.is_some()) {
        return;
    }
    let bench = Bench::new();
    let run = ["run", "reference/steady", "--variant", "baseline", "--launch", "swarm"];
    bench.uplift(&run).code(5).says("this engine manages no swarm").says("docker swarm init");
    let arguments: Vec<&str> = run.iter().copied().chain(["--docker-arg=network=host"]).collect();
    bench.uplift(&arguments).code(2).says("jobs of a swarm");
}
