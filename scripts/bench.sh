#!/usr/bin/env bash
# Runs the benchmarks and prints their figures, then the ratio of each implementation to its peers. A benchmark takes
# part in the ratios when its sub-benchmarks say which implementation they ran: BenchmarkDecode/v9/impl=weir beside
# BenchmarkDecode/v9/impl=goflow.
#
#	BENCH=Decode BENCHTIME=2s COUNT=6 scripts/bench.sh [PACKAGE…]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

packages=("${@:-./...}")
out=.cache/bench/$(date +%Y%m%dT%H%M%S).txt
mkdir -p .cache/bench

# The linker and compiler run first, so that they do not run beside a measurement.
mapfile -t with_benchmarks < <(go list -f '{{.ImportPath}} {{.Dir}}' "${packages[@]}" |
  while read -r package dir; do grep -qs '^func Benchmark' "$dir"/*_test.go && say "$package"; done)
[ ${#with_benchmarks[@]} -gt 0 ] || die "bench: no benchmarks in ${packages[*]}"
go test -vet=off -run '^$' "${with_benchmarks[@]}" >/dev/null

printf 'commit %s, %s, %s cores, %s\n\n' "$(git describe --always --dirty 2>/dev/null)" \
  "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" "$(go env GOVERSION)"
go test -vet=off -p 1 -run '^$' -bench "${BENCH:-.}" -benchmem -benchtime "${BENCHTIME:-1s}" -count "${COUNT:-1}" \
  -timeout 30m "${with_benchmarks[@]}" | grep -v '^ok\|^PASS\|no test files' | tee "$out"

if grep -q '/impl=weir' "$out"; then
  printf '\nHow many times the time of weir each peer, or slower way kept for comparison, takes:\n\n'
  awk -f scripts/ratios.awk "$out"
fi
printf '\nfigures in %s; scripts/tools.sh benchstat prints the path of the tool that compares two such files\n' "$out"
