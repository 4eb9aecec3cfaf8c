#!/bin/sh
# Runs one fuzz target: fuzz/run.sh TARGET SECONDS
#
# Needs the pinned toolchain of the workspace and a C++ compiler, nothing else: the flags below are stable, and
# the same that cargo-fuzz passes, without its sanitizers (the code under test has no unsafe blocks).
# Everything it writes is under fuzz/target: findings in artifacts/TARGET, grown inputs in corpus/TARGET,
# all output in log/TARGET.
# Exit status: 0 nothing found, 2 wrong usage or a missing tool, anything else a finding or a failed build.
set -eu
cd "$(dirname "$0")"

if [ $# -ne 2 ] || [ ! -f "fuzz_targets/$1.rs" ]; then
    echo "usage: fuzz/run.sh TARGET SECONDS; targets: $(cd fuzz_targets && echo *.rs | sed 's/\.rs//g')" >&2
    exit 2
fi
case $2 in
    '' | *[!0-9]* | 0*) echo "fuzz/run.sh: SECONDS is '$2'; give a whole number from 1" >&2; exit 2 ;;
esac
for tool in cargo rustc c++; do
    if ! command -v "$tool" >/dev/null; then
        echo "fuzz/run.sh: $tool is missing; install rustup with the toolchain of rust-toolchain.toml, and g++" >&2
        exit 2
    fi
done

host=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_TARGET_DIR="$PWD/target"
# With --target the flags do not reach build scripts and procedural macros.
export RUSTFLAGS="--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module \
-Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
cargo build --quiet --locked --release --target "$host" --bin "$1"

mkdir -p "target/corpus/$1" "target/artifacts/$1" target/log
log="target/log/$1"
status=0
"target/$host/release/$1" -max_total_time="$2" -max_len=16384 -timeout=10 -rss_limit_mb=2048 \
    -verbosity=0 -print_funcs=0 -print_final_stats=1 -artifact_prefix="target/artifacts/$1/" \
    "target/corpus/$1" "seeds/$1" >"$log" 2>&1 || status=$?
if [ "$status" -ne 0 ]; then
    tail -n 40 "$log" >&2
    echo "fuzz/run.sh: $1 found something; input in fuzz/target/artifacts/$1, all output in fuzz/$log" >&2
    exit "$status"
fi
echo "$1: nothing found in $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs"
