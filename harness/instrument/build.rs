//! Compiles the libraries that are preloaded into programs to count their sync calls and what they allocate; both are built
//! into the binary.

use std::{env, path::PathBuf};

fn main() {
    library("src/sync_collectors/preloaded.c", "preloaded.so");
    library("src/allocations/preloaded.c", "allocations.so");
}

fn library(source: &str, name: &str) {
    println!("cargo:rerun-if-changed={source}");
    let library = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join(name);
    let status = cc::Build::new()
        .opt_level(2)
        .get_compiler()
        .to_command()
        // Functions that stand in for those of the C library are no calls of these.
        .args(["-shared", "-fPIC", "-Wall", "-fno-builtin", "-fno-omit-frame-pointer", "-o"])
        .arg(&library)
        .arg(source)
        .arg("-ldl")
        .status()
        .expect("a C compiler is installed");
    assert!(status.success(), "{source} could not be compiled: {status}");
}
