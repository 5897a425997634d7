# shellcheck shell=bash
# What the scripts beside this file share. Sourced, never run; bash only.
#
# After sourcing it: the working directory is the repository's root, $root names it, $cache is where downloads and built
# tools are kept (outside the checkout, so that clones share them; WEIR_CACHE overrides it), and the Go environment is
# the one that every target uses.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit
cache=${WEIR_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/weir}
export WEIR_CACHE=$cache

# One set of flags for the binary, the tests and the tools means one compilation of everything they share:
# -trimpath makes builds reproducible, no cgo is what ships, and the version is stamped by scripts/build.sh, not by Go.
export GOFLAGS="-trimpath -buildvcs=false${GOFLAGS:+ $GOFLAGS}"
export CGO_ENABLED=0

say() { printf '%s\n' "$*"; }
die() { printf '%s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# hash FILE…: twelve hex digits that change when one of the files does.
hash() { cat "$@" | sha256sum | cut -c1-12; }

# version: VERSION of the environment, else what git says, else the newest release of CHANGELOG.md.
version() {
  local v=${VERSION:-$(git describe --tags --always --dirty --match 'v*' 2>/dev/null || true)}
  v=${v:-$(sed -n 's/^## \[\([0-9][^]]*\)\].*/v\1/p' CHANGELOG.md | head -n 1)}
  printf '%s\n' "${v:-unknown}"
}

# The Go modules of the repository: what weir is made of, and the Grafana plugin, which alone needs gRPC and Arrow.
modules=(. grafana-plugin)

# each_module COMMAND… -- PACKAGE…: runs the command in each module of which there are PACKAGEs (./dir, ./dir/...), with them as
# further arguments; without PACKAGEs, in each with ./... .
each_module() {
  local command=() packages module package status=0
  while [ "$1" != -- ]; do command+=("$1"); shift; done
  shift
  for module in "${modules[@]}"; do
    packages=()
    [ $# -gt 0 ] || packages=(./...)
    for package in "$@"; do
      case $module,$package in
      .,./grafana-plugin | .,./grafana-plugin/*) ;;
      .,*) packages+=("$package") ;;
      "$module,./$module/"*) packages+=("./${package#"./$module/"}") ;;
      esac
    done
    [ ${#packages[@]} -eq 0 ] || (cd "$module" && "${command[@]}" "${packages[@]}") || status=1
  done
  return $status
}

# duration SECONDS: 75 → 1m15s
duration() { printf '%dm%02ds' $(($1 / 60)) $(($1 % 60)); }
