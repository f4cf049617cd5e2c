//! A small shell that cleans up when this process cannot: it waits for the end of a pipe that only this process holds.
//!
//! An agent that is killed (with its harness, or by it) takes nothing along that has a session of its own. The janitor
//! then kills every process of the services' sessions and removes their folders. Where all goes well it is dismissed.

use std::{
    io::{self, Write as _},
    os::unix::{ffi::OsStrExt as _, process::CommandExt as _},
    path::Path,
    process::{Child, Command, Stdio},
};

use parking_lot::Mutex;

const SCRIPT: &str = r#"
trap '' HUP INT TERM
sessions=" "
dismissed=
while read -r word value; do
  case "$word" in
    session) sessions="$sessions$value " ;;
    folder) set -- "$@" "$value" ;;
    outside) set -- "$@" "outside:$value" ;;
    dismissed) dismissed=1 ;;
  esac
done
[ -n "$dismissed" ] && exit 0
harness="$1"
shift
tries=0
while [ "$sessions" != " " ] && [ "$tries" -lt 100 ]; do
  left=
  for stat in /proc/[0-9]*/stat; do
    line=
    read -r line 2>/dev/null <"$stat" || continue
    pid=${stat#/proc/}; pid=${pid%/stat}
    rest=${line##*) }
    state=${rest%% *}
    rest=${rest#* * * }
    session=${rest%% *}
    case "$sessions" in *" $session "*) ;; *) continue ;; esac
    case "$state" in Z|X) continue ;; esac
    kill -KILL "$pid" 2>/dev/null
    left=1
  done
  [ -z "$left" ] && break
  tries=$((tries + 1))
  sleep 0.02
done
for folder in "$@"; do
  case "$folder" in
    outside:*) rm -rf -- "${folder#outside:}"; continue ;;
  esac
  # The harness removes what is its own while it lives.
  [ -d "/proc/$harness" ] && continue
  rm -rf -- "$folder"
  rmdir -- "${folder%/*}" 2>/dev/null
done
"#;

/// The janitor of one agent.
#[derive(Debug)]
pub struct Janitor {
    child: Mutex<Child>,
}

impl Janitor {
    /// Starts it. `folder` is removed where the harness is gone too.
    ///
    /// # Errors
    /// There is no shell, or no process.
    pub fn start(folder: &Path) -> io::Result<Self> {
        // SAFETY: getppid has no preconditions.
        let harness = unsafe { libc::getppid() };
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "uplift-janitor"]).arg(harness.to_string()).stdin(Stdio::piped());
        // Who ends what an agent leaves behind lets this one do its work.
        command.env("UPLIFT_JANITOR", "1");
        command.current_dir("/").stdout(Stdio::null()).stderr(Stdio::null());
        // SAFETY: setsid is async-signal-safe and concerns the new process alone.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                Ok(())
            });
        }
        let janitor = Self { child: Mutex::new(command.spawn()?) };
        janitor.also_remove(folder);
        Ok(janitor)
    }

    fn tell(&self, words: &[&[u8]]) {
        let mut child = self.child.lock();
        if let Some(input) = &mut child.stdin {
            let mut line = words.join(&b' ');
            line.push(b'\n');
            // A janitor that is gone cannot be told; the harness ends what is left then.
            let _ = input.write_all(&line);
        }
    }

    /// The processes of this session are to end with this one.
    pub fn watch(&self, session: u32) {
        self.tell(&[b"session", session.to_string().as_bytes()]);
    }

    /// This folder is to go whether the harness lives or not: it knows nothing of it.
    pub fn remove_outside(&self, folder: &Path) {
        self.tell(&[b"outside", folder.as_os_str().as_bytes()]);
    }

    /// This folder is to go too.
    pub fn also_remove(&self, folder: &Path) {
        self.tell(&[b"folder", folder.as_os_str().as_bytes()]);
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        self.tell(&[b"dismissed"]);
        let child = self.child.get_mut();
        drop(child.stdin.take());
        let _ = child.wait();
    }
}
