#!/usr/bin/env bash
# Builds bin/weir and bin/weirlab. The same commit and Go version give the same bytes, wherever the checkout is.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

mkdir -p bin
go build -ldflags "-X main.version=$(version)" -o bin/ ./cmd/...
