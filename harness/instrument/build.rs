//! Compiles the library that is preloaded into programs to count their sync calls; it is built into the binary.

use std::{env, path::PathBuf};

fn main() {
    let source = "src/sync_collectors/preloaded.c";
    println!("cargo:rerun-if-changed={source}");
    let library = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("preloaded.so");
    let status = cc::Build::new()
        .opt_level(2)
        .get_compiler()
        .to_command()
        .args(["-shared", "-fPIC", "-Wall", "-o"])
        .arg(&library)
        .arg(source)
        .status()
        .expect("a C compiler is installed");
    assert!(status.success(), "{source} could not be compiled: {status}");
}
