#!/usr/bin/env bash
# Checks the types of the TypeScript in ui/. What it needs is installed beside it, again when the lock file changes.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

PATH=$(scripts/node-path.sh):$PATH
cd ui
stamp=node_modules/.installed-$(hash package-lock.json)
if [ ! -e "$stamp" ]; then
  npm ci --no-audit --no-fund
  touch "$stamp"
fi
npm run --silent typecheck
