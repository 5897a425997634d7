#!/usr/bin/env bash
# Builds the Grafana plugin: the app weir-app, with the data source weir-datasource in it. The same commit, Go and Node give
# the same bytes, wherever the checkout is.
#
#	scripts/plugin.sh [DIR [ARCH…]]       all of it, into DIR (dist unless given), for each GOARCH (amd64 and arm64 unless given):
#	                                      DIR/linux_<arch>/weir-app is what Grafana runs, and
#	                                      DIR/weir-app-<version>.linux_<arch>.zip the same as one file
#	scripts/plugin.sh zip [DIR [ARCH…]]   the zips alone, of what is in DIR: after it was signed (docs/howto/grafana.md)
#	scripts/plugin.sh backend DIR ARCH…   the data source's program alone, for each GOARCH, into DIR
#
# The version is that of scripts/build.sh in the form of Semantic Versioning, 0.0.0-g<commit> before the first release. Times in zips
# are SOURCE_DATE_EPOCH, else that of the commit.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

architectures=(amd64 arm64)
program=gpx_weir_datasource

# plugin_version: 1.2.3, 1.2.3-4-gabcdef0, 0.0.0-gabcdef0
plugin_version() {
  local v
  v=$(version)
  v=${v#v}
  [[ $v =~ ^[0-9]+\.[0-9]+\.[0-9]+ ]] || v=0.0.0-g$v
  printf '%s\n' "$v"
}

# epoch: seconds since 1970; without git the first day that a zip can name.
epoch() { printf '%s\n' "${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || printf 315532800)}"; }

backend() { # backend DIR ARCH…
  local dir arch
  dir=$(realpath -m "$1")
  shift
  for arch in "$@"; do
    GOOS=linux GOARCH=$arch go -C grafana-plugin build -ldflags '-s -w' -o "$dir/${program}_linux_$arch" ./pkg/main
  done
}

frontend() {
  [ -e grafana-plugin/node_modules ] || die "grafana-plugin/node_modules: not there; scripts/deps.sh plugin installs them"
  local log=$cache/log/webpack.log
  mkdir -p "$cache/log"
  VERSION=$(plugin_version) PATH=$(scripts/node-path.sh):$PATH npm --prefix grafana-plugin run --silent build >"$log.$$" 2>&1 ||
    { cat "$log.$$" >&2; rm -f "$log.$$"; die "build frontend: see above"; }
  mv "$log.$$" "$log"
}

zips() { # zips DIR ARCH…
  local to=$1 dir arch
  dir=$(realpath -m "$1")
  shift
  for arch in "$@"; do
    [ -d "$dir/linux_$arch/weir-app" ] || die "zip $dir/linux_$arch/weir-app: not there; scripts/plugin.sh builds it"
    go -C grafana-plugin run ./cmd/pluginzip -time "$(epoch)" -o "$dir/weir-app-$(plugin_version).linux_$arch.zip" "$dir/linux_$arch"
    say "$to/weir-app-$(plugin_version).linux_$arch.zip"
  done
}

all() { # all DIR ARCH…
  local dir=$1 arch
  shift
  frontend
  for arch in "$@"; do
    rm -rf "$dir/linux_$arch"
    mkdir -p "$dir/linux_$arch"
    cp -r grafana-plugin/dist "$dir/linux_$arch/weir-app"
    rm -f "$dir/linux_$arch/weir-app/datasource/$program"_* # built by hand, of any architecture
    backend "$dir/linux_$arch/weir-app/datasource" "$arch"
  done
  zips "$dir" "$@"
}

command=all
case ${1:-} in
backend) shift && backend "$@" && exit ;;
zip) command=zips && shift ;;
esac
dir=${1:-dist}
shift || true
[ $# -gt 0 ] || set -- "${architectures[@]}"
"$command" "$dir" "$@"
