#!/usr/bin/env bash
# Formats the Go files as .golangci.yml says (gofumpt and goimports).
set -euo pipefail
. "$(dirname "$0")/lib.sh"

each_module "$(scripts/tools.sh golangci-lint)" fmt --
