#!/usr/bin/env bash
# Runs a Vault for a developer, set up as the CA of devices, until it is
# interrupted. Storage is in memory: it forgets everything when it ends.
# VAULT_PORT is the port on the loopback interface (8200).
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
address=http://127.0.0.1:${VAULT_PORT:-8200}
dir=$(mktemp -d)
vault=

end() {
	[ -z "$vault" ] || kill "$vault" 2>/dev/null || true
	[ -z "$vault" ] || wait "$vault" 2>/dev/null || true
	rm -rf "$dir"
}
trap end EXIT
trap 'exit 0' HUP INT TERM

umask 077
head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$dir/root-token"
cd "$dir"
HOME=$dir VAULT_DEV_ROOT_TOKEN_ID=$(cat "$dir/root-token") "$root/.cache/bin/vault" server -dev \
	-dev-no-store-token -dev-listen-address="${address#http://}" >"$dir/vault.log" 2>&1 &
vault=$!

for try in $(seq 100); do
	if "$root/bin/troth" ca bootstrap-vault --vault-address "$address" --vault-token-file "$dir/root-token" \
		--trust-domain troth.internal --secret-id-file "$dir/secret-id" >"$dir/bootstrap.log" 2>&1; then
		break
	fi
	if ! kill -0 "$vault" 2>/dev/null || [ "$try" = 100 ]; then
		tail -n 5 "$dir/vault.log" "$dir/bootstrap.log" >&2
		exit 1
	fi
	sleep 0.2
done
cat "$dir/bootstrap.log"
echo
echo "Vault serves $address until you interrupt this. Its root token is in $dir/root-token"
wait "$vault"
