package local_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"troth/ca"
	"troth/ca/local"
)

func nobody(context.Context, string) (local.Standing, error) { return local.Standing{}, nil }

func authority(t testing.TB, c *local.CA) string {
	t.Helper()
	all, err := c.Authorities(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return all[0].ID
}

// TestOCSP: the record decides, the CA's own revocations count too, and requests
// about others' certificates are not answered for.
func TestOCSP(t *testing.T) {
	c := open(t, t.TempDir())
	issuer := root(t, c)
	leaf, err := x509.ParseCertificate(issue(t, c, "device").DER)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(-time.Hour).Truncate(time.Second)
	for name, test := range map[string]struct {
		standing local.Standing
		want     int
	}{
		"unknown": {local.Standing{}, ocsp.Unknown},
		"good":    {local.Standing{Known: true}, ocsp.Good},
		"revoked": {local.Standing{Known: true, RevokedAt: at}, ocsp.Revoked},
	} {
		answer := ask(t, c, leaf, issuer, test.standing)
		if answer.Status != test.want || (test.want == ocsp.Revoked && !answer.RevokedAt.Equal(at)) {
			t.Errorf("%s: status %d at %v, want %d", name, answer.Status, answer.RevokedAt, test.want)
		}
	}
	if err := c.Revoke(t.Context(), leaf.Raw); err != nil {
		t.Fatal(err)
	}
	if answer := ask(t, c, leaf, issuer, local.Standing{Known: true}); answer.Status != ocsp.Revoked {
		t.Errorf("revoked by the CA itself: status %d", answer.Status)
	}
	foreign := root(t, open(t, t.TempDir()))
	request, err := ocsp.CreateRequest(leaf, foreign, nil)
	if err != nil {
		t.Fatal(err)
	}
	if der, err := c.OCSP(t.Context(), authority(t, c), request, nobody); err != nil || !bytes.Equal(der, ocsp.UnauthorizedErrorResponse) {
		t.Errorf("about another CA's certificate: %x, %v", der, err)
	}
	if _, err := c.OCSP(t.Context(), "none", request, nobody); !errors.Is(err, ca.ErrRefused) {
		t.Errorf("of no authority: %v", err)
	}
	failing := func(context.Context, string) (local.Standing, error) {
		return local.Standing{}, context.DeadlineExceeded
	}
	request, err = ocsp.CreateRequest(leaf, issuer, nil)
	if err != nil {
		t.Fatal(err)
	}
	if der, err := c.OCSP(t.Context(), authority(t, c), request, failing); !errors.Is(err, context.DeadlineExceeded) || der != nil {
		t.Errorf("without a record an answer is given: %x, %v", der, err)
	}
}

func ask(t *testing.T, c *local.CA, leaf, issuer *x509.Certificate, s local.Standing) *ocsp.Response {
	t.Helper()
	request, err := ocsp.CreateRequest(leaf, issuer, nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := c.OCSP(t.Context(), authority(t, c), request, func(context.Context, string) (local.Standing, error) { return s, nil })
	if err != nil {
		t.Fatal(err)
	}
	answer, err := ocsp.ParseResponseForCert(der, leaf, issuer)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// FuzzOCSP: whatever is asked, the answer is one of OCSP's.
func FuzzOCSP(f *testing.F) {
	c, err := local.Open(f.TempDir(), options())
	if err != nil {
		f.Fatal(err)
	}
	roots, err := c.Bundle(context.Background())
	if err != nil {
		f.Fatal(err)
	}
	request, err := ocsp.CreateRequest(roots[0], roots[0], nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(request)
	f.Add([]byte("not a request"))
	f.Add(request[:len(request)/2])
	id := authority(f, c)
	f.Fuzz(func(t *testing.T, request []byte) {
		der, err := c.OCSP(context.Background(), id, request, nobody)
		if err != nil {
			t.Fatal(err)
		}
		var refusal ocsp.ResponseError
		if _, err := ocsp.ParseResponse(der, nil); err != nil && !errors.As(err, &refusal) {
			t.Errorf("the answer is none of OCSP's: %v", err)
		}
	})
}
