#!/usr/bin/env bash
# Writes deploy/grafana/dashboards anew, by the pinned Node; with --check it only says what is not up to date. scripts/generate.sh
# runs it (package dashboard).
set -euo pipefail
. "$(dirname "$0")/../../scripts/lib.sh"

[ -e grafana-plugin/node_modules ] || die "grafana-plugin/node_modules: not there; scripts/deps.sh plugin installs them"
PATH=$(scripts/node-path.sh):$PATH exec node grafana-plugin/dashboards/generate.ts "$@"
