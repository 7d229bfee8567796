#!/usr/bin/env bash
# Fuzzes every target of the module, one after the other.
#
#   tools/fuzz.sh TIME [PACKAGE-PATTERN...]     TIME as go test -fuzztime, as 2m
#
# A crasher is written by Go to the package's testdata/fuzz: commit it with the
# fix, and every later test run tries it again.
set -euo pipefail

time=${1:?usage: tools/fuzz.sh TIME [PACKAGE-PATTERN...]}
shift
[ $# -gt 0 ] || set -- ./...

# go test -list prints the targets of a package and then a line "ok PACKAGE …".
targets=$(go test -list '^Fuzz' "$@" | awk '
  /^Fuzz/ { names[++n] = $1 }
  $1 == "ok" { for (i = 1; i <= n; i++) print $2, names[i]; n = 0 }')
[ -n "$targets" ] || { echo "fuzz: no fuzz target in $*" >&2; exit 1; }

failed=0
while read -r package target; do
  echo "== $package $target"
  # Minimizing interesting inputs would eat a short run whole.
  go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x "$package" </dev/null || failed=$((failed + 1))
done <<<"$targets"
echo "fuzzed $(wc -l <<<"$targets") targets for $time each, $failed failed"
[ "$failed" -eq 0 ]
