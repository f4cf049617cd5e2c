//! The shared libraries of a binary, as its own loader finds them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use object::{
    Endianness, Object as _,
    elf::FileHeader64,
    read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _},
};

use crate::error::{DockerError, DockerErrorKind};

/// What a binary needs besides itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The loader, as the binary names it; `None` where it is linked statically.
    pub loader: Option<PathBuf>,
    /// The libraries, without the loader.
    pub libraries: Vec<PathBuf>,
}

/// Libraries that belong to the loader and must come from the same build of the C library.
const OF_THE_C_LIBRARY: [&str; 10] = [
    "libc.so",
    "libm.so",
    "libpthread.so",
    "libdl.so",
    "librt.so",
    "libresolv.so",
    "libutil.so",
    "libnss_",
    "libanl.so",
    "ld-linux",
];

/// Where separate debug information lies by build id.
const DEBUG_FOLDER: &str = "/usr/lib/debug/.build-id";

/// Whether a library is part of the C library.
pub fn is_of_c_library(library: &Path) -> bool {
    let name = library.file_name().unwrap_or_default().to_string_lossy();
    OF_THE_C_LIBRARY.iter().any(|start| name.starts_with(start))
}

/// The running binary, by a name that other processes understand and that survives the file's replacement.
pub fn own_binary() -> PathBuf {
    PathBuf::from(format!("/proc/{}/exe", std::process::id()))
}

/// Asks the loader that the binary names which libraries it would load.
///
/// # Errors
/// Where the file is no 64-bit ELF program, or a library of it cannot be found.
pub fn needs_of(binary: &Path) -> Result<Needs, DockerError> {
    let fail =
        |message: String| DockerError::new(format!("packing `{}`", binary.display()), DockerErrorKind::Binary(message));
    let bytes = fs::read(binary).map_err(|error| fail(format!("could not read it: {error}")))?;
    let Some(loader) = loader_of(&bytes).map_err(fail)? else { return Ok(Needs::default()) };
    // Both loaders in use, glibc's and musl's, answer to this option.
    let output =
        Command::new(&loader).arg("--list").arg(binary).stdin(Stdio::null()).output().map_err(|error| {
            fail(format!("its loader `{}` cannot be asked for libraries: {error}", loader.display()))
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(fail(format!("its loader `{}` cannot load it: {}", loader.display(), said.trim())));
    }
    let libraries = parse_list(&String::from_utf8_lossy(&output.stdout), &loader).map_err(fail)?;
    Ok(Needs { loader: Some(loader), libraries })
}

/// The loader that an ELF file names.
fn loader_of(bytes: &[u8]) -> Result<Option<PathBuf>, String> {
    let broken = |error: object::Error| format!("it is not a 64-bit ELF program: {error}");
    let header = FileHeader64::<Endianness>::parse(bytes).map_err(broken)?;
    let endian = header.endian().map_err(broken)?;
    for segment in header.program_headers(endian, bytes).map_err(broken)? {
        if let Some(name) = segment.interpreter(endian, bytes).map_err(broken)? {
            return Ok(Some(PathBuf::from(String::from_utf8_lossy(name).into_owned())));
        }
    }
    Ok(None)
}

/// The separate debug information of a program or library, where the machine has it under its build id. A sampler finds
/// there the names that a stripped library does not export.
pub fn debug_file_of(file: &Path) -> Option<PathBuf> {
    let bytes = fs::read(file).ok()?;
    let id = ElfFile64::<Endianness>::parse(bytes.as_slice()).ok()?.build_id().ok()??;
    let (first, rest) = id.split_first()?;
    let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = PathBuf::from(format!("{DEBUG_FOLDER}/{first:02x}/{rest}.debug"));
    path.exists().then_some(path)
}

/// Reads lines such as `libm.so.6 => /lib/libm.so.6 (0x…)`.
fn parse_list(text: &str, loader: &Path) -> Result<Vec<PathBuf>, String> {
    let mut libraries = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        let place = match line.split_once(" => ") {
            Some((name, "not found")) => return Err(format!("its library `{name}` is not installed")),
            Some((_, place)) => place,
            None => line,
        };
        let place = place.rsplit_once(" (").map_or(place, |(path, _)| path);
        let path = PathBuf::from(place);
        // The kernel's own library has no file.
        if path.is_absolute() && path != loader && !libraries.contains(&path) {
            libraries.push(path);
        }
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_finds_the_libraries_of_this_very_binary() {
        let needs = needs_of(&own_binary()).unwrap();
        let loader = needs.loader.unwrap();
        assert!(loader.is_absolute() && loader.exists(), "{}", loader.display());
        assert!(needs.libraries.iter().any(|path| is_of_c_library(path)), "{:?}", needs.libraries);
        assert!(needs.libraries.iter().all(|path| path.exists()), "{:?}", needs.libraries);
    }

    #[test]
    fn lists_are_read_and_what_is_missing_is_named() {
        let text = "\tlinux-vdso.so.1 (0x00007ffe)\n\tlibssl.so.3 => /lib/x/libssl.so.3 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let loader = Path::new("/lib64/ld-linux-x86-64.so.2");
        assert_eq!(parse_list(text, loader).unwrap(), [PathBuf::from("/lib/x/libssl.so.3")]);
        let error = parse_list("\tlibssl.so.3 => not found\n", loader).unwrap_err();
        assert_eq!(error, "its library `libssl.so.3` is not installed");
    }

    #[test]
    fn what_is_no_program_is_said_to_be_none() {
        let error = needs_of(Path::new("/etc/passwd")).unwrap_err().to_string();
        assert!(error.contains("/etc/passwd") && error.contains("not a 64-bit ELF"), "{error}");
    }
}
