//! A server in a container answers, and nothing of it is left: after a drop, and after its owner was killed.
//!
//! The image is made from this machine's own PostgreSQL, so the tests need an engine and those packages, and no registry.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
    thread,
    time::Duration,
};

use uplift_postgres_service::{IMAGE_VARIABLE, Server, URL_VARIABLE, WAY_VARIABLE, Way};

const OWNER: &str = "UPLIFT_TEST_OWNS_CONTAINER_IN";

/// An image that goes with the last test.
struct Image(String);

impl Drop for Image {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["image", "rm", "--force", &self.0]).output();
    }
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// `None`, with the reason printed, where the test cannot be run; a failure where `UPLIFT_REQUIRE` asks for both.
fn image(test: &str) -> Option<Image> {
    static ENGINE: OnceLock<bool> = OnceLock::new();
    let has_engine = *ENGINE.get_or_init(|| {
        Command::new("docker")
            .arg("version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    });
    let required = env::var("UPLIFT_REQUIRE").unwrap_or_default();
    for (what, there) in [("docker", has_engine), ("postgres", Path::new("/usr/lib/postgresql").exists())] {
        if !there {
            let message = format!("no {what} on this machine; start an engine, install Debian's postgresql");
            assert!(!required.split(',').any(|word| word.trim() == what), "{message}");
            eprintln!("skipped: {message}");
            return None;
        }
    }
    let name = format!("uplift-test-postgres-{test}:{}", std::process::id());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/image.sh");
    let output = Command::new("/bin/sh").arg(script).arg(&name).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(Image(name))
}

/// Runs one test of this binary again, in a process that knows the image by its environment.
fn again(test: &str, image: &Image, directory: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([test, "--exact", "--nocapture"])
        .env(OWNER, directory)
        .env(IMAGE_VARIABLE, &image.0)
        .env(WAY_VARIABLE, "container")
        .env_remove(URL_VARIABLE)
        .stdout(Stdio::null());
    command
}

fn left_of(image: &Image) -> String {
    docker(&["ps", "--all", "--quiet", "--filter", &format!("ancestor={}", image.0)])
}

#[test]
fn a_container_answers_and_is_removed() {
    const TEST: &str = "a_container_answers_and_is_removed";
    if let Some(directory) = env::var_os(OWNER) {
        let directory = Path::new(&directory);
        // Not asked for by name here: it is what the environment says.
        let server = Server::start(directory, &[("fsync", "on"), ("autovacuum", "off")]).unwrap();
        assert!(server.is_ours() && server.origin().starts_with("container of uplift-test"), "{}", server.origin());
        let psql = Server::psql().unwrap();
        let ask = |statement: &str| {
            let mut command = Command::new(&psql);
            command.args(["-X", "-A", "-t", "-q", "-c", statement, server.connection()]);
            String::from_utf8_lossy(&command.output().unwrap().stdout).trim().to_owned()
        };
        assert_eq!(ask("select 6 * 7"), "42");
        assert_eq!(ask("show autovacuum"), "off");
        assert!(server.usage().unwrap().cpu_s >= 0.0);
        return;
    }
    let Some(image) = image("answers") else { return };
    let directory = tempfile::tempdir().unwrap();
    assert!(again(TEST, &image, directory.path()).status().unwrap().success());
    assert_eq!(left_of(&image), "");
    assert!(fs::read_dir(directory.path()).unwrap().next().is_none(), "something is left in the directory");
}

/// The owner is this very test binary, started again and killed with SIGKILL: nothing of it can tidy up.
#[test]
fn a_killed_owner_leaves_nothing() {
    const TEST: &str = "a_killed_owner_leaves_nothing";
    if let Some(directory) = env::var_os(OWNER) {
        let directory = Path::new(&directory);
        let _server = Server::start_by(Way::Container, directory, &[]).unwrap();
        fs::write(directory.join("ready"), "").unwrap();
        loop {
            thread::park();
        }
    }
    let Some(image) = image("killed") else { return };
    let directory = tempfile::tempdir().unwrap();
    let mut owner = again(TEST, &image, directory.path()).spawn().unwrap();
    let ready = directory.path().join("ready");
    while !ready.exists() {
        assert!(owner.try_wait().unwrap().is_none(), "the owner ended before its server was ready");
        thread::sleep(Duration::from_millis(10));
    }
    let container = left_of(&image);
    assert!(!container.is_empty());
    // What `uplift docker prune` goes by, should the janitor be gone too.
    let label = docker(&["inspect", "--format", r#"{{index .Config.Labels "uplift.owner"}}"#, &container]);
    assert_eq!(label.split(' ').nth(3), Some(owner.id().to_string().as_str()), "{label}");
    let volume = docker(&["inspect", "--format", "{{range .Mounts}}{{.Name}}{{end}}", &container]);
    owner.kill().unwrap();
    owner.wait().unwrap();
    while !left_of(&image).is_empty() || fs::read_dir(directory.path()).unwrap().count() > 1 {
        thread::sleep(Duration::from_millis(20));
    }
    assert!(!docker(&["volume", "ls", "--quiet"]).lines().any(|line| line == volume), "the volume {volume} is left");
}

#[test]
fn an_image_that_is_not_there_is_no_download_but_a_fix() {
    if let Some(directory) = env::var_os(OWNER) {
        let error = Server::start(Path::new(&directory), &[]).unwrap_err().to_string();
        assert!(error.contains("uplift-test-nothing") && error.contains(IMAGE_VARIABLE), "{error}");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut command = again(
        "an_image_that_is_not_there_is_no_download_but_a_fix",
        &Image("uplift-test-nothing:1".to_owned()),
        directory.path(),
    );
    // With an engine, without one, and without the program: always a fix.
    assert!(command.status().unwrap().success());
    assert!(command.env("DOCKER_HOST", "unix:///nonexistent/docker.sock").status().unwrap().success());
}
