#!/usr/bin/env bash
# Builds the Vault server that the tests run against into .cache/bin/vault.
# The first build takes about 12 minutes on two cores and several gigabytes of
# Go's build cache; afterwards this does nothing until go.mod or go.sum here
# change. Vault is under the BUSL: it is a test tool, never linked or shipped.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
out=$root/.cache/bin/vault

if [ -x "$out" ] && [ "$out" -nt "$here/go.mod" ] && [ "$out" -nt "$here/go.sum" ]; then
	exit 0
fi

mkdir -p "$root/.cache/bin"
echo "building Vault for the tests into .cache/bin/vault (about 12 minutes the first time)" >&2
# Built beside its place and renamed, so that an interrupted build leaves no
# half binary that looks newer than go.mod.
trap 'rm -f "$out.$$"' EXIT
trap 'exit 1' HUP INT TERM
cd "$here"
CGO_ENABLED=0 GOWORK=off GOFLAGS=-mod=readonly go build -o "$out.$$" github.com/hashicorp/vault
mv "$out.$$" "$out"
