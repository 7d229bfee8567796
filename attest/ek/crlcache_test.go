package ek_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"testing"
	"time"

	"troth/attest/ek"
)

const (
	rootURL   = "http://crl.example/root.crl"
	issuerURL = "http://crl.example/issuer.crl"
)

// web is what a fetch function finds, and how often it was asked.
type web struct {
	mu    sync.Mutex
	pages map[string][]byte
	asked map[string]int
}

func newWeb() *web { return &web{pages: map[string][]byte{}, asked: map[string]int{}} }

func (w *web) fetch(_ context.Context, url string) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked[url]++
	if page, ok := w.pages[url]; ok {
		return page, nil
	}
	return nil, fmt.Errorf("no answer from %s", url)
}

func (w *web) put(url string, list *x509.RevocationList) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pages[url] = list.Raw
}

// maker is a manufacturer with CRLs, and a chain of an EK certificate of its.
type maker struct {
	root, issuer authority
	chain        ek.Chain
}

func newMaker(t *testing.T, points ...string) maker {
	t.Helper()
	root := newAuthority(t, nil, crlSigner)
	issuer := newAuthority(t, &root, func(c *x509.Certificate) {
		crlSigner(c)
		c.SerialNumber, c.CRLDistributionPoints = big.NewInt(77), []string{rootURL}
	})
	template := ekTemplate()
	template.CRLDistributionPoints = points
	chain, err := trust(t, map[string][]byte{"acme": append(root.pem(), issuer.pem()...)}).Verify(issuer.sign(t, template, newKey(t).Public()), now)
	if err != nil {
		t.Fatal(err)
	}
	return maker{root, issuer, chain}
}

func ended(l *x509.RevocationList) {
	l.ThisUpdate, l.NextUpdate = now.AddDate(0, 0, -9), now.AddDate(0, 0, -8)
}

func future(l *x509.RevocationList) { l.ThisUpdate = now.Add(time.Hour) }

// K7: what revocation lists say, and what it means that there is none, under
// each policy.
func TestAttack_K7_RevocationPolicy(t *testing.T) {
	m := newMaker(t, issuerURL)
	impostor := newAuthority(t, &m.root, crlSigner) // of the same name
	otherKey := authority{cert: m.issuer.cert, key: newKey(t)}
	delta := func(l *x509.RevocationList) {
		l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}}
	}
	deltaDER, err := x509.CreateRevocationList(rand.Reader, revocationTemplate(delta), m.issuer.cert, m.issuer.key)
	if err != nil {
		t.Fatal(err)
	}
	good := m.issuer.crl(t, nil, 5, 6).Raw
	for name, tt := range map[string]struct {
		issuerList      []byte // nil: no answer
		require, prefer string
		warnings        int
	}{
		"clean":                   {good, "", "", 0},
		"revoked":                 {m.issuer.crl(t, nil, 2).Raw, ek.CodeRevoked, ek.CodeRevoked, 0},
		"revoked, list has ended": {m.issuer.crl(t, ended, 2).Raw, ek.CodeRevoked, ek.CodeRevoked, 0},
		"ended":                   {m.issuer.crl(t, ended).Raw, ek.CodeCRLStale, "", 1},
		"of the future":           {m.issuer.crl(t, future).Raw, ek.CodeCRLStale, "", 1},
		"unreachable":             {nil, ek.CodeCRLUnavailable, "", 1},
		"rubbish":                 {[]byte("rubbish"), ek.CodeCRLUnavailable, "", 1},
		"huge":                    {make([]byte, 8<<20+1), ek.CodeCRLUnavailable, "", 1},
		"of an impostor":          {impostor.crl(t, nil).Raw, ek.CodeCRLUnavailable, "", 1},
		"signed by another key":   {otherKey.crl(t, nil).Raw, ek.CodeCRLUnavailable, "", 1},
		"of the root":             {m.root.crl(t, nil).Raw, ek.CodeCRLUnavailable, "", 1},
		"delta":                   {deltaDER, ek.CodeCRLUnavailable, "", 1},
	} {
		for policy, want := range map[ek.RevocationPolicy]string{
			ek.RequireCRLs: tt.require, "": tt.require, ek.PreferCRLs: tt.prefer, ek.IgnoreCRLs: "",
		} {
			w := newWeb()
			w.put(rootURL, m.root.crl(t, nil))
			if tt.issuerList != nil {
				w.pages[issuerURL] = tt.issuerList
			}
			warnings, err := ek.NewCRLs(ek.CRLOptions{Fetch: w.fetch}).Check(context.Background(), m.chain, policy, now)
			wantCode(t, name+" under "+string(policy), err, want)
			if policy == ek.PreferCRLs && len(warnings) != tt.warnings {
				t.Errorf("%s: warnings %v", name, warnings)
			}
			if policy == ek.IgnoreCRLs && len(w.asked) != 0 {
				t.Errorf("%s: asked %v under ignore", name, w.asked)
			}
		}
	}
	w := newWeb()
	w.put(issuerURL, m.issuer.crl(t, nil))
	w.put(rootURL, m.root.crl(t, nil, 77))
	_, err = ek.NewCRLs(ek.CRLOptions{Fetch: w.fetch}).Check(context.Background(), m.chain, ek.PreferCRLs, now)
	wantCode(t, "issuer revoked", err, ek.CodeRevoked)
	_, err = ek.NewCRLs(ek.CRLOptions{}).Check(context.Background(), ek.Chain{}, ek.PreferCRLs, now)
	wantCode(t, "no chain", err, ek.CodeCRLUnavailable)
	_, err = ek.ParseCRL(deltaDER)
	wantCode(t, "delta", err, ek.CodeMalformed)
}

