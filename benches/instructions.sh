#!/usr/bin/env bash
# Counts the instructions that the core takes for a message, and those of the handles and the pump with it
# (tokio, over a stream through memory), which are repeatable where time is not, and compares them with
# those in benches/instructions.txt. Fails where they are more by over
# a tenth. `benches/instructions.sh --write` writes the file anew.
#
# Needs valgrind. Built as users build it: without link-time optimisation.
set -euo pipefail
cd "$(dirname "$0")/.."
expected=benches/instructions.txt
tolerance=10 # per cent: another compiler, another libc

cargo bench --quiet -p bowline-benches --no-default-features --bench core_alone --bench handles_alone --no-run \
    --config profile.bench.lto=false --config profile.bench.codegen-units=16 --target-dir target/instructions

newest() { # newest NAME: the binary of that bench
    find target/instructions/release/deps -name "$1-*" -executable -type f -printf '%T@ %p\n' |
        sort -n | tail -n 1 | cut -d ' ' -f 2
}
core=$(newest core_alone)
handles=$(newest handles_alone)

total() { # total KIND MESSAGES: instructions of the whole run
    local binary=$core
    [[ $1 != handle_* ]] || binary=$handles
    BOWLINE_KIND=$1 BOWLINE_MESSAGES=$2 valgrind --tool=callgrind --callgrind-out-file=/dev/null "$binary" 2>&1 |
        sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

each() { # each KIND: instructions of one message, what a run takes anyway left out
    local few=20000 many=60000
    echo $((($(total "$1" $many) - $(total "$1" $few)) / (many - few)))
}

status=0
counted=""
for kind in casts many calls lent batched forgotten handle_casts handle_receive handle_receive_128 handle_calls handle_requests; do
    now=$(each "$kind")
    counted+="$kind $now"$'\n'
    before=$(sed -n "s/^$kind //p" "$expected" 2>/dev/null || true)
    if [ -z "$before" ]; then
        echo "$kind: $now instructions"
    elif [ $((now * 100)) -gt $((before * (100 + tolerance))) ]; then
        echo "$kind: $now instructions, $before expected: slower than it was"
        status=1
    else
        echo "$kind: $now instructions, $before expected"
    fi
done
if [ "${1:-}" = --write ]; then
    printf '%s' "$counted" >"$expected"
    exit 0
fi
exit $status
