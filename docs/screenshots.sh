#!/usr/bin/env bash
# Makes the pictures of docs/pictures again, from reference runs, with headless Chromium. Run it when pages have changed
# their looks, and look at the pictures before you commit them.
#
#   docs/screenshots.sh                    all pictures
#   UPLIFT=PROGRAM docs/screenshots.sh     drawn by this program instead of target/debug/uplift
set -euo pipefail
cd "$(dirname "$0")/.."
uplift=$(realpath "${UPLIFT:-target/debug/uplift}")
[ -x "$uplift" ] || { echo "\`$uplift\` is no program; build it (cargo build -p uplift), or name one in UPLIFT" >&2; exit 2; }
chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome) ||
  { echo "there is no Chromium; install the package chromium" >&2; exit 2; }
scratch=$(mktemp --directory)
trap 'rm -rf "$scratch"' EXIT

# shot NAME WIDTH HEIGHT FILE: the top of a page.
shot() {
  "$chromium" --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$scratch/browser" \
    --window-size="$2,$3" --screenshot="$PWD/docs/pictures/$1.png" "file://$4" 2>/dev/null
  [ -s "docs/pictures/$1.png" ] || { echo "could not make docs/pictures/$1.png of $4" >&2; exit 1; }
  printf '%s\n' "docs/pictures/$1.png"
}

# drawn RUN: a copy of a reference run with everything that is drawn from its records.
drawn() {
  mkdir -p "$scratch/$(dirname "$1")"
  cp -r "results/reference/$1" "$scratch/$1"
  "$uplift" report "$scratch/$1" >/dev/null
  printf '%s\n' "$scratch/$1"
}

mkdir -p docs/pictures
shot report 1060 640 "$(drawn docdb/fast-served)/report.html"

profiled=$(drawn docdb/sprint1)
shot flame-graph 1200 860 "$(ls "$profiled"/profiles/*.cpu.svg | sort | head -n 1)"