// K7: a CA that may sign certificates only does not revoke them.
func TestAttack_K7_CRLByOneWhoMayNot(t *testing.T) {
	root := newAuthority(t, nil, nil)
	chain, err := trust(t, map[string][]byte{"acme": root.pem()}).Verify(root.sign(t, ekTemplate(), newKey(t).Public()), now)
	if err != nil {
		t.Fatal(err)
	}
	pretender := *root.cert
	pretender.KeyUsage |= x509.KeyUsageCRLSign
	crls := ek.NewCRLs(ek.CRLOptions{})
	if err := crls.Add((authority{&pretender, root.key}).crl(t, nil, 2).Raw); err != nil {
		t.Fatal(err)
	}
	_, err = crls.Check(context.Background(), chain, ek.RequireCRLs, now)
	wantCode(t, "no cRLSign", err, ek.CodeCRLUnavailable)
}

func revocationTemplate(change func(*x509.RevocationList)) *x509.RevocationList {
	l := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.AddDate(0, 0, -1), NextUpdate: now.AddDate(0, 0, 1)}
	change(l)
	return l
}

// K7: files alone do, without any fetch.
func TestAttack_K7_RevocationFromFiles(t *testing.T) {
	m := newMaker(t)
	crls := ek.NewCRLs(ek.CRLOptions{})
	_, err := crls.Check(context.Background(), m.chain, ek.RequireCRLs, now)
	wantCode(t, "nothing added", err, ek.CodeCRLUnavailable)
	for _, list := range []*x509.RevocationList{m.root.crl(t, nil), m.issuer.crl(t, nil)} {
		if err := crls.Add(list.Raw); err != nil {
			t.Fatal(err)
		}
	}
	_, err = crls.Check(context.Background(), m.chain, ek.RequireCRLs, now)
	wantCode(t, "both added", err, "")
	_, err = crls.Check(context.Background(), m.chain, ek.RequireCRLs, now.AddDate(0, 0, 2))
	wantCode(t, "days later", err, ek.CodeCRLStale)
	if err := crls.Add(m.issuer.crl(t, nil, 2).Raw); err != nil {
		t.Fatal(err)
	}
	_, err = crls.Check(context.Background(), m.chain, ek.PreferCRLs, now)
	wantCode(t, "a newer list", err, ek.CodeRevoked)
	wantCode(t, "rubbish", crls.Add([]byte("rubbish")), ek.CodeMalformed)
}

// K7: addresses that are not of the web are not asked, and not too many are.
func TestAttack_K7_DistributionPoints(t *testing.T) {
	for name, points := range map[string][]string{
		"LDAP":       {"ldap://crl.example/cn=acme"},
		"file":       {"file:///etc/passwd"},
		"no host":    {"http:///x.crl"},
		"password":   {"http://user:secret@crl.example/x.crl"},
		"long":       {"http://crl.example/" + string(make([]byte, 3000))},
		"unreadable": {"http://[::1/x"},
	} {
		m := newMaker(t, points...)
		w := newWeb()
		w.put(rootURL, m.root.crl(t, nil))
		_, err := ek.NewCRLs(ek.CRLOptions{Fetch: w.fetch}).Check(context.Background(), m.chain, ek.RequireCRLs, now)
		wantCode(t, name, err, ek.CodeCRLUnavailable)
		delete(w.asked, rootURL)
		if len(w.asked) != 0 {
			t.Errorf("%s: asked %v", name, w.asked)
		}
	}
	var many []string
	for i := range 50 {
		many = append(many, fmt.Sprintf("http://crl.example/%d", i))
	}
	m := newMaker(t, many...)
	w := newWeb()
	_, err := ek.NewCRLs(ek.CRLOptions{Fetch: w.fetch}).Check(context.Background(), m.chain, ek.RequireCRLs, now)
	wantCode(t, "many", err, ek.CodeCRLUnavailable)
	if len(w.asked) > 5 {
		t.Errorf("asked %d addresses", len(w.asked))
	}
}

