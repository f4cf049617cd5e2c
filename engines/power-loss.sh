#!/bin/sh
# The engines (document stores, dataflow, the orchestration provider) on real ext4 that loses power, over a loop device:
# killed, opened again and written to, then cut off without a flush of the file system's journal. Needs root, a loop device and
# mkfs.ext4; says so and ends with success where it has none of them.
#
#   engines/power-loss.sh [ROUNDS [ENGINE ...]]
set -eu

rounds=${1:-5}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- fast fast-small fast-unprepared classic classic-group \
    log log-sqlite sqlite-wal sqlite-after-ack sqlite-thread grouped grouped-sharded

skip() {
    echo "power-loss: skipped: $1"
    exit 0
}
[ "$(id -u)" = 0 ] || skip "only root can mount"
command -v mkfs.ext4 >/dev/null || skip "there is no mkfs.ext4"
loop=$(losetup --find 2>/dev/null) || skip "there is no free loop device"
[ -b "$loop" ] || skip "there is no loop device $loop"

cd "$(dirname "$0")/.."
# As CI has built the workspace, so that nothing is built for another set of features.
cargo build --quiet --workspace --example power --example dataflow-power --example grouped-power
examples=${CARGO_TARGET_DIR:-target}/debug/examples
program_of() {
    case $1 in
    log* | sqlite-*) power=$examples/dataflow-power ;;
    grouped*) power=$examples/grouped-power ;;
    *) power=$examples/power ;;
    esac
}

home=$(mktemp -d)
mount=$home/mount
writer=
finish() {
    [ -z "$writer" ] || kill -9 "$writer" 2>/dev/null || true
    umount "$mount" 2>/dev/null || true
    rm -rf "$home"
}
trap finish EXIT
trap 'exit 1' INT TERM
mkdir "$mount"
truncate -s 512M "$home/image"

# Lets the writer of round $1 work until $2 more writes were acknowledged.
write() {
    before=$(wc -l <"$journal")
    "$power" write "$engine" "$mount/store" "$journal" "$1" &
    writer=$!
    while [ "$(wc -l <"$journal")" -lt $((before + $2)) ]; do
        kill -0 "$writer" 2>/dev/null || { echo "power-loss: $engine: the writer ended by itself"; exit 1; }
        sleep 0.01
    done
}
end_writer() {
    kill -9 "$writer" 2>/dev/null || true
    wait "$writer" 2>/dev/null || true
    writer=
}
cut_power() {
    "$examples/power" cut "$mount"
    end_writer
    umount "$mount"
    mount -o loop "$home/image" "$mount"
}

for engine; do
    program_of "$engine"
    mkfs.ext4 -q -F "$home/image" || skip "mkfs.ext4 cannot make a file system"
    mount -o loop "$home/image" "$mount" 2>/dev/null || skip "a file system cannot be mounted over a loop device"
    journal=$home/$engine.journal
    : >"$journal"
    round=1
    while [ "$round" -le "$rounds" ]; do
        # Power lost under load; then killed under load, opened again, a few more writes, and power lost.
        write $((3 * round)) $((20 * round))
        cut_power
        "$power" check "$engine" "$mount/store" "$journal"
        write $((3 * round + 1)) $((15 * round))
        end_writer
        write $((3 * round + 2)) 18
        cut_power
        "$power" check "$engine" "$mount/store" "$journal"
        round=$((round + 1))
    done
    umount "$mount"
done
