#!/usr/bin/env bash
# Builds a development tool of tools/go.mod once and prints its path.
#
#	$(scripts/tools.sh golangci-lint) run
set -euo pipefail
. "$(dirname "$0")/lib.sh"

name=${1:?usage: scripts/tools.sh golangci-lint|gofumpt|govulncheck|benchstat|nfpm}
dir=$cache/tools/$(go env GOVERSION | cut -d' ' -f1)-$(hash tools/go.mod tools/go.sum)
tool=$dir/$name
if [ ! -x "$tool" ]; then
  package=$(cd tools && go list -f '{{.ImportPath}}' tool | grep "/$name\$") ||
    die "tool $name: not in tools/go.mod"
  say "$name: building (once)" >&2
  mkdir -p "$dir"
  (cd tools && go build -o "$tool.$$" "$package")
  mv "$tool.$$" "$tool"
fi
say "$tool"
