#!/usr/bin/env bash
# Builds the Debian packages. The same commit, Go and nfpm give the same bytes, wherever the checkout is.
#
#	scripts/deb.sh [--without-engine] [DIR [ARCH…]]
#	                               DIR/weir_<version>_<arch>.deb into DIR (dist unless given), for each ARCH (amd64 and arm64 unless
#	                               given); with amd64 DIR/weir-libchdb_<version>_amd64.deb as well, the embedded engine, which
#	                               there is for amd64 only
#
# The version is that of scripts/build.sh as Debian orders versions: 1.2.3, 1.2.3+4.gabcdef0 four commits later, 0~20261127.abcdef0
# before the first release. Times in packages are SOURCE_DATE_EPOCH, else that of the commit.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

engine=yes
if [ "${1:-}" = --without-engine ]; then
  engine=no
  shift
fi
dir=$(realpath -m "${1:-dist}")
shift || true
architectures=("$@")
[ $# -gt 0 ] || architectures=(amd64 arm64)

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || printf 315532800)}
export SOURCE_DATE_EPOCH

# deb_version VERSION: as Debian orders it.
deb_version() {
  local v=${1#v}
  case $v in
  [0-9]*.[0-9]*.[0-9]*) printf '%s\n' "$v" | sed -E 's/-([0-9]+)-g/+\1.g/; s/-rc/~rc/; s/-/+/g' ;;
  *) printf '0~%s.%s\n' "$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d)" "$v" | sed 's/-/+/g' ;;
  esac
}

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir -p "$dir"
nfpm=$(scripts/tools.sh nfpm)

# pack NAME ARCH: the package of deploy/debian/NAME.yaml, of what lies in the stage.
pack() {
  find "$stage" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
  DEB_ARCH=$2 DEB_STAGE=$stage "$nfpm" package --config "deploy/debian/$1.yaml" --packager deb --target "$dir" >/dev/null
}

DEB_VERSION=$(deb_version "$(version)")
ENGINE_VERSION=$(sed -n 's/^const LibraryVersion = "\(.*\)"$/\1/p' store/embedded/library.go)
export DEB_VERSION ENGINE_VERSION

# What does not depend on the architecture.
mkdir -p "$stage/doc" "$stage/man"
gzip -9n <CHANGELOG.md >"$stage/doc/changelog.gz"
own=$stage/weir-$(go env GOHOSTARCH)
go build -ldflags "-X main.version=$(version)" -o "$own" ./cmd/weir
"$own" completion bash >"$stage/weir.bash"
"$own" man --out "$stage/man"
gzip -9n "$stage"/man/*

for arch in "${architectures[@]}"; do
  [ "$stage/weir-$arch" = "$own" ] || GOARCH=$arch go build -ldflags "-X main.version=$(version)" -o "$stage/weir-$arch" ./cmd/weir
  ln -f "$stage/weir-$arch" "$stage/weir"
  case $arch in
  amd64) export DEB_ENGINE="weir-libchdb (= $ENGINE_VERSION)" ;;
  *) export DEB_ENGINE= ;;
  esac
  pack weir "$arch"
  say "$dir/weir_${DEB_VERSION}_$arch.deb"
  if [ "$arch" = amd64 ] && [ "$engine" = yes ]; then
    ENGINE=$(scripts/install-libchdb.sh)
    export ENGINE
    pack weir-libchdb amd64
    say "$dir/weir-libchdb_${ENGINE_VERSION}_amd64.deb"
  fi
done
