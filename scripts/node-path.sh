#!/usr/bin/env bash
# Prints the directory to put in front of PATH so that `node` is the pinned Node 24; scripts/deps.sh node fills it.
#
#	PATH=$(scripts/node-path.sh):$PATH npm ci
#	scripts/node-path.sh --dir    the installation's directory, whether it is there or not
set -euo pipefail
. "$(dirname "$0")/lib.sh"

dir=$cache/node/$(hash tools/node/package-lock.json)
if [ "${1:-}" = --dir ]; then
  say "$dir"
elif [ -n "${WEIR_NODE:-}" ]; then
  dirname "$WEIR_NODE"
elif [ -x "$dir/bin/node" ]; then
  say "$dir/bin"
else
  die "node 24 is not installed: run make deps"
fi
