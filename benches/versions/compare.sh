#!/usr/bin/env bash
# compare.sh COMMIT [CARGO FEATURES]: the speed of this tree beside that of another commit, in interleaved runs.
# For commits before `on_message_inline`: benches/versions/compare.sh 169138c before_inline
set -euo pipefail
cd "$(dirname "$0")/../.."
commit=$(git rev-parse --short "$1")
features=${2:-}
place=$PWD/target/versions

build() { # build NAME TREE [FEATURES]: this program with the library of that tree
    mkdir -p "$place/$1"
    cp -r benches/versions/src "$place/$1/"
    sed "s|path = \"../..\"|path = \"$2\"|" benches/versions/Cargo.toml >"$place/$1/Cargo.toml"
    cargo build --quiet --release --manifest-path "$place/$1/Cargo.toml" --target-dir "$place/$1/target" --features "${3:-}"
}

[ -d "$place/tree-$commit" ] || git worktree add --detach "$place/tree-$commit" "$commit"
trap 'git worktree remove --force "$place/tree-$commit"' EXIT
build "$commit" "$place/tree-$commit" "$features"
build present "$PWD"
"$place/present/target/release/bowline-versions" compare "$place/$commit/target/release/bowline-versions" "$place/present/target/release/bowline-versions"
