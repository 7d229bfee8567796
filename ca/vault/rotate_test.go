package vault_test

import (
	"context"
	"testing"
	"time"

	"troth/ca"
	"troth/ca/catest"
	"troth/ca/vault"
)

func (s *setup) rotation(t *testing.T) *vault.Rotation {
	t.Helper()
	r, err := vault.NewRotation(s.admin, s.config)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRotation: the contract, with the service's token on one side and an
// administrator's on the other.
func TestRotation(t *testing.T) {
	catest.TestRotator(t, func(t *testing.T) catest.Rotating {
		s := start(t)
		return catest.Rotating{Issuer: s.issuer(t, s.server.Addr), Rotator: s.rotation(t)}
	})
}

// TestRotationLeavesTheSetUp: what the service sees of the roles is what the
// administrator sees, and after the change the set-up is as Bootstrap made it.
func TestRotationLeavesTheSetUp(t *testing.T) {
	s := start(t)
	service, rotation := s.issuer(t, s.server.Addr), s.rotation(t)
	for _, step := range []func(context.Context) (ca.Authority, error){rotation.Begin, rotation.Activate, rotation.Retire} {
		if _, err := step(t.Context()); err != nil {
			t.Fatal(err)
		}
		want, err := rotation.Authorities(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, err := service.Authorities(t.Context())
		if err != nil || len(got) != len(want) {
			t.Fatalf("the service sees %v, %v, want %v", got, err, want)
		}
		for i := range want {
			if got[i].ID != want[i].ID || got[i].Role != want[i].Role {
				t.Errorf("the service sees %s as %s, want %s as %s", got[i].ID, got[i].Role, want[i].ID, want[i].Role)
			}
		}
	}
	findings, err := vault.Examine(t.Context(), s.admin, s.config, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		if f.Level == vault.Problem || f.Level == vault.Undecided {
			t.Errorf("%s: %s (%s)", f.Subject, f.Message, f.Code)
		}
	}
}

// TestActivateCutOff: an activation that was cut off after the role was changed is
// finished by the next call.
func TestActivateCutOff(t *testing.T) {
	s := start(t)
	rotation := s.rotation(t)
	if _, err := rotation.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	listed, err := s.admin.Logical().ListWithContext(t.Context(), vault.DefaultMount+"/issuers")
	if err != nil {
		t.Fatal(err)
	}
	infos, _ := listed.Data["key_info"].(map[string]any)
	for id, info := range infos {
		if fields, _ := info.(map[string]any); fields["issuer_name"] != "troth-root" {
			if _, err := s.admin.Logical().JSONMergePatch(t.Context(), vault.DefaultMount+"/roles/"+vault.DefaultRole, map[string]any{"issuer_ref": id}); err != nil {
				t.Fatal(err)
			}
		}
	}
	signs, err := rotation.Activate(t.Context())
	if err != nil || signs.Role != ca.Signing {
		t.Fatalf("Activate = %+v, %v", signs, err)
	}
	seen, err := s.issuer(t, s.server.Addr).Authorities(t.Context())
	if err != nil || len(seen) != 2 || seen[1].ID != signs.ID || seen[1].Role != ca.Signing || seen[0].Role != ca.Retiring {
		t.Errorf("the service sees %+v, %v, want %s signing", seen, err, signs.ID)
	}
}
