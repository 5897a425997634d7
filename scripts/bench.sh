#!/usr/bin/env bash
# Measures Weir beside its peers and prints the ratios, then all figures. docs/performance.md says what they mean.
#
#	scripts/bench.sh             everything but the large store: minutes
#	scripts/bench.sh full        10⁸ flows in a store, and questions about them: many minutes, some GB in WEIR_BENCH_DIR
#	scripts/bench.sh PACKAGE…    the benchmarks of packages, as go test runs them
#
# With DOCS=1 the first two put their summary into docs/performance.md.
#
# The machine should have nothing else to do. Figures are CPU time where that can be, and the best of COUNT runs, but a
# busy machine still loses datagrams. Of the environment:
#
#	COUNT=3                  runs of each benchmark
#	BENCH=UDP                regular expression of the benchmarks to run
#	BENCHTIME=1s             with PACKAGE…: of go test
#	WEIR_BENCH_RATES="1.2 2.4 3.6 4.8"   offered over UDP, millions of flows a second
#	WEIR_BENCH_SECONDS=3     for which a rate is kept up
#	WEIR_BENCH_ROWS=1e8      with full: flows
#	WEIR_BENCH_DIR=/tmp      with full: where the store is
set -euo pipefail
. "$(dirname "$0")/lib.sh"

out=.cache/bench/$(date +%Y%m%dT%H%M%S).txt
mkdir -p .cache/bench
count=${COUNT:-3}

machine() {
  printf 'commit %s, %s, %s cores, %s, %s\n' "$(git describe --always --dirty 2>/dev/null)" \
    "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" "$(go env GOVERSION)" "$(uname -sr)"
  printf 'load average of the last minutes: %s\n' "$(cut -d ' ' -f 1-3 /proc/loadavg)"
}

# bench DIR PATTERN BENCHTIME COUNT: runs the benchmarks of one package; those that BENCH does not want are left out.
bench() {
  [[ ${2%%/*} =~ ${BENCH:-.} ]] || return 0
  # The compiler and linker run first, so that they do not run beside a measurement.
  local binary
  binary=$(mktemp -p .cache/bench test.XXXXXX)
  (cd "$1" && go test -vet=off -c -o "$root/$binary" .)
  (cd "$1" && "$root/$binary" -test.run '^$' -test.bench "$2" -test.benchtime "$3" -test.count "$4" -test.timeout 2h) |
    grep --line-buffered '^Benchmark\|^pkg\|FAIL\|not measured\|_test.go' | tee -a "$out"
  rm -f "$binary"
}

# summary PART: prints the ratios. With DOCS=1 they replace those of the part in the docs.
summary() {
  local text page=docs/performance.md
  text=$(awk -f scripts/bench-summary.awk "$out")
  printf '\n%s\n' "$text"
  printf '\nfigures in %s; scripts/tools.sh benchstat prints the path of the tool that compares two such files\n' "$out"
  [ -n "${DOCS:-}" ] || return 0
  text=$(printf '```text\n%s\n\n%s\n```' "$(head -n 2 "$out")" "$text") part=$1 awk '
    $0 == "<!-- /" ENVIRON["part"] " -->" { skip = 0 }
    !skip { print }
    $0 == "<!-- " ENVIRON["part"] " -->" { printf "\n%s\n\n", ENVIRON["text"]; skip = 1 }
  ' "$page" >"$out.md"
  mv "$out.md" "$page"
}

case ${1:-} in
'')
  machine | tee "$out"
  scripts/deps.sh bench || say "peers that are not installed are not measured"
  bench collector/netflow Ratios 50x "$count"
  bench bench/goflow2 Ratios 20x "$count"
  bench collector Drain 100000x "$count"
  bench bench UDP 1x "$count"
  bench bench Stored 1x 1
  bench bench Size 1x 1
  bench enricher Enrich/100k_vifs 500ms "$count"
  bench estate AssembleChange 20x "$count"
  bench estate/hosts FleetOfFarm 5x 1
  bench bench Hosts 3x 1
  bench bench Pool 3x 1
  bench policyd/compile 'Rule|VIF' 20x "$count"
  bench policyd/reconcile 'Bridge/100000' 2x 1
  bench policyd/reconcile Farm 10x 1
  bench bench Policy 6x 1
  summary bench
  ;;
full)
  machine | tee "$out"
  scripts/deps.sh run
  WEIR_BENCH_ROWS=${WEIR_BENCH_ROWS:-1e8} bench bench Full 1x 1
  summary bench-full
  ;;
*)
  mapfile -t with_benchmarks < <(go list -f '{{.ImportPath}} {{.Dir}}' "$@" |
    while read -r package dir; do grep -qs '^func Benchmark' "$dir"/*_test.go && say "$package"; done)
  [ ${#with_benchmarks[@]} -gt 0 ] || die "bench: no benchmarks in $*"
  go test -vet=off -run '^$' "${with_benchmarks[@]}" >/dev/null
  machine | tee "$out"
  go test -vet=off -p 1 -run '^$' -bench "${BENCH:-.}" -benchmem -benchtime "${BENCHTIME:-1s}" -count "${COUNT:-1}" \
    -timeout 30m "${with_benchmarks[@]}" | grep -v '^ok\|^PASS\|no test files' | tee -a "$out"
  if grep -q '/impl=weir' "$out"; then
    printf '\nHow many times the time of weir each peer, or slower way kept for comparison, takes:\n\n'
    awk -f scripts/ratios.awk "$out"
  fi
  ;;
esac
