//! An engine to test with, and what is left on it.

use std::{
    collections::BTreeSet,
    env,
    future::Future,
    sync::OnceLock,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bollard::{API_DEFAULT_VERSION, Docker};
use tempfile::TempDir;
use uplift_docker::{
    ContainerArgs, DockerLauncher, DockerOptions, Engine, inventory,
    prune::{self, Unknown},
};
use uplift_engine::launch::{AgentHandle, LaunchOrder};

use crate::inside::ROLE;

static BEFORE: OnceLock<BTreeSet<String>> = OnceLock::new();

/// Tests run beside each other, so only when the last has ended can it be told what all of them left behind. The image
/// stays for the next run, so a prune belongs to the end.
fn count_at_the_end(engine: &Engine) {
    BEFORE.get_or_init(|| {
        extern "C" fn count() {
            // What belongs to the thread that ends is gone already.
            let more = thread::spawn(|| {
                let before = BEFORE.get().cloned().unwrap_or_default();
                Engine::connect().and_then(|engine| inventory::left_since(&engine, &before))
            });
            match more.join() {
                Ok(Ok(more)) if more.is_empty() => {}
                said => {
                    eprintln!("the tests left something behind on the engine: {said:?}");
                    // SAFETY: _exit has no preconditions; the code of the process is otherwise decided.
                    unsafe { libc::_exit(101) };
                }
            }
        }
        // SAFETY: the handler is a function that lives as long as the process.
        unsafe { libc::atexit(count) };
        inventory::everything(engine).unwrap()
    });
}

/// A connected engine and a name for one test's run.
pub struct Bench {
    pub engine: Engine,
    pub run: String,
    pub data: TempDir,
}

impl Bench {
    /// `None`, and why, where there is no engine; a failure where `UPLIFT_REQUIRE` asks for one.
    pub fn new(test: &str) -> Option<Self> {
        let engine = match Engine::connect() {
            Ok(engine) => {
                count_at_the_end(&engine);
                engine
            }
            Err(error) => {
                let required = env::var("UPLIFT_REQUIRE").unwrap_or_default();
                assert!(!required.split(',').any(|word| word.trim() == "docker"), "{error}");
                eprintln!("skipped: {error}");
                return None;
            }
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let data = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        Some(Self { engine, run: format!("test-{test}-{now}"), data })
    }

    pub fn options(&self, role: &str, arguments: &[&str]) -> DockerOptions {
        let role = format!("env={ROLE}={role}");
        let arguments: Vec<String> = arguments.iter().copied().chain([role.as_str()]).map(str::to_owned).collect();
        DockerOptions {
            run: self.run.clone(),
            arguments: ContainerArgs::parse(&arguments).unwrap(),
            ..DockerOptions::default()
        }
    }

    pub fn order(&self, label: &str) -> LaunchOrder {
        LaunchOrder {
            binary: None,
            data_dir: self.data.path().to_owned(),
            label: label.to_owned(),
            pair: label.to_owned(),
            memory_bytes_max: 256 << 20,
            counts_allocations: false,
        }
    }

    pub fn start(&self, launcher: &DockerLauncher) -> Box<dyn AgentHandle> {
        use uplift_engine::Launch as _;
        launcher.start(&self.order("it")).unwrap_or_else(|failure| panic!("{}", failure.message))
    }

    /// Containers and volumes of this run, but for what says that it is alive.
    pub fn left(&self) -> Vec<String> {
        let found = prune::find(&self.engine, Unknown::Keep).unwrap();
        found
            .into_iter()
            .filter(|leftover| leftover.run.as_ref() == Some(&self.run) && !leftover.name.contains("-alive-"))
            .map(|leftover| format!("{} {}", leftover.kind, leftover.name))
            .collect()
    }

    /// Asks the engine for something that the launcher does not do.
    pub fn ask<T, F: Future<Output = Result<T, bollard::errors::Error>>>(
        &self,
        question: impl FnOnce(Docker) -> F,
    ) -> Result<T, bollard::errors::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let host = &self.engine.facts().host;
            let client = Docker::connect_with_unix(host, 60, API_DEFAULT_VERSION)?.negotiate_version().await?;
            question(client).await
        })
    }
}

/// Waits until the agent has said this on its stderr.
pub fn wait_for(agent: &dyn AgentHandle, word: &str) {
    // Not a limit on how long it may take, only on how long a broken build keeps everybody waiting.
    for _ in 0..12_000 {
        if agent.stderr_tail().contains(word) {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("the agent did not say `{word}`: {}", agent.stderr_tail());
}
