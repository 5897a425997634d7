#!/usr/bin/env bash
# Runs the tests with random input again and again with new input, in turn, until EXPLORE (10m unless set) is over: tests
# run by themselves have the same input each time (internal/chance). What fails is printed with the seed that brings it back.
#
#	EXPLORE=2h scripts/explore.sh [PACKAGE…]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# Seconds of a time such as 90s, 10m or 2h.
seconds() {
  case $1 in
  *s) echo "${1%s}" ;;
  *m) echo $((${1%m} * 60)) ;;
  *h) echo $((${1%h} * 3600)) ;;
  *) die "explore: EXPLORE=$1: want a number of s, m or h" ;;
  esac
}
time=${EXPLORE:-10m}
span=$(seconds "$time")
export WEIR_SEED=random CI_REQUIRE_SERVICES=1

built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT

# The packages of which a test asks for a seed, and what those tests are called.
names=() dirs=() tests=()
while read -r package dir; do
  grep -qs 'chance\.Seed(' "$dir"/*_test.go || continue
  list=$(awk '/^func / { name = "" } /^func Test/ { name = $2; sub(/\(.*/, "", name) } /chance\.Seed\(/ && name { print name }' "$dir"/*_test.go |
    sort -u | paste -sd '|')
  [ "$package" != github.com/weirhq/weir/internal/chance ] || continue # which tests the seeds themselves
  (cd "$dir" && go test -vet=off -c -o "$built/${#names[@]}" .)
  names+=("${package#github.com/weirhq/weir/}") dirs+=("$dir") tests+=("^($list)\$")
done < <(each_module go list -f '{{.ImportPath}} {{.Dir}}' -- "$@")
[ ${#names[@]} -gt 0 ] || die "explore: no test there has random input"

runs=0 failed=0 end=$((SECONDS + span))
while :; do
  for i in "${!names[@]}"; do
    [ $SECONDS -lt "$end" ] || break 2
    begin=$SECONDS
    if (cd "${dirs[i]}" && "$built/$i" -test.run "${tests[i]}" -test.timeout 30m) >"$built/log" 2>&1; then
      printf 'ok    %-32s %s\n' "${names[i]}" "$(duration $((SECONDS - begin)))"
    else
      failed=$((failed + 1))
      printf 'FAIL  %-32s %s\n' "${names[i]}" "$(duration $((SECONDS - begin)))"
      sed 's/^/    /' "$built/log"
    fi
    runs=$((runs + 1))
  done
done
say "explore: $runs runs of ${#names[@]} packages in $time, $failed failed"
[ "$failed" -eq 0 ]
