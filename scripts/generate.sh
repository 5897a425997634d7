#!/usr/bin/env bash
# Runs every go:generate line. With --check it fails when that changes a file; the change is left in place to commit.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# checksums: of every file that git tracks or would track.
checksums() { git ls-files -coz --exclude-standard | xargs -0 -r sha256sum 2>/dev/null || true; }

if [ "${1:-}" != --check ]; then
  each_module go generate --
  exit
fi
before=$(checksums)
each_module go generate --
if changed=$(diff <(printf '%s\n' "$before") <(checksums) | sed -n 's/^[<>] [0-9a-f]* *//p' | sort -u) && [ -n "$changed" ]; then
  say "not up to date; they were generated anew, commit them:" >&2
  say "$changed" >&2
  exit 1
fi
