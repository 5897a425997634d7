#!/usr/bin/env bash
# Makes the root of a small Debian, with systemd's programs, and prints where it is. It is made once and kept in the cache; whoever
# uses it lays something over it. Needs root, debootstrap and Debian's mirror, which is the one that apt uses.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

suite=bookworm
dir=$cache/debian-root/$suite-$(hash scripts/debian-root.sh)
if [ ! -e "$dir" ]; then
  have debootstrap || die "debootstrap: not found; scripts/deps.sh test installs it"
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -n 1)
  mkdir -p "$(dirname "$dir")" "$cache/log"
  tmp=$(mktemp -d "$dir.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  say "debian: making a root of $suite (once)" >&2
  debootstrap --variant=minbase --include=systemd "$suite" "$tmp" "$mirror" >"$cache/log/debootstrap.log" 2>&1 </dev/null ||
    { tail -n 20 "$cache/log/debootstrap.log" >&2; die "debootstrap: see above, whole log in $cache/log/debootstrap.log"; }
  rm -rf "$tmp"/var/cache/apt/archives/*.deb "$tmp"/var/lib/apt/lists/*
  # As Debian's installer leaves it; debootstrap writes neither.
  printf '127.0.0.1\tlocalhost\n::1\tlocalhost\n' >"$tmp/etc/hosts"
  chmod 755 "$tmp"
  mv -T "$tmp" "$dir" 2>/dev/null || [ -e "$dir" ] # another clone may have been first
fi
say "$dir"
