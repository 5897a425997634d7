#!/usr/bin/env bash
# Everything that must hold before a change is accepted; `make test` and CI run exactly this. Each part prints what it
# took; a part that fails does not keep the others from running, except where they need what it makes.
#
# The budget is $budget seconds on two cores with empty caches. What takes longer has a target of its own (make help).
set -euo pipefail
. "$(dirname "$0")/lib.sh"

budget=2700
started=$SECONDS
failed=()
times=()
unchecked=()

# part NAME COMMAND…: runs it and remembers its time and whether it failed.
part() {
  local name=$1 begin=$SECONDS status=ok
  shift
  printf '\n=== %s\n' "$name"
  "$@" || { status=FAILED; failed+=("$name"); }
  times+=("$(printf '%-28s %6s  %s' "$name" "$(duration $((SECONDS - begin)))" "$status")")
  printf -- '--- %s: %s, %s\n' "$name" "$status" "$(duration $((SECONDS - begin)))"
  [ "$status" = ok ]
}

summary() {
  local took=$((SECONDS - started)) line
  printf '\n'
  for line in "${times[@]}"; do say "$line"; done
  for line in "${unchecked[@]}"; do say "not checked: $line"; done
  [ "$took" -le "$budget" ] || say "slow: $(duration "$took") of a budget of $(duration "$budget")"
  if [ ${#failed[@]} -gt 0 ]; then
    local IFS=,
    say "make test: FAILED in $(duration "$took"): ${failed[*]}"
    exit 1
  fi
  say "make test: ok in $(duration "$took")"
  exit 0
}

# The linter takes minutes of one core to build the first time. It does so from the start, beside the parts that wait
# for the network, and at the lowest priority, so that tests with deadlines do not notice.
linter_log=$cache/log/golangci-lint.log
build_linter() {
  mkdir -p "$cache/log"
  nice -n 19 scripts/tools.sh golangci-lint >"$linter_log" 2>&1 &
  linter_pid=$!
}
stop_linter() { kill "$linter_pid" 2>/dev/null || true; }

lint() {
  wait "$linter_pid" || { cat "$linter_log" >&2; return 1; }
  scripts/lint.sh
}

# Modules whose known vulnerabilities this checkout would ship. Both need a service that may be out of reach.
vulnerabilities() {
  if curl -fsS --max-time 5 -o /dev/null https://vuln.go.dev/index/db.json 2>/dev/null; then
    each_module "$(scripts/tools.sh govulncheck)" -- || return 1
  else
    unchecked+=("known vulnerabilities of Go modules (vuln.go.dev is out of reach)")
  fi
  local lock report
  while read -r lock; do
    report=$(cd "$(dirname "$lock")" && npm audit --package-lock-only --omit=dev --audit-level=high 2>&1) && continue
    if grep -q 'audit endpoint returned an error\|ENOTFOUND\|ECONNREFUSED\|ETIMEDOUT\|E404\|E403' <<<"$report"; then
      unchecked+=("known vulnerabilities of npm packages (the registry answers no audits)")
      return 0
    fi
    printf '%s: %s\n' "$lock" "$report"
    return 1
  done < <(git ls-files -co --exclude-standard -- '*package-lock.json')
}

# go.mod and go.sum name what is imported, and nothing else.
tidy() {
  local module status=0
  for module in "${modules[@]}"; do
    go -C "$module" mod tidy -diff || status=1
  done
  return "$status"
}

# The pages of the Grafana plugin: types, lint, unit tests.
frontend() (
  PATH=$(scripts/node-path.sh):$PATH
  for script in typecheck lint test; do
    npm --prefix grafana-plugin run --silent "$script" || exit 1
  done
)

# The plugin as Grafana meets it: tests look at programs, pages and files that go test does not know of, so none are remembered.
plugin_tests() {
  CI_REQUIRE_SERVICES=1 go -C grafana-plugin test -vet=off -count 1 -timeout 20m ./...
}

build_linter
trap stop_linter EXIT
part "dependencies" scripts/deps.sh test || summary
part "build" scripts/build.sh || summary
part "generated files" scripts/generate.sh --check || true
part "modules" tidy || true
# go vet is among the linters below; running it in go test too would analyse every dependency twice.
part "types of TypeScript" scripts/ui.sh || true
part "tests" env CI_REQUIRE_SERVICES=1 go test -vet=off -timeout 25m ./... || true
part "Grafana plugin" plugin_tests || true
part "Grafana plugin's pages" frontend || true
part "race detector" scripts/race.sh || true
part "lint" lint || true
part "vulnerabilities" vulnerabilities || true
summary