// Lists are kept, asked for again when it is time, and after a failure not at
// once; a bad or older answer does not displace a good one.
func TestCRLsAreKept(t *testing.T) {
	m := newMaker(t, issuerURL)
	w := newWeb()
	w.put(rootURL, m.root.crl(t, func(l *x509.RevocationList) { l.NextUpdate = now.AddDate(1, 0, 0) }))
	long := func(l *x509.RevocationList) { l.NextUpdate = now.AddDate(0, 0, 10) }
	w.put(issuerURL, m.issuer.crl(t, long))
	crls := ek.NewCRLs(ek.CRLOptions{Fetch: w.fetch, MaxAge: 24 * time.Hour, Retry: 5 * time.Minute})
	check := func(what string, after time.Duration, asked int, code string) {
		t.Helper()
		_, err := crls.Check(context.Background(), m.chain, ek.RequireCRLs, now.Add(after))
		wantCode(t, what, err, code)
		if w.asked[issuerURL] != asked {
			t.Errorf("%s: asked %d times, want %d", what, w.asked[issuerURL], asked)
		}
	}
	check("first", 0, 1, "")
	check("kept", 23*time.Hour, 1, "")
	delete(w.pages, issuerURL)
	check("unreachable, the last list still good", 25*time.Hour, 2, "")
	check("not again at once", 25*time.Hour+time.Minute, 2, "")
	w.put(issuerURL, m.issuer.crl(t, func(l *x509.RevocationList) { long(l); l.ThisUpdate = now.AddDate(0, 0, -5) }))
	check("an older list", 26*time.Hour, 3, "")
	w.put(issuerURL, newAuthority(t, &m.root, crlSigner).crl(t, long))
	check("an impostor's list", 27*time.Hour, 4, "")
	delete(w.pages, issuerURL)
	check("ended at last", 11*24*time.Hour, 5, ek.CodeCRLStale)
	w.put(issuerURL, m.issuer.crl(t, func(l *x509.RevocationList) { l.NextUpdate = now.AddDate(0, 0, 20) }, 2))
	check("not again at once, after a failure", 11*24*time.Hour+time.Minute, 5, ek.CodeCRLStale)
	check("revoked since", 11*24*time.Hour+time.Hour, 6, ek.CodeRevoked)
}

// A caller that gives up leaves no failure behind for others, and many at once
// make one fetch.
func TestCRLsConcurrently(t *testing.T) {
	m := newMaker(t, issuerURL)
	w := newWeb()
	w.put(rootURL, m.root.crl(t, nil))
	w.put(issuerURL, m.issuer.crl(t, nil))
	ctx, cancel := context.WithCancel(context.Background())
	crls := ek.NewCRLs(ek.CRLOptions{Fetch: func(ctx context.Context, url string) ([]byte, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		return w.fetch(ctx, url)
	}})
	cancel()
	_, err := crls.Check(ctx, m.chain, ek.RequireCRLs, now)
	wantCode(t, "given up", err, ek.CodeCRLUnavailable)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cause is lost: %v", err)
	}
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if _, err := crls.Check(context.Background(), m.chain, ek.RequireCRLs, now); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if w.asked[issuerURL] != 1 || w.asked[rootURL] != 1 {
		t.Errorf("asked %v", w.asked)
	}
}

// K7: the scope of a list (issuing distribution point).
func TestAttack_K7_ScopeOfCRL(t *testing.T) {
	m := newMaker(t, issuerURL)
	point := func(url string) []byte { return tlv(0xa0, tlv(0xa0, tlv(0x86, []byte(url)))) }
	for name, tt := range map[string]struct {
		value []byte
		code  string
	}{
		"this point":       {tlv(0x30, point(issuerURL)), ""},
		"users only":       {tlv(0x30, tlv(0x81, []byte{0xff})), ""},
		"CAs only":         {tlv(0x30, tlv(0x82, []byte{0xff})), ek.CodeCRLUnavailable},
		"another point":    {tlv(0x30, point(rootURL)), ek.CodeCRLUnavailable},
		"some reasons":     {tlv(0x30, tlv(0x83, []byte{1, 0x40})), ek.CodeCRLUnavailable},
		"indirect":         {tlv(0x30, tlv(0x84, []byte{0xff})), ek.CodeCRLUnavailable},
		"attributes only":  {tlv(0x30, tlv(0x85, []byte{0xff})), ek.CodeCRLUnavailable},
		"empty":            {[]byte{0x30, 0}, ek.CodeCRLUnavailable},
		"rubbish":          {[]byte{1, 2}, ek.CodeCRLUnavailable},
		"unknown critical": {nil, ek.CodeCRLUnavailable},
	} {
		w := newWeb()
		w.put(rootURL, m.root.crl(t, nil))
		w.put(issuerURL, m.issuer.crl(t, func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: tt.value}}
			if tt.value == nil {
				l.ExtraExtensions[0].Id, l.ExtraExtensions[0].Value = asn1.ObjectIdentifier{1, 2, 3}, []byte{5, 0}
			}
		}))
		_, err := ek.NewCRLs(ek.CRLOptions{Fetch: w.fetch}).Check(context.Background(), m.chain, ek.RequireCRLs, now)
		wantCode(t, name, err, tt.code)
	}
}

func TestParseRevocationPolicy(t *testing.T) {
	for _, s := range []string{"require", "prefer", "ignore"} {
		if p, err := ek.ParseRevocationPolicy(s); err != nil || string(p) != s {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range []string{"", "Require", "never", "\x1b[2J"} {
		if _, err := ek.ParseRevocationPolicy(s); err == nil {
			t.Errorf("%q is a policy", s)
		}
	}
}
