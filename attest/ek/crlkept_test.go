package ek_test

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"troth/attest/ek"
)

// shelf keeps lists in memory, as a disk does across restarts.
type shelf struct {
	mu    sync.Mutex
	lists map[string][]byte
	times map[string]time.Time
}

func newShelf() *shelf { return &shelf{lists: map[string][]byte{}, times: map[string]time.Time{}} }

func (s *shelf) Load(key string) ([]byte, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lists[key], s.times[key]
}

func (s *shelf) Save(key string, data []byte, fetched time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists[key], s.times[key] = data, fetched
}

// replace puts something else where lists are kept.
func (s *shelf) replace(data []byte) {
	for key := range s.lists {
		s.lists[key] = data
	}
}

// K7: a restart forgets no revocation, asks nobody before it is time, and believes
// nothing because it was kept.
func TestAttack_K7_KeptLists(t *testing.T) {
	m, keep, w := newMaker(t, issuerURL), newShelf(), newWeb()
	w.put(rootURL, m.root.crl(t, nil))
	w.put(issuerURL, m.issuer.crl(t, nil, 2))
	check := func(at time.Time) error {
		t.Helper()
		_, err := ek.NewCRLs(ek.CRLOptions{Fetch: w.fetch, Kept: keep}).Check(t.Context(), m.chain, ek.RequireCRLs, at)
		return err
	}
	wantCode(t, "fetched", check(now), ek.CodeRevoked)
	if len(keep.lists) != 1 { // what follows a revoked certificate is not looked up
		t.Fatalf("%d lists are kept", len(keep.lists))
	}
	asked := w.asked[issuerURL]
	wantCode(t, "restarted", check(now.Add(time.Hour)), ek.CodeRevoked)
	if w.asked[issuerURL] != asked {
		t.Error("a list that is fresh was fetched again after a restart")
	}
	delete(w.pages, issuerURL)
	wantCode(t, "restarted a day later, the server is away", check(now.Add(25*time.Hour)), ek.CodeRevoked)

	impostor := newAuthority(t, &m.root, crlSigner)
	for what, data := range map[string][]byte{"another's list": impostor.crl(t, nil).Raw, "rubbish": []byte("rubbish"), "nothing": nil} {
		keep.replace(data)
		wantCode(t, what, check(now), ek.CodeCRLUnavailable)
	}
	// Kept in the future by a wrong clock, it counts and is asked for again.
	w.put(issuerURL, m.issuer.crl(t, nil))
	keep.replace(m.issuer.crl(t, nil, 2).Raw)
	for key := range keep.times {
		keep.times[key] = now.AddDate(1, 0, 0)
	}
	asked = w.asked[issuerURL]
	wantCode(t, "kept in the future", check(now), "")
	if w.asked[issuerURL] == asked {
		t.Error("a list of the future was not asked for again")
	}
}

func TestReplaceCRLs(t *testing.T) {
	m := newMaker(t)
	crls := ek.NewCRLs(ek.CRLOptions{})
	check := func() error {
		_, err := crls.Check(t.Context(), m.chain, ek.RequireCRLs, now)
		return err
	}
	root := m.root.crl(t, nil).Raw
	if err := crls.Replace(root, m.issuer.crl(t, nil, 2).Raw); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "listed", check(), ek.CodeRevoked)
	wantCode(t, "one of them broken", crls.Replace(root, []byte("rubbish")), ek.CodeMalformed)
	wantCode(t, "still listed", check(), ek.CodeRevoked)
	if err := crls.Replace(root, m.issuer.crl(t, nil).Raw); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "no longer listed", check(), "")
}

// Twins have the same key, and there is one for each of the keys that two
// templates make.
func TestTwins(t *testing.T) {
	m := newMaker(t)
	cert := m.chain.Certificates[0] // P-256
	low, err := ek.PublicTemplate(cert, ek.L2)
	if err != nil {
		t.Fatal(err)
	}
	high, err := ek.PublicTemplate(cert, ek.H2)
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2][]byte{{low, high}, {high, low}} {
		if twins, err := ek.Twins(pair[0]); err != nil || len(twins) != 1 || !bytes.Equal(twins[0], pair[1]) {
			t.Errorf("twins %x, %v", twins, err)
		}
	}
	_, err = ek.Twins([]byte("rubbish"))
	wantCode(t, "rubbish", err, ek.CodeNotTemplate)
}
