#!/usr/bin/env bash
# The gate against itself: every scenario that has a `baseline`, against the same variant of the same build. Whatever is
# called improved or regressed, and every rule about a change that breaks, is a false alarm. A rule about a value may well
# break: `open-100` asks of its candidate what the bundled provider cannot do.
#
#   results/aa.sh ROUNDS [gate's arguments…]     each round runs every scenario once
#
# The runs are kept in target/aa; more rounds add to them, and the tally is of all that are there.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-4}
shift || true
# Without a name, `--quick` leaves out the scenarios that are too long for a quick look: all are named by their targets.
[ $# -gt 0 ] || set -- docdb dataflow orchestration pipeline reference --quick --blocks 6
uplift=${UPLIFT:-target/debug/uplift}
[ -n "${UPLIFT:-}" ] || cargo build --quiet --bin uplift
for round in $(seq "$rounds"); do
  echo "round $round of $rounds" >&2
  # 1: a rule broke, which the tally counts; 4: a scenario could not be compared. Anything else ends the series.
  "$uplift" --quiet gate baseline baseline "$@" --out target/aa/runs >/dev/null || case $? in 1 | 4) ;; *) exit 5 ;; esac
done
cargo run --quiet -p uplift-analysis --example tally -- target/aa/runs/*
