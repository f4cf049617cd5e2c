//! The library in programs whose allocations are known.

use std::{fs, path::Path, process::Command};

use super::*;

fn built(folder: &Path, source: &str, arguments: &[&str]) -> PathBuf {
    let (file, program) = (folder.join("program.c"), folder.join("program"));
    fs::write(&file, source).unwrap();
    let status = Command::new("cc").args(["-O1", "-o"]).arg(&program).arg(&file).args(arguments).status().unwrap();
    assert!(status.success());
    program
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("OUT_DIR")).unwrap()
}

/// 64 bytes, `argv[1]` times.
const SMALL: &str = "#include <stdlib.h>\n\
    int main(int argc, char **argv) { for (int n = atoi(argv[1]); n > 0; n--) { volatile char *p = malloc(64); *p = 1; } return argc - 2; }\n";

fn counted(program: &Path, arguments: &[&str]) -> Counts {
    let log = Log::new(false).unwrap();
    log.count(true);
    let mut command = Command::new(program);
    command.args(arguments);
    log.preload_into(&mut command).unwrap();
    assert!(command.status().unwrap().success());
    log.counts()
}

#[test]
fn every_call_and_every_byte_is_counted() {
    let folder = folder();
    let program = built(folder.path(), SMALL, &[]);
    for _ in 0..3 {
        let counts = counted(&program, &["1000"]);
        assert_eq!((counts.loaded, counts.foreign, counts.calls, counts.bytes), (1, 0, 1000, 64_000));
        assert_eq!(counts.unseen(), None);
    }
}

/// Threads, children and every function of the family.
#[test]
fn every_function_of_the_family_is_counted() {
    let folder = folder();
    let source = "#define _GNU_SOURCE\n#include <malloc.h>\n#include <stdlib.h>\n#include <sys/wait.h>\n#include <unistd.h>\n\
        int main(void) {\n\
          void *p; char *a = malloc(1), *b = calloc(3, 5); a = realloc(a, 100); b = reallocarray(b, 10, 10);\n\
          if (posix_memalign(&p, 64, 1000)) return 1;\n\
          char *c = aligned_alloc(64, 128), *d = memalign(64, 10000), *e = valloc(100000), *f = pvalloc(1000000);\n\
          free(a); free(b); free(c); free(d); free(e); free(f); free(p); free(malloc(0));\n\
          if (malloc(-1L)) return 2;\n\
          if (fork() == 0) { volatile char *q = malloc(7); *q = 1; _exit(0); }\n\
          int status; wait(&status); return status;\n\
        }\n";
    let program = built(folder.path(), source, &["-fno-builtin", "-w"]);
    let counts = counted(&program, &[]);
    assert_eq!((counts.calls, counts.bytes), (11, 1 + 15 + 100 + 100 + 1000 + 128 + 10_000 + 100_000 + 1_000_000 + 7));
}

#[test]
fn a_static_program_and_one_with_its_own_allocator_say_so() {
    let folder = folder();
    let program = built(folder.path(), SMALL, &["-static"]);
    let counts = counted(&program, &["10"]);
    assert_eq!(counts.loaded, 0);
    assert!(counts.unseen().unwrap().contains("static"));

    let own = "#include <stddef.h>\nstatic char room[1 << 20]; static size_t used;\n\
        void *malloc(size_t n) { void *p = room + used; used += (n + 15) & ~15UL; return used < sizeof room ? p : NULL; }\n\
        void free(void *p) { (void)p; }\n\
        int main(void) { volatile char *p = malloc(64); *p = 1; return 0; }\n";
    let program = built(folder.path(), own, &["-fno-builtin", "-rdynamic"]);
    let counts = counted(&program, &[]);
    assert!(counts.unseen().unwrap().contains("allocator of its own"), "{counts:?}");
}

/// Samples stand for all bytes, whatever the sizes, and know their processes.
#[test]
fn samples_stand_for_all_bytes() {
    let folder = folder();
    let source = "#include <stdlib.h>\n\
        int main(void) { for (int n = 0; n < 200000; n++) { volatile char *p = malloc(n % 1000 == 0 ? 20000 : 16 + n % 90); *p = 1; free((void *)p); } return 0; }\n";
    let program = built(folder.path(), source, &[]);
    let log = Log::new(true).unwrap();
    log.count(true);
    let mut command = Command::new(&program);
    log.preload_into(&mut command).unwrap();
    assert!(command.status().unwrap().success());
    let (counts, mut spaces, mut bytes, mut samples) = (log.counts(), Vec::new(), 0, 0);
    log.read(
        |space| spaces.push(space),
        |sample| {
            assert!(!sample.stack.is_empty() && sample.thread == "program", "{sample:?}");
            bytes += sample.weight;
            samples += 1;
        },
    )
    .unwrap();
    assert_eq!(spaces.len(), 1);
    assert!(spaces[0].name == "program" && spaces[0].maps.contains("/program\n"), "{spaces:?}");
    assert_eq!((samples, 0), (counts.samples, counts.lost));
    assert!(samples < 20_000, "{samples}");
    let share = bytes as f64 / counts.bytes as f64;
    assert!((0.93..1.07).contains(&share), "{share} of {counts:?}");
}

#[test]
fn an_agent_without_the_library_says_so() {
    let log = Log::new(false).unwrap();
    assert!(log.attach_self().unwrap_err().contains("without the library"));
}
