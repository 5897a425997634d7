#!/usr/bin/env bash
# Installs the embedded ClickHouse (libchdb.so) where weir looks for it and prints its path; progress goes to stderr. Does nothing
# when it is there already. What is installed: store/embedded/lib/README.md.
#
#	scripts/install-libchdb.sh [--force]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

lock=store/embedded/lib
version=$(sed -n 's/^const LibraryVersion = "\(.*\)"$/\1/p' store/embedded/library.go)
sha256=$(sed -n '/case "amd64":/{n;s/.*"\([0-9a-f]\{64\}\)".*/\1/p}' store/embedded/library.go)
if [ -z "$version" ] || [ -z "$sha256" ]; then die "libchdb: version or hash not found in store/embedded/library.go"; fi
# Not $cache: this is where the program looks, whatever WEIR_CACHE says.
dir=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/weir/libchdb/$version
file=$dir/libchdb.so

progress() { printf 'libchdb: %s\n' "$*" >&2; }

case $(uname -sm) in
"Linux x86_64") ;;
*) die "libchdb: no build for $(uname -sm); run weir with a ClickHouse server instead of the embedded store" ;;
esac
if [ "${1:-}" != --force ]; then
  # The program checks the hash at its start; here the file's presence is enough to be quick.
  for there in "$file" /usr/lib/weir/libchdb.so; do
    [ -s "$there" ] && say "$there" && exit
  done
fi
have npm || die "libchdb: npm is needed once to download it: install Node with npm (on Debian: sudo apt-get install npm) and run this again, or put libchdb.so of @chdb/lib-linux-x64-gnu $version at $file"

mkdir -p "$dir"
tmp=$(mktemp -d "$dir/install.XXXXXX") # on the same file system as its goal
beat=
trap '[ -z "$beat" ] || kill "$beat" 2>/dev/null; rm -rf "$tmp"' EXIT
free=$(df -Pk "$tmp" | awk 'NR == 2 { print $4 }')
[ "$free" -ge $((1200 * 1024)) ] || die "libchdb: $((free / 1024)) MiB free in $dir, 1200 MiB are needed while installing"
cp "$lock/package.json" "$lock/package-lock.json" "$lock/.npmrc" "$tmp"

progress "downloading $version (178 MB, 566 MB unpacked)"
(while sleep 10; do progress "downloading, $((SECONDS))s"; done) &
beat=$!
npm ci --prefix "$tmp" --ignore-scripts --no-audit --no-fund --loglevel=error </dev/null >&2 ||
  die "libchdb: npm could not install $version: see above; check the network and npm's registry setting and run this again"
kill "$beat" 2>/dev/null && beat=

progress "checking SHA-256"
got=$(sha256sum "$tmp/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so" | cut -d ' ' -f 1)
[ "$got" = "$sha256" ] || die "libchdb: SHA-256 of the downloaded file is $got, expected $sha256; not installed"
chmod 0755 "$tmp/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so"
rm -f "$file.verified"
mv -f "$tmp/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so" "$file"
progress "installed in $(duration "$SECONDS")"
say "$file"
