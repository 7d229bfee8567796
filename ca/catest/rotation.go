package catest

import (
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"troth/ca"
)

// Rotating is an issuer whose authority can be replaced. Signer and administrator
// may be two: in Vault, the service's token cannot make an authority.
type Rotating struct {
	Issuer  ca.Issuer
	Rotator ca.Rotator
}

// TestRotator is the contract of ca.Rotator, through one whole change and the
// beginning of the next. newIssuer is as for TestIssuer; the bundle holds one
// root.
func TestRotator(t *testing.T, newIssuer func(t *testing.T) Rotating) {
	r := newIssuer(t)
	signing := roles(t, r)
	if len(signing) != 1 || signing[0].Role != ca.Signing {
		t.Fatalf("at first there is not one authority that signs: %v", signing)
	}
	old := signing[0].ID
	if _, err := r.Rotator.Activate(t.Context()); !errors.Is(err, ca.ErrNoRotation) {
		t.Errorf("Activate before begin = %v, want ErrNoRotation", err)
	}
	_, before := issue(t, r.Issuer, NewRequest(t, "before"))
	next := begin(t, r, old, before)
	between := activate(t, r, old, next, before)
	if _, err := r.Rotator.Begin(t.Context()); !errors.Is(err, ca.ErrRefused) {
		t.Errorf("Begin while the old authority is retiring = %v, want ErrRefused", err)
	}
	// What is retiring still revokes.
	if err := r.Issuer.Revoke(t.Context(), before.Raw); err != nil {
		t.Errorf("Revoke of a certificate of the retiring authority: %v", err)
	}
	retire(t, r, old, next, before, between)
	again, err := r.Rotator.Begin(t.Context())
	if err != nil || again.ID == next || again.ID == old || again.Role != ca.Next {
		t.Errorf("Begin of a second change = %+v, %v", again, err)
	}
}

func begin(t *testing.T, r Rotating, old string, before *x509.Certificate) (next string) {
	t.Helper()
	made, err := r.Rotator.Begin(t.Context())
	if err != nil || made.Role != ca.Next || made.ID == "" || made.ID == old {
		t.Fatalf("Begin = %+v, %v", made, err)
	}
	if again, err := r.Rotator.Begin(t.Context()); err != nil || again.ID != made.ID {
		t.Errorf("Begin again = %+v, %v, want the same authority", again, err)
	}
	if _, err := r.Rotator.Retire(t.Context()); !errors.Is(err, ca.ErrNoRotation) {
		t.Errorf("Retire before activate = %v, want ErrNoRotation", err)
	}
	wantBundle(t, r, old, made.ID)
	_, after := issue(t, r.Issuer, NewRequest(t, "after begin"))
	if by := ca.AuthorityID(after); by != old {
		t.Errorf("after begin %s signs, want %s", by, old)
	}
	believed(t, r, true, before, after)
	return made.ID
}

func activate(t *testing.T, r Rotating, old, next string, before *x509.Certificate) *x509.Certificate {
	t.Helper()
	for range 2 {
		if signs, err := r.Rotator.Activate(t.Context()); err != nil || signs.ID != next || signs.Role != ca.Signing {
			t.Fatalf("Activate = %+v, %v, want %s", signs, err, next)
		}
	}
	wantBundle(t, r, old, next)
	_, leaf := issue(t, r.Issuer, NewRequest(t, "after activate"))
	if by := ca.AuthorityID(leaf); by != next {
		t.Errorf("after activate %s signs, want %s", by, next)
	}
	believed(t, r, true, before, leaf)
	return leaf
}

func retire(t *testing.T, r Rotating, old, next string, before, after *x509.Certificate) {
	t.Helper()
	if gone, err := r.Rotator.Retire(t.Context()); err != nil || gone.ID != old {
		t.Fatalf("Retire = %+v, %v, want %s", gone, err, old)
	}
	if _, err := r.Rotator.Retire(t.Context()); !errors.Is(err, ca.ErrNoRotation) {
		t.Errorf("Retire again = %v, want ErrNoRotation", err)
	}
	wantBundle(t, r, next)
	believed(t, r, true, after)
	believed(t, r, false, before)
	_, leaf := issue(t, r.Issuer, NewRequest(t, "after retire"))
	if by := ca.AuthorityID(leaf); by != next {
		t.Errorf("after retire %s signs, want %s", by, next)
	}
	if err := r.Issuer.Check(t.Context()); err != nil {
		t.Errorf("Check after a change: %v", err)
	}
}

func roles(t *testing.T, r Rotating) []ca.Authority {
	t.Helper()
	all, err := r.Rotator.Authorities(t.Context())
	if err != nil {
		t.Fatalf("Authorities: %v", err)
	}
	return all
}

// wantBundle compares what is to be believed with what the roles say.
func wantBundle(t *testing.T, r Rotating, ids ...string) {
	t.Helper()
	roots, listed := bundle(t, r.Issuer), roles(t, r)
	if len(roots) != len(ids) || len(listed) != len(ids) {
		t.Errorf("bundle of %d and list of %d, want %d", len(roots), len(listed), len(ids))
		return
	}
	for i, id := range ids {
		if listed[i].ID != id {
			t.Errorf("authority %d is %s, want %s", i, listed[i].ID, id)
		}
	}
}

// believed verifies certificates by the bundle of this moment.
func believed(t *testing.T, r Rotating, want bool, leaves ...*x509.Certificate) {
	t.Helper()
	pool := x509.NewCertPool()
	for _, root := range bundle(t, r.Issuer) {
		pool.AddCert(root)
	}
	for _, leaf := range leaves {
		_, err := leaf.Verify(x509.VerifyOptions{
			Roots: pool, CurrentTime: time.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})
		if (err == nil) != want {
			t.Errorf("certificate %s is believed: %v, want %v (%v)", leaf.Subject, err == nil, want, err)
		}
	}
}
