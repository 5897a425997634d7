#!/usr/bin/env bash
# Fuzzes each fuzz target in turn for FUZZTIME (30s unless set). New interesting inputs stay in Go's cache; an input
# that crashes is written below testdata/fuzz of its package and belongs in the commit that mends the crash.
#
#	FUZZTIME=10m scripts/fuzz.sh [PACKAGE…]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

fuzztime=${FUZZTIME:-30s}
failed=()
count=0
while read -r package dir; do
  grep -qs '^func Fuzz' "$dir"/*_test.go || continue
  cd "$dir"
  for target in $(go test -vet=off -list '^Fuzz' | grep '^Fuzz'); do
    count=$((count + 1))
    printf '\n=== %s %s for %s\n' "$package" "$target" "$fuzztime"
    # Inputs that are merely new are made smaller in few steps: by default that takes a minute of each worker for one.
    go test -vet=off -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" -fuzzminimizetime 10x || failed+=("$package.$target")
  done
done < <(each_module go list -f '{{.ImportPath}} {{.Dir}}' -- "$@")
printf '\nfuzz: %d targets, %s each, %d failed\n' "$count" "$fuzztime" "${#failed[@]}"
[ ${#failed[@]} -eq 0 ] || { printf '  %s\n' "${failed[@]}"; exit 1; }
