#!/usr/bin/env bash
# Builds bin/weir and bin/weirlab. The same commit and Go version give the same bytes, wherever the checkout is.
#
# The version is VERSION of the environment, else what git says, else the newest release of CHANGELOG.md.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

version=${VERSION:-$(git describe --tags --always --dirty --match 'v*' 2>/dev/null || true)}
version=${version:-$(sed -n 's/^## \[\([0-9][^]]*\)\].*/v\1/p' CHANGELOG.md | head -n 1)}
mkdir -p bin
go build -ldflags "-X main.version=${version:-unknown}" -o bin/ ./cmd/...
