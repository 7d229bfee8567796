#!/usr/bin/env bash
# Makes sure that what a make target needs is on this machine.
#
#   tools/setup.sh SET...      SET is demo, test, lint, browser or capture
#
# Says nothing and takes no time when everything is there. What is missing is
# installed with apt-get when run as root on Debian or Ubuntu; otherwise the one
# command to run is printed and the exit status is 1. Run it as often as you like.
set -eu

go_minimum=1.26

# found PROGRAM: is it in the PATH, or among PostgreSQL's server programs (which
# Debian keeps out of the PATH)? An absolute path names a file that must exist.
found() {
  case $1 in /*) [ -e "$1" ]; return ;; esac
  command -v "$1" >/dev/null 2>&1 && return 0
  for f in /usr/sbin/"$1" /usr/lib/postgresql/*/bin/"$1"; do
    [ -x "$f" ] && return 0
  done
  return 1
}

packages=()
missing=()
# need PROGRAM PACKAGE...: note the packages when the program is absent.
need() {
  found "$1" && return 0
  [[ " ${missing[*]} " == *" $1 "* ]] && return 0
  missing+=("$1")
  shift
  packages+=("$@")
}

need_go() {
  # In / so that no go.mod makes an old go fetch a newer toolchain just to say
  # its version.
  version=$(cd / && go version 2>/dev/null) || version=""
  version=${version#go version go}
  version=${version%% *}
  if [ -z "$version" ]; then
    echo "setup: Go $go_minimum or later is needed and 'go' is not in the PATH: see https://go.dev/doc/install" >&2
    exit 1
  fi
  oldest=$(printf '%s\n%s\n' "$go_minimum" "$version" | sort -V | head -n 1)
  if [ "$oldest" != "$go_minimum" ]; then
    echo "setup: Go $go_minimum or later is needed, this is $version: see https://go.dev/doc/install" >&2
    exit 1
  fi
}

need_tpm() {
  need swtpm swtpm
  need swtpm_setup swtpm-tools
  need swtpm_localca swtpm-tools
  need certtool gnutls-bin
}

[ $# -gt 0 ] || { echo "usage: tools/setup.sh demo|test|lint|browser|capture..." >&2; exit 2; }
need_go
for set in "$@"; do
  case $set in
  demo) need_tpm ;;
  test)
    need_tpm
    need initdb postgresql
    need tpm2_eventlog tpm2-tools
    need nginx nginx-light
    need strace strace
    ;;
  lint) need shellcheck shellcheck ;;
  browser) need chromium chromium ;;
  capture)
    need_tpm
    need qemu-system-x86_64 qemu-system-x86
    need /usr/share/OVMF/OVMF_VARS_4M.ms.fd ovmf
    need cpio cpio
    need mcopy mtools
    need mkfs.vfat dosfstools
    need sgdisk gdisk
    need sbsign sbsigntool
    need objcopy binutils
    need openssl openssl
    ;;
  *) echo "setup: there is no set named $set" >&2; exit 2 ;;
  esac
done
[ ${#packages[@]} -gt 0 ] || exit 0

mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
list="${packages[*]}"
if ! command -v apt-get >/dev/null 2>&1; then
  echo "setup: missing: ${missing[*]}. Install what provides them (on Debian: $list)." >&2
  exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "setup: missing: ${missing[*]}. Run:" >&2
  echo "    sudo sh -c 'apt-get update && apt-get install -y --no-install-recommends $list'" >&2
  exit 1
fi

echo "setup: installing $list"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# PostgreSQL's and NGINX's packages would start servers of their own; invoke-rc.d
# asks this program first, and 101 says no.
policy=/usr/sbin/policy-rc.d
made=""
trap 'rm -f "$log" $made' EXIT
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
  made=$policy
fi
apt=(apt-get -o DPkg::Lock::Timeout=300)
if ! { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${packages[@]}"; } >"$log" 2>&1 </dev/null; then
  cat "$log" >&2
  echo "setup: could not install $list" >&2
  exit 1
fi
for program in "${missing[@]}"; do
  found "$program" || { echo "setup: $program is still missing after installing $list" >&2; exit 1; }
done
