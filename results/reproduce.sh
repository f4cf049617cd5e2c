#!/usr/bin/env bash
# Makes the reference runs of all four targets again, and the replication page from them. Run it on a quiet machine, from
# a checkout without changes: the runs record the revision. About fifty minutes on two cores, after the build.
#
#   results/reproduce.sh            all targets
#   results/reproduce.sh docdb      one of them; the page is made from what is there of the others
#   UPLIFT=PROGRAM UPLIFT_FEATURES="rocksdb sql duroxide-pg" results/reproduce.sh
#                                   with those runs too that need a build with these features
set -euo pipefail
cd "$(dirname "$0")/.."
targets=${*:-quick docdb dataflow orchestration pipeline}
uplift=${UPLIFT:-target/debug/uplift}
[ -n "${UPLIFT:-}" ] || cargo build --quiet --bin uplift
scratch=target/reference-runs
started=$SECONDS

# has FEATURE: whether the build was said to have it.
has() { case " ${UPLIFT_FEATURES:-} " in *" $1 "*) ;; *) return 1 ;; esac }

# keep TARGET NAME COMMAND…: measures, and puts the run into results/reference/TARGET/NAME.
keep() {
  local place=results/reference/$1/$2 name=$1/$2
  shift 2
  printf '\n== %s (%d s): uplift %s\n' "$name" "$((SECONDS - started))" "$*"
  rm -rf "$scratch"
  # 0: fine; 4: one of the scenarios must not be compared, which its report says.
  "$uplift" --quiet "$@" --out "$scratch/runs" >/dev/null || [ $? = 4 ]
  rm -rf "$place"
  mkdir -p "$(dirname "$place")"
  mv "$scratch"/runs/* "$place"
  # What `uplift report` draws again from the records is not kept: pages, verdicts, flame graphs.
  rm -rf "$place"/report.html "$place"/verdicts.json "$place"/comment.md "$place"/profiles
  [ ! -e "$place"/profiles.jsonl ] || gzip -9n "$place"/profiles.jsonl
}

for target in $targets; do
  case $target in
    quick)
      keep all quick compare baseline optimized --quick
      ;;
    docdb)
      keep docdb fast compare baseline fast docdb/crud --blocks 6
      keep docdb fast-served compare baseline fast-served docdb/crud --blocks 6
      keep docdb sprint1-as-measured compare baseline sprint1-as-measured docdb/crud --blocks 6
      keep docdb sprint1-on-its-disk compare baseline sprint1-as-measured docdb/crud --blocks 6 --disk source
      keep docdb sprint1 compare baseline optimized docdb/crud docdb/crud-read-heavy docdb/crud-write-only --budget 90s --profile cpu
      keep docdb one-data-file-sync compare baseline one-data-file-sync docdb/crud --blocks 10
      keep docdb scheduler-workers compare workers-4 workers-auto docdb/scheduler-workers --blocks 10
      keep docdb fsync-modes compare always group docdb/fsync-modes --blocks 10
      keep docdb sprint2 compare optimized sprint2 docdb/crud-read-heavy --blocks 10
      keep docdb peers run docdb/peers --variant fast --variant sqlite --variant redb --variant fjall --blocks 6
      keep docdb peers-best compare fjall-grouped fast docdb/peers --blocks 6
      for peer in sqlite redb fjall; do keep docdb "peers-$peer" compare "$peer" "$peer-grouped" docdb/peers --blocks 6; done
      ! has rocksdb || keep docdb rocksdb compare rocksdb fast docdb/peers docdb/crud-write-only --blocks 6
      ;;
    dataflow)
      keep dataflow log compare baseline optimized dataflow/vote-writes dataflow/vote-mixed dataflow/vote-zipf --budget 90s --profile cpu
      keep dataflow sqlite-nosync compare baseline log-sqlite-nosync dataflow/vote-writes --blocks 6
      keep dataflow checkpoints compare automatic after-ack dataflow/checkpoint-policies --blocks 6
      keep dataflow log-after-ack compare after-ack log dataflow/checkpoint-policies --blocks 6
      keep dataflow nosync-after-ack compare after-ack log-sqlite-nosync dataflow/checkpoint-policies --blocks 6
      keep dataflow shards compare log-sqlite-nosync-1 log-sqlite-nosync-4 dataflow/shards --blocks 6
      ;;
    orchestration)
      keep orchestration pragmas compare baseline optimized orchestration/fanout-2x2 orchestration/fanout-1x1 --budget 200s --profile cpu
      keep orchestration memory compare memory-baseline memory-optimized orchestration/fanout-memory --blocks 6
      keep orchestration grouped compare baseline grouped orchestration/fanout-unbounded orchestration/fanout-2x2 --blocks 6
      ! has duroxide-pg || keep orchestration postgres compare grouped-full postgres orchestration/fanout-unbounded orchestration/fanout-2x2 --blocks 6
      keep orchestration ledger run orchestration/ledger --ledger --blocks 6 --set trial.window=2s
      ;;
    pipeline)
      keep pipeline embedded compare baseline optimized pipeline/medium-copy pipeline/large-copy --budget 150s --profile cpu
      ! has sql || keep pipeline sql compare native sql pipeline/small-filter pipeline/small-transform --blocks 10
      # Without stacks: those of a compiler are deep, and there are many.
      keep pipeline transforms compare baseline optimized pipeline/small-transform pipeline/small-filter pipeline/medium-transform --blocks 6
      keep pipeline medium-postgres run pipeline/medium-copy-postgres --variant baseline --variant copy --variant optimized --blocks 6 --set trial.rounds=3
      keep pipeline medium-psql compare psql-binary optimized pipeline/medium-copy-postgres --blocks 10 --set trial.rounds=3
      keep pipeline large-postgres run pipeline/large-copy-postgres --variant baseline --variant copy-pglz --variant optimized --variant psql-minimal --blocks 6 --set trial.rounds=2 --set workload.rows=1000
      keep pipeline large-psql compare psql-binary optimized pipeline/large-copy-postgres --blocks 10 --set trial.rounds=3
      keep pipeline flush-size run pipeline/flush-size --variant 128k --variant 256k --variant 512k --variant 1m --variant 4m --variant 16m --variant 64m --blocks 6 --set trial.rounds=2 --set workload.rows=10000
      keep pipeline flush-size-large run pipeline/flush-size-large --variant 1m --variant 4m --variant 16m --variant 4m-checkpoint-64m --blocks 6 --set trial.rounds=1
      keep pipeline checkpoint-interval run pipeline/checkpoint-interval --variant never --variant 16m --variant 64m --variant 256m --blocks 6 --set trial.rounds=3
      keep pipeline parallelism run pipeline/parallelism-postgres --variant 1 --variant 2 --blocks 6 --set trial.rounds=2
      ;;
    *) echo "no target $target: quick, docdb, dataflow, orchestration, pipeline" >&2; exit 2 ;;
  esac
done

"$uplift" report results/reference/*/* --replication docs/REPLICATION.md
for page in results/reference/*/*/report.html; do
  bytes=$(wc -c <"$page")
  [ "$bytes" -lt 3000000 ] || { echo "$page is $bytes bytes" >&2; exit 1; }
done
printf '\nall in %d s\n' "$((SECONDS - started))"
