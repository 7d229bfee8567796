package local_test

import (
	"testing"
	"time"

	"troth/ca"
	"troth/ca/catest"
	"troth/ca/local"
)

func open(t *testing.T, dir string) *local.CA {
	t.Helper()
	c, err := local.Open(dir, local.Options{TrustDomain: catest.TrustDomain, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestContract(t *testing.T) {
	catest.TestIssuer(t, func(t *testing.T) ca.Issuer { return open(t, t.TempDir()) })
}
