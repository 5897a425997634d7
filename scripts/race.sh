#!/usr/bin/env bash
# Runs the tests of the packages in which goroutines share memory under the race detector, less their long ones.
#
#	scripts/race.sh [PACKAGE…]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# Where it pays: shared templates, sockets and batches handed over, snapshots swapped, writers with retries, sessions and loops of
# hosts, events.
packages=(./collector/... ./estate/... ./enricher/... ./store/... ./event/... ./policyd/... ./ovs/...)
[ $# -eq 0 ] || packages=("$@")
CGO_ENABLED=1 go test -race -short -vet=off -timeout 10m "${packages[@]}"
