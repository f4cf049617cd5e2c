//! A cluster answers, and nothing of it is left: after a drop, and after its owner was killed.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use uplift_postgres_service::{Server, ServiceError, URL_VARIABLE};

const OWNER: &str = "UPLIFT_TEST_OWNS_CLUSTER_IN";

fn start(directory: &Path) -> Option<Server> {
    match Server::start(directory, &[("fsync", "on")]) {
        Ok(server) => Some(server),
        Err(ServiceError::Unavailable { state, remedy }) => {
            let required = env::var("UPLIFT_REQUIRE").unwrap_or_default();
            assert!(!required.contains("postgres"), "{state}; {remedy}");
            eprintln!("skipped: {state}; {remedy}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn clusters_in(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path()).collect()
}

fn public_directory() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

#[test]
fn a_cluster_answers_and_is_removed() {
    if env::var_os(URL_VARIABLE).is_some() {
        eprintln!("skipped: {URL_VARIABLE} names a server, so no cluster is made");
        return;
    }
    let directory = public_directory();
    let Some(server) = start(directory.path()) else { return };
    let pid = server.pid().unwrap();
    let psql = Server::psql().unwrap();
    let output =
        Command::new(psql).args(["-X", "-A", "-t", "-c", "select 6 * 7", server.connection()]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "42", "{output:?}");
    assert!(server.usage().unwrap().cpu_s >= 0.0);
    assert_eq!(clusters_in(directory.path()).len(), 1);
    drop(server);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert!(clusters_in(directory.path()).is_empty());
}

/// The owner is this very test binary, started again and killed with SIGKILL: nothing of it can tidy up.
#[test]
fn a_killed_owner_leaves_nothing() {
    if let Some(directory) = env::var_os(OWNER) {
        let server = start(Path::new(&directory)).unwrap();
        fs::write(Path::new(&directory).join("ready"), server.pid().unwrap().to_string()).unwrap();
        loop {
            thread::park();
        }
    }
    let directory = public_directory();
    if env::var_os(URL_VARIABLE).is_some() || start(directory.path()).is_none() {
        return;
    }
    let mut owner = Command::new(env::current_exe().unwrap())
        .args(["a_killed_owner_leaves_nothing", "--exact", "--nocapture"])
        .env(OWNER, directory.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let ready = directory.path().join("ready");
    while !ready.exists() {
        assert!(owner.try_wait().unwrap().is_none(), "the owner ended before its cluster was ready");
        thread::sleep(Duration::from_millis(10));
    }
    let server = loop {
        if let Ok(pid) = fs::read_to_string(&ready).unwrap().parse::<u32>() {
            break pid;
        }
    };
    owner.kill().unwrap();
    owner.wait().unwrap();
    while Path::new(&format!("/proc/{server}")).exists() || clusters_in(directory.path()).len() > 1 {
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(clusters_in(directory.path()), [ready]);
}
