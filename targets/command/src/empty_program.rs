//! A program that does nothing: what it takes to start it is what every run pays.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::run::{Watch, run, spawn};

/// How often it is started to see what that takes.
const STARTS: usize = 15;

/// Machine code that ends the process with status 0, and the machine's number in ELF.
#[cfg(target_arch = "x86_64")]
const CODE: (u16, &[u8]) = (0x3e, &[0x31, 0xff, 0xb8, 0x3c, 0, 0, 0, 0x0f, 0x05]);
#[cfg(target_arch = "aarch64")]
const CODE: (u16, &[u8]) = (0xb7, &[0x00, 0x00, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4]);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const CODE: (u16, &[u8]) = (0, &[]);

/// Median time of a run of a program that does nothing, in nanoseconds.
///
/// # Errors
/// Why it could not be measured.
pub fn start_cost_ns(folder: &Path) -> Result<f64, String> {
    if CODE.0 == 0 {
        return Err("a program that does nothing is known for x86-64 and aarch64 alone".to_owned());
    }
    let program =
        write(folder).map_err(|error| format!("a program that does nothing could not be written: {error}"))?;
    let watch = Watch { timeout: Duration::from_secs(10), keeps_stdout: false };
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let mut command = Command::new(&program);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let ended = run(watch, || spawn(command)).map_err(|error| {
            format!("a program that does nothing could not be started from `{}`: {error}", folder.display())
        })?;
        if ended.status != 0 {
            return Err("a program that does nothing failed".to_owned());
        }
        times.push(ended.wall_ns);
    }
    let _ = fs::remove_file(&program);
    times.sort_unstable();
    Ok(times[STARTS / 2] as f64)
}

/// An ELF file of one segment: header, program header, code.
fn write(folder: &Path) -> io::Result<PathBuf> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let (machine, code) = CODE;
    let length = HEADERS + code.len() as u64;
    let mut file = Vec::new();
    file.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.extend(2u16.to_le_bytes());
    file.extend(machine.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    file.extend((BASE + HEADERS).to_le_bytes());
    file.extend(64u64.to_le_bytes());
    file.extend(0u64.to_le_bytes());
    file.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    // Loadable, readable and executable.
    file.extend(1u32.to_le_bytes());
    file.extend(5u32.to_le_bytes());
    for word in [0, BASE, BASE, length, length, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    let path = folder.join("nothing");
    fs::write(&path, file)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_nothing_runs() {
        let folder = tempfile::tempdir().unwrap();
        let cost_ns = start_cost_ns(folder.path()).unwrap();
        assert!(cost_ns > 1_000.0, "{cost_ns} ns");
        assert!(start_cost_ns(&folder.path().join("missing")).unwrap_err().contains("could not be written"));
    }
}
