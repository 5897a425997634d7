#!/usr/bin/env bash
# Runs the linters of .golangci.yml (go vet among them) and its formatters' check.
#
#	scripts/lint.sh [PACKAGE…]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

export GOLANGCI_LINT_CACHE=$cache/golangci-lint
linter=$(scripts/tools.sh golangci-lint)
each_module "$linter" run -- "$@"
