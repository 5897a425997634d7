#!/usr/bin/env bash
# Runs the tests of the packages in which goroutines share memory under the race detector, less their long ones.
#
#	scripts/race.sh [PACKAGE…]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# Where it pays: shared templates, sockets and batches handed over, snapshots swapped, writers with retries, sessions and loops of
# hosts, events, requests and queries beside each other.
packages=(./api/... ./collector/... ./estate/... ./enricher/... ./store/... ./event/... ./policyd/... ./ovs/... ./grafana-plugin/pkg/...)
[ $# -eq 0 ] || packages=("$@")
export CGO_ENABLED=1
each_module go test -race -short -vet=off -timeout 20m -- "${packages[@]}"
