package e2e

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	vaultapi "github.com/hashicorp/vault/api"

	"troth/ca/catest"
	"troth/ca/vault"
	"troth/internal/api"
)

// vaultPKI is a real Vault with Troth's role, the configuration that uses it,
// and the cable that leads to it.
func vaultPKI(t testing.TB) (config string, c *cable) {
	t.Helper()
	addr, token := catest.StartVault(t)
	client := must(vaultapi.NewClient(&vaultapi.Config{Address: addr}))(t)
	client.SetToken(token)
	setup := vault.BootstrapConfig{TrustDomain: "troth.internal"}
	if _, err := vault.Bootstrap(t.Context(), client, setup, vault.Options{Repair: true}); err != nil {
		t.Fatal(err)
	}
	role := must(vault.Credentials(t.Context(), client, setup))(t)
	secret := t.TempDir() + "/secret-id"
	if err := os.WriteFile(secret, []byte(role.SecretID), 0o600); err != nil {
		t.Fatal(err)
	}
	c = newCable(t, "tcp", strings.TrimPrefix(addr, "http://"))
	return fmt.Sprintf("certificates:\n  vault: {address: \"http://%s\", role_id: %s, secret_id_file: %s}\n", c.addr, role.RoleID, secret), c
}

func TestAttack_S9_VaultUnreachable(t *testing.T) {
	t.Parallel()
	config, cable := vaultPKI(t)
	s := newService(t, config)
	a, b := newAttacker(t, s), newAttacker(t, s)
	a.enroll()
	a.mustCheckIn("compliant")

	cable.unplug()
	c := b.mustBegin()
	s.away(t, b.anyone, http.MethodPost, api.Path(api.PathEnrollComplete, c.ID), b.proof(b.answer(c)), "ca_unavailable")
	k := s.kept(t, b.id)
	if k.Device != nil || len(k.live()) > 0 || k.in("failed")+k.in("ambiguous") != 1 || len(k.Certificates) != 1 || len(k.Events)+len(k.Decisions) > 0 {
		t.Fatalf("a device without a certificate is half-kept: %+v", k)
	}
	s.strange(t, b.id)
	before := s.kept(t, a.id)
	_, err := a.renew()
	wantCode(t, err, "ca_unavailable")
	if live := s.kept(t, a.id).live(); len(live) != 1 || live[0] != a.serial || len(before.live()) != 1 {
		t.Fatalf("a renewal that failed changed what lives: %v", live)
	}
	if away := s.ready(t); !slices.Contains(away, "certificate authority") {
		t.Fatalf("/readyz does not name the certificate authority: %v", away)
	}
	a.mustCheckIn("compliant") // nobody else needs Vault

	cable.plug()
	b.persist()
	b.enrolledOnce()
	b.mustCheckIn("compliant")
	s.readyAgain(t)
}

// Vault signs and its answer is lost: what may exist is on record, nobody is
// enrolled by it, and the next attempt gets the only certificate that counts.
func TestAttack_S8_AnswerOfVaultLost(t *testing.T) {
	t.Parallel()
	config, cable := vaultPKI(t)
	s := newService(t, config)
	warm, a := newAttacker(t, s), newAttacker(t, s)
	warm.enroll() // the service is logged in
	c := a.mustBegin()
	proof := a.proof(a.answer(c))
	cable.loseAnswer()
	_, err := a.complete(c.ID, proof)
	wantCode(t, err, "ca_unavailable")
	k := s.kept(t, a.id)
	if k.Device != nil || len(k.live()) > 0 || k.in("ambiguous") != 1 || len(k.Certificates) != 1 {
		t.Fatalf("what is kept does not say that a certificate may exist: %+v", k)
	}
	s.strange(t, a.id)
	a.persist()
	a.enrolledOnce()
	a.mustCheckIn("compliant")
}
