#!/usr/bin/env bash
# Builds connector.wasm from connector.c and the SQLite source of the locked crate libsqlite3-sys.
#
# Needs Debian's clang, lld, wasi-libc and libclang-rt-14-dev-wasm32 (or the same of another version). The committed module was built
# with the versions that connector.wasm.txt names; the same versions give the same bytes.
set -euo pipefail
cd "$(dirname "$0")"

sqlite=$(cargo metadata --format-version 1 --manifest-path ../Cargo.toml |
  python3 -c 'import json, sys, os; print(next(os.path.dirname(p["manifest_path"]) for p in json.load(sys.stdin)["packages"] if p["name"] == "libsqlite3-sys"))')/sqlite3

flags=(
  --target=wasm32-wasi -O2 -g0 -mbulk-memory -Wall -Wextra
  -I "$sqlite"
  -DSQLITE_OS_OTHER=1 -DSQLITE_THREADSAFE=0 -DSQLITE_TEMP_STORE=3 -DSQLITE_DEFAULT_MEMSTATUS=0
  -DSQLITE_OMIT_LOAD_EXTENSION -DSQLITE_OMIT_LOCALTIME -DSQLITE_OMIT_DEPRECATED -DSQLITE_OMIT_SHARED_CACHE
  -DSQLITE_OMIT_WAL -DSQLITE_LIKE_DOESNT_MATCH_BLOBS -DSQLITE_DQS=0
  -DSQLITE_ENABLE_MATH_FUNCTIONS -DSQLITE_ENABLE_JSON1 -DSQLITE_ENABLE_FTS5 -DSQLITE_ENABLE_RTREE
)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
clang "${flags[@]}" -c connector.c -o "$work/connector.o"
clang "${flags[@]}" -w -c "$sqlite/sqlite3.c" -o "$work/sqlite3.o"
clang --target=wasm32-wasi -nostartfiles -O2 -Wl,--no-entry -Wl,--strip-all -Wl,-z,stack-size=1048576 \
  "$work/connector.o" "$work/sqlite3.o" -o connector.wasm

{
  echo "sha256 $(sha256sum connector.wasm | cut -d' ' -f1)"
  echo "source $(sha256sum connector.c | cut -d' ' -f1)"
  echo "bytes $(stat -c %s connector.wasm)"
  echo "sqlite $(sed -n 's/^#define SQLITE_VERSION  *"\(.*\)"/\1/p' "$sqlite/sqlite3.h")"
  echo "clang $(clang --version | head -n 1)"
  echo "lld $(wasm-ld --version)"
} >connector.wasm.txt
cat connector.wasm.txt
