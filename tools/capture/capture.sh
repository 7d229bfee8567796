#!/usr/bin/env bash
# Boots Debian's kernel in emulated machines with firmware and a software TPM, and
# keeps what each boot leaves as evidence in attest/testdata/captured.
#
#   tools/capture/capture.sh [SCENARIO...]     all of them without arguments
#
# Packages are downloaded and unpacked in .cache/capture, not installed. Every
# machine ends by itself, or after $limit seconds. Evidence that was there is
# replaced only when the new is whole.
set -euo pipefail

limit=${CAPTURE_LIMIT:-180} # seconds for one boot; it takes 10 to 30
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
cache=$root/.cache/capture
files=$cache/files # the packages, unpacked
out=$root/attest/testdata/captured
ovmf=/usr/share/OVMF
PATH=$PATH:/usr/sbin:/sbin

# Sockets need a short path.
work=$(mktemp -d /tmp/capXXXXXX)
swtpm=""
qemu=""
finish() {
  for process in $qemu $swtpm; do
    kill "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

# unpack_packages: the kernel and the boot loaders, without running anything of
# theirs on this machine.
unpack_packages() {
  [ -e "$cache/unpacked" ] && return 0
  echo "capture: downloading packages"
  rm -rf "$cache/debs" "$files"
  mkdir -p "$cache/debs" "$files"
  local kernel
  kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
  [ -n "$kernel" ] || { echo "capture: apt-get knows no linux-image-cloud-amd64; run apt-get update on Debian" >&2; exit 1; }
  # As root, apt-get warns that its own user cannot write here.
  (cd "$cache/debs" && apt-get -o APT::Sandbox::User=root -qq download \
    "$kernel" shim-signed grub-efi-amd64-signed systemd-boot-efi)
  for deb in "$cache"/debs/*.deb; do
    dpkg -x "$deb" "$files"
    # shellcheck disable=SC2016 # dpkg's own placeholders
    dpkg-deb -W --showformat='${Package} ${Version}\n' "$deb"
  done >"$cache/packages"
  dpkg-query -W -f '${Package} ${Version}\n' ovmf qemu-system-x86 swtpm >>"$cache/packages"
  touch "$cache/unpacked"
}

# make_initramfs: the same bytes from the same packages and the same exporter.
make_initramfs() {
  local tree=$work/initramfs
  mkdir -p "$tree"/{dev,proc,sys,modules,etc,late}
  (cd "$root" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -buildid=' -o "$tree/init" ./tools/capture/exporter)
  cp "$files"/lib/modules/*/kernel/drivers/firmware/qemu_fw_cfg.ko "$tree/modules/1-qemu_fw_cfg.ko"
  cp "$files"/lib/modules/*/kernel/fs/efivarfs/efivarfs.ko "$tree/modules/2-efivarfs.ko"
  echo 'NAME="captured machine"' >"$tree/etc/os-release"
  echo 'captured' >"$tree/etc/hostname"
  echo 'a name with spaces' >"$tree/etc/a name with spaces"
  echo 'written while it is read' >"$tree/etc/written"
  echo 'read after the quotes' >"$tree/late/file"
  find "$tree" -exec touch -h -d @1700000000 {} +
  (cd "$tree" && find . -mindepth 1 | LC_ALL=C sort | cpio -o -H newc --reproducible -R 0:0 --quiet) | gzip -9n >"$work/initrd.gz"
}

# make_ca: the CA that certifies the TPMs' endorsement keys.
make_ca() {
  mkdir -p "$work/ca"
  cat >"$work/ca/setup.conf" <<END
create_certs_tool=$(command -v swtpm_localca)
create_certs_tool_config=$work/ca/localca.conf
create_certs_tool_options=$work/ca/localca.options
END
  cat >"$work/ca/localca.conf" <<END
statedir=$work/ca
signingkey=$work/ca/signkey.pem
issuercert=$work/ca/issuercert.pem
certserial=$work/ca/certserial
END
  printf '%s\n' '--platform-manufacturer troth' '--platform-version 1.0' '--platform-model captured' >"$work/ca/localca.options"
}

# esp FILE=PATH...: makes $work/disk.img, a GPT disk with one EFI system partition.
esp() {
  rm -f "$work/esp.img" "$work/disk.img"
  truncate -s 62M "$work/esp.img"
  mkfs.vfat -F 32 -i 7407c0de "$work/esp.img" >/dev/null
  local pair dir
  for pair in "$@"; do
    dir=$(dirname "${pair#*=}")
    local at=""
    while IFS= read -r part; do
      case $part in "" | .) continue ;; esac
      at=$at/$part
      mmd -D s -i "$work/esp.img" "::$at" >/dev/null 2>&1 || true
    done < <(tr / '\n' <<<"$dir")
    mcopy -i "$work/esp.img" "${pair%%=*}" "::${pair#*=}"
  done
  truncate -s 64M "$work/disk.img"
  sgdisk -o -U 7407c0de-0000-4000-8000-000000000001 -n 1:2048:+62M -t 1:ef00 \
    -u 1:7407c0de-0000-4000-8000-000000000002 "$work/disk.img" >/dev/null
  dd if="$work/esp.img" of="$work/disk.img" bs=1M seek=1 conv=notrunc status=none
}

# boot CODE VARS QEMU-ARGUMENT...: one machine from power-on to power-off with a
# TPM of its own. What it exported is in $work/export.
boot() {
  local code=$1 vars=$2
  shift 2
  rm -rf "$work/tpm" "$work/vars.fd" "$work/export" "$work/console"
  mkdir "$work/tpm"
  cp "$vars" "$work/vars.fd"
  swtpm_setup --tpm2 --tpmstate "$work/tpm" --config "$work/ca/setup.conf" --create-ek-cert --create-platform-cert \
    --pcr-banks sha1,sha256,sha384 --lock-nvram >"$work/setup.log" 2>&1 || { cat "$work/setup.log" >&2; return 1; }
  cat "$work/ca/swtpm-localca-rootca-cert.pem" "$work/ca/issuercert.pem" >"$work/ca/roots.pem"
  swtpm socket --tpm2 --tpmstate "dir=$work/tpm" --ctrl "type=unixio,path=$work/s" --terminate &
  swtpm=$!
  nonce=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
  local status=0
  timeout -k 5 "$limit" qemu-system-x86_64 -accel tcg,thread=multi -machine q35,smm=on -cpu max -m 512 -nodefaults \
    -display none -nic none -no-reboot \
    -global driver=cfi.pflash01,property=secure,value=on -global ICH9-LPC.disable_s3=1 \
    -drive "if=pflash,format=raw,unit=0,readonly=on,file=$code" -drive "if=pflash,format=raw,unit=1,file=$work/vars.fd" \
    -chardev "socket,id=tpm,path=$work/s" -tpmdev emulator,id=tpm0,chardev=tpm -device tpm-crb,tpmdev=tpm0 \
    -serial "file:$work/console" -serial "file:$work/export" \
    -fw_cfg "name=opt/troth/nonce,string=$nonce" "$@" &
  qemu=$!
  # Waited for, so that a signal ends this script and with it the machine.
  wait "$qemu" || status=$?
  qemu=""
  kill "$swtpm" 2>/dev/null || true
  wait "$swtpm" 2>/dev/null || true
  swtpm=""
  if [ "$status" -ne 0 ] || ! grep -q 'BEGIN CAPTURED done' "$work/export"; then
    tail -n 30 "$work/console" | tr -cd '\n\t -~' >&2
    echo "capture: the machine ended with status $status and without evidence" >&2
    return 1
  fi
}

# keep NAME ARGUMENT...: stores the evidence of the machine that just ran.
keep() {
  local name=$1
  shift
  "$work/keeper" -export "$work/export" -out "$out" -name "$name" -nonce "$nonce" -packages "$cache/packages" \
    -roots "$work/ca/roots.pem" "$@"
}

disk=(-drive "if=none,id=disk,format=raw,file=$work/disk.img" -device "virtio-blk-pci,drive=disk,bootindex=0")

# entry COMMAND-LINE: configuration of systemd-boot.
entry() {
  printf 'timeout 0\ndefault debian.conf\n' >"$work/loader.conf"
  printf 'title Debian\nlinux /vmlinuz\ninitrd /initrd.gz\noptions %s\n' "$1" >"$work/debian.conf"
}

base="console=ttyS0 rootfstype=ramfs panic=-1 quiet"

systemd_boot() {
  entry "$base ima_policy=tcb ima_template=ima-ng ima_hash=sha256"
  esp "$sdboot=EFI/BOOT/BOOTX64.EFI" "$kernel=vmlinuz" "$work/initrd.gz=initrd.gz" \
    "$work/loader.conf=loader/loader.conf" "$work/debian.conf=loader/entries/debian.conf"
  boot $ovmf/OVMF_CODE_4M.fd $ovmf/OVMF_VARS_4M.fd "${disk[@]}"
  keep systemd-boot -title "Secure Boot off, no keys enrolled; systemd-boot starts the kernel" \
    -image "systemd-boot-efi=$sdboot" -image "linux-image=$kernel"
}

shim_grub() {
  cat >"$work/grub.cfg" <<END
linux /vmlinuz $base ima_policy=tcb ima_template=ima-ng ima_hash=sha256
initrd /initrd.gz
boot
END
  esp "$shim=EFI/BOOT/BOOTX64.EFI" "$grub=EFI/BOOT/grubx64.efi" "$work/grub.cfg=EFI/debian/grub.cfg" \
    "$kernel=vmlinuz" "$work/initrd.gz=initrd.gz"
  boot $ovmf/OVMF_CODE_4M.ms.fd $ovmf/OVMF_VARS_4M.ms.fd "${disk[@]}"
  keep shim-grub -title "Secure Boot on with Microsoft's keys; shim, Debian's signed GRUB and kernel" \
    -image "shim-signed=$shim" -image "grub-efi-amd64-signed=$grub" -image "linux-image=$kernel"
}

# GRUB's command linux without Secure Boot jumps into the kernel past its EFI
# stub, which is what keeps the event log.
grub_no_log() {
  cat >"$work/grub.cfg" <<END
linux /vmlinuz $base ima_policy=tcb ima_template=ima-ng ima_hash=sha256
initrd /initrd.gz
boot
END
  esp "$grub=EFI/BOOT/BOOTX64.EFI" "$work/grub.cfg=EFI/debian/grub.cfg" "$kernel=vmlinuz" "$work/initrd.gz=initrd.gz"
  boot $ovmf/OVMF_CODE_4M.fd $ovmf/OVMF_VARS_4M.fd "${disk[@]}"
  keep grub-no-log -title "Secure Boot off; GRUB starts the kernel past its EFI stub, so there is no event log"
}

qemu_kernel() {
  boot $ovmf/OVMF_CODE_4M.fd $ovmf/OVMF_VARS_4M.fd -kernel "$kernel" -initrd "$work/initrd.gz" \
    -append "$base ima_policy=tcb ima_template=ima ima_hash=sha1"
  keep qemu-kernel -title "Secure Boot off; the firmware starts the kernel that QEMU was given; IMA's legacy template"
}

# signed FILE NAME: signs with the key whose certificate the snakeoil variables
# of Debian's OVMF have as PK, KEK and db. It is a test key and public.
signed() {
  [ -e "$work/snakeoil.key" ] || openssl rsa -in /usr/share/ovmf/PkKek-1-snakeoil.key -passin pass:snakeoil \
    -out "$work/snakeoil.key" 2>/dev/null
  sbsign --key "$work/snakeoil.key" --cert /usr/share/ovmf/PkKek-1-snakeoil.pem --output "$work/$2" "$1" 2>/dev/null
}

own_keys() {
  signed "$sdboot" sdboot.signed
  signed "$kernel" vmlinuz.signed
  entry "$base ima_policy=tcb ima_template=ima-sig ima_hash=sha256"
  esp "$work/sdboot.signed=EFI/BOOT/BOOTX64.EFI" "$work/vmlinuz.signed=vmlinuz" "$work/initrd.gz=initrd.gz" \
    "$work/loader.conf=loader/loader.conf" "$work/debian.conf=loader/entries/debian.conf"
  boot $ovmf/OVMF_CODE_4M.ms.fd $ovmf/OVMF_VARS_4M.snakeoil.fd "${disk[@]}"
  keep own-keys -title "Secure Boot on with a test key in PK, KEK and db; systemd-boot and kernel signed with it" \
    -image "systemd-boot-efi=$work/sdboot.signed" -image "linux-image=$work/vmlinuz.signed"
}

uki() {
  local stub=$files/usr/lib/systemd/boot/efi/linuxx64.efi.stub
  printf '%s' "$base" >"$work/cmdline"
  printf 'NAME="captured machine"\nID=captured\n' >"$work/osrel"
  objcopy --add-section .osrel="$work/osrel" --change-section-vma .osrel=0x20000 \
    --add-section .cmdline="$work/cmdline" --change-section-vma .cmdline=0x30000 \
    --add-section .linux="$kernel" --change-section-vma .linux=0x2000000 \
    --add-section .initrd="$work/initrd.gz" --change-section-vma .initrd=0x3000000 \
    "$stub" "$work/uki.efi"
  esp "$work/uki.efi=EFI/BOOT/BOOTX64.EFI"
  boot $ovmf/OVMF_CODE_4M.fd $ovmf/OVMF_VARS_4M.fd "${disk[@]}"
  keep uki -title "Secure Boot off; a unified kernel image with systemd-stub, no IMA policy" \
    -image "built from systemd-boot-efi and linux-image=$work/uki.efi" -image "linux-image=$kernel"
}

scenarios=("$@")
[ $# -gt 0 ] || scenarios=(systemd-boot shim-grub grub-no-log qemu-kernel own-keys uki)

unpack_packages
sdboot=$files/usr/lib/systemd/boot/efi/systemd-bootx64.efi
shim=$files/usr/lib/shim/shimx64.efi.signed
grub=$files/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed
kernel=$(echo "$files"/boot/vmlinuz-*-cloud-amd64)
(cd "$root" && go build -o "$work/keeper" ./tools/capture/keeper)
make_initramfs
make_ca
for scenario in "${scenarios[@]}"; do
  case $scenario in
  systemd-boot | shim-grub | grub-no-log | qemu-kernel | own-keys | uki) ;;
  *) echo "capture: there is no scenario $scenario" >&2; exit 2 ;;
  esac
  echo "capture: $scenario"
  "${scenario//-/_}"
done
