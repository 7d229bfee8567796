package ear_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"troth/attest/ear"
)

// TestClaims: what is signed rightly and says something wrong is refused, and
// is not signed here.
func TestClaims(t *testing.T) {
	k, private := newKey(t)
	header := map[string]any{"alg": "ES256", "typ": "eat+jwt", "kid": k.ID}
	appraisal := func(status ear.Tier, v ear.Vector) func(*ear.Result) {
		return func(r *ear.Result) {
			r.Status, r.Submods = status, map[string]ear.Appraisal{"device": {Status: status, Vector: v}}
		}
	}
	for name, c := range map[string]struct {
		change func(*ear.Result)
		code   string
	}{
		"another profile":                {func(r *ear.Result) { r.Profile = "tag:github.com,2023:veraison/ear" }, ear.CodeProfile},
		"no profile":                     {func(r *ear.Result) { r.Profile = "" }, ear.CodeProfile},
		"no iat":                         {func(r *ear.Result) { r.IssuedAt = 0 }, ear.CodeClaims},
		"no exp":                         {func(r *ear.Result) { r.ExpiresAt = 0 }, ear.CodeClaims},
		"ends before it begins":          {func(r *ear.Result) { r.ExpiresAt = r.IssuedAt }, ear.CodeClaims},
		"no developer":                   {func(r *ear.Result) { r.Verifier.Developer = "" }, ear.CodeClaims},
		"no build":                       {func(r *ear.Result) { r.Verifier.Build = "" }, ear.CodeClaims},
		"no submods":                     {func(r *ear.Result) { r.Submods = nil }, ear.CodeClaims},
		"short nonce":                    {func(r *ear.Result) { r.Nonce = b64("7 bytes") }, ear.CodeClaims},
		"an aspect of nobody":            {appraisal(ear.Affirming, ear.Vector{"karma": 2}), ear.CodeClaims},
		"affirms over a warning":         {appraisal(ear.Affirming, ear.Vector{ear.Hardware: 2, ear.Executables: 32}), ear.CodeInconsistent},
		"affirms over a non-standard":    {appraisal(ear.Affirming, ear.Vector{ear.Executables: -33}), ear.CodeInconsistent},
		"affirms over a contradiction":   {appraisal(ear.Affirming, ear.Vector{ear.Executables: 99}), ear.CodeInconsistent},
		"warns over a contradiction":     {appraisal(ear.Warning, ear.Vector{ear.Executables: -128}), ear.CodeInconsistent},
		"is silent over a contradiction": {appraisal(ear.None, ear.Vector{ear.Executables: 96}), ear.CodeInconsistent},
		"overall affirms over none":      {func(r *ear.Result) { r.Submods["x"] = ear.Appraisal{Vector: ear.Vector{ear.Hardware: 0}} }, ear.CodeInconsistent},
		"overall affirms over a warning": {func(r *ear.Result) {
			r.Submods["x"] = ear.Appraisal{Status: ear.Warning, Vector: ear.Vector{ear.Hardware: 2}}
		}, ear.CodeInconsistent},
		"contradicts though all is well":  {appraisal(ear.Contraindicated, ear.Vector{ear.Executables: 2}), ""},
		"says nothing though all is well": {appraisal(ear.None, ear.Vector{ear.Executables: 2}), ""},
	} {
		r := good()
		c.change(&r)
		_, err := ear.Verify(forge(t, private, header, r), ear.NewKeySet(k), ear.Expectation{Now: now})
		if ear.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %q", name, err, c.code)
		}
		if _, err := ear.Sign(k, r); ear.CodeOf(err) != c.code {
			t.Errorf("sign %s: %v, want %q", name, err, c.code)
		}
	}
	r := good()
	r.Submods["device"] = ear.Appraisal{Status: ear.Affirming}
	if _, err := ear.Sign(k, r); err == nil {
		t.Error("signed an appraisal without a vector")
	}
	if _, err := ear.Sign(ear.Key{}, good()); err == nil {
		t.Error("signed without a key")
	}
}

// TestTextOfClaims: forms that a decoder could read in two ways.
func TestTextOfClaims(t *testing.T) {
	k, private := newKey(t)
	header := map[string]any{"alg": "ES256", "typ": "eat+jwt", "kid": k.ID}
	text, err := json.Marshal(good())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string][2]string{
		"exp with a fraction":   {`"exp":1800000300`, `"exp":1800000300.5`},
		"exp as a float":        {`"exp":1800000300`, `"exp":1.8000003e9`},
		"exp as a word":         {`"exp":1800000300`, `"exp":"1800000300"`},
		"exp twice":             {`"exp":1800000300`, `"exp":1800000300,"exp":9900000300`},
		"exp in capitals only":  {`"exp":`, `"EXP":`},
		"a status of nobody":    {`"ear_status":"affirming","ear_trust`, `"ear_status":"Affirming","ear_trust`},
		"a status as a number":  {`"ear_status":"affirming","iss"`, `"ear_status":2,"iss"`},
		"a claim of nine bits":  {`"executables":3`, `"executables":258`},
		"a claim with fraction": {`"executables":3`, `"executables":2.5`},
		"an empty policy list":  {`["ni:///sha-256;abc"]`, `[]`},
		"no object":             {string(text), `[]`},
		"null":                  {string(text), `null`},
		"something after it":    {string(text), string(text) + "{}"},
		"submods as a list":     {`"submods":{`, `"submods":[{`},
	} {
		changed := strings.Replace(string(text), c[0], c[1], 1)
		if changed == string(text) {
			t.Fatalf("%s: nothing was changed", name)
		}
		_, err := ear.Verify(forge(t, private, header, changed), ear.NewKeySet(k), ear.Expectation{Now: now})
		if code := ear.CodeOf(err); code != ear.CodeClaims && code != ear.CodeProfile {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTiers are the ranges of AR4SI, section 2.3.2.
func TestTiers(t *testing.T) {
	for _, r := range []struct {
		from, to int
		tier     ear.Tier
	}{
		{-128, -97, ear.Contraindicated}, {-96, -33, ear.Warning}, {-32, -2, ear.Affirming}, {-1, 1, ear.None},
		{2, 31, ear.Affirming}, {32, 95, ear.Warning}, {96, 127, ear.Contraindicated},
	} {
		for c := r.from; c <= r.to; c++ {
			if got := ear.Claim(c).Tier(); got != r.tier {
				t.Errorf("claim %d is of tier %s, want %s", c, got, r.tier)
			}
		}
	}
	if _, err := json.Marshal(ear.Tier(3)); err == nil {
		t.Error("3 is a tier")
	}
}

func TestLower(t *testing.T) {
	v := ear.Vector{}
	for _, step := range []struct{ claim, want ear.Claim }{
		{2, 2}, {3, 3}, {0, 0}, {2, 0}, {32, 32}, {0, 32}, {-1, 32}, {36, 36}, {33, 36}, {96, 96}, {99, 99}, {2, 99},
	} {
		if v.Lower(ear.Executables, step.claim); v[ear.Executables] != step.want {
			t.Errorf("after %d: %d, want %d", step.claim, v[ear.Executables], step.want)
		}
	}
	if got := (ear.Vector{ear.Hardware: -1, ear.Executables: 2}).Worst(); got != ear.Affirming {
		t.Errorf("worst is %s", got)
	}
}

func TestValidNonce(t *testing.T) {
	for s, want := range map[string]bool{
		"": false, b64(make([]byte, 7)): false, b64(make([]byte, 8)): true, b64(make([]byte, 64)): true, b64(make([]byte, 65)): false,
		b64(make([]byte, 8)) + "=": false, "AAAAAAAA\nAAA": false, "AAAAAAAAAAB": false, "+/AAAAAAAAA": false, strings.Repeat("A", 1<<20): false,
	} {
		if ear.ValidNonce(s) != want {
			t.Errorf("%.40q: %v", s, !want)
		}
	}
}

// TestKeySets: a set may hold what is for others, and nothing that is secret.
func TestKeySets(t *testing.T) {
	k, private := newKey(t)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	edwards, _, _ := ed25519.GenerateKey(rand.Reader)
	if _, err := ear.NewKey(p384); err == nil {
		t.Error("a P-384 key signs")
	}
	jwk := func(key any, id, use, alg string) string {
		text, err := json.Marshal(jose.JSONWebKey{Key: key, KeyID: id, Use: use, Algorithm: alg})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	own := jwk(&private.PublicKey, "a", "sig", "ES256")
	offCurve := `{"kty":"EC","crv":"P-256","kid":"x","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE","y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"}`
	for name, c := range map[string]struct {
		text string
		ids  []string // nil: refused
	}{
		"one":              {`{"keys":[` + own + `]}`, []string{"a"}},
		"without use, alg": {`{"keys":[` + jwk(&private.PublicKey, "b", "", "") + `]}`, []string{"b"}},
		"beside others": {`{"keys":[` + strings.Join([]string{own, jwk(&p384.PublicKey, "p", "sig", "ES384"), jwk(edwards, "e", "sig", "EdDSA"),
			`{"kty":"oct","k":"AAAA","kid":"o"}`, `{"kty":"new"}`, `7`, offCurve}, ",") + `]}`, []string{"a"}},
		"for encryption":  {`{"keys":[` + jwk(&private.PublicKey, "a", "enc", "") + `]}`, nil},
		"for another alg": {`{"keys":[` + jwk(&private.PublicKey, "a", "sig", "ECDH-ES") + `]}`, nil},
		"without a name":  {`{"keys":[` + jwk(&private.PublicKey, "", "sig", "ES256") + `]}`, nil},
		"a private key":   {`{"keys":[` + jwk(private, "a", "sig", "ES256") + `]}`, nil},
		"one name twice":  {`{"keys":[` + own + "," + own + `]}`, nil},
		"off the curve":   {`{"keys":[` + offCurve + `]}`, nil},
		"empty":           {`{"keys":[]}`, nil},
		"no set":          {own, nil},
		"no JSON":         {`keys`, nil},
		"too many":        {`{"keys":[` + strings.Repeat("1,", 300) + `1]}`, nil},
		"too long":        {`{"keys":[` + own + `]` + strings.Repeat(" ", ear.MaxKeySet) + `}`, nil},
	} {
		got, err := ear.ParseKeySet([]byte(c.text))
		if c.ids == nil {
			if ear.CodeOf(err) != ear.CodeKeySet {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || !slices.Equal(got.IDs(), c.ids) {
			t.Errorf("%s: %v, %v", name, got.IDs(), err)
		}
	}
	text, err := json.Marshal(ear.NewKeySet(k))
	if err != nil || strings.Contains(string(text), `"d"`) {
		t.Fatalf("published: %s, %v", text, err)
	}
	read, err := ear.ParseKeySet(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ear.Verify(sign(t, k, good()), read, ear.Expectation{Now: now}); err != nil {
		t.Error(err)
	}
}

// FuzzVerify: whatever the bytes, with whatever keys, nothing but a token of the
// one key is accepted, every other one is a refusal with a code, and what is
// accepted is consistent.
func FuzzVerify(f *testing.F) {
	k, private := newKey(f)
	keys := ear.NewKeySet(k)
	token := sign(f, k, good())
	f.Add(token, "")
	f.Add("", `{"keys":[]}`)
	f.Add(token[:40]+"."+token[40:], `{"keys":[{"kty":"EC"}]}`)
	f.Add(b64(`{"alg":"none","typ":"eat+jwt","kid":"x"}`)+"."+b64(good())+".", "[]")
	header := map[string]any{"alg": "ES256", "typ": "eat+jwt", "kid": k.ID}
	f.Add("..", `{"eat_profile":"tag:ietf.org,2026:rats/ear#04","iat":1,"exp":2}`)
	f.Fuzz(func(t *testing.T, text, claims string) {
		if _, err := ear.Verify(text, keys, ear.Expectation{Now: now, Skew: 100 * 365 * 24 * time.Hour}); err == nil {
			if text != token {
				t.Fatalf("accepted %q", text)
			}
		} else if ear.CodeOf(err) == "" {
			t.Fatalf("no code: %v", err)
		}
		if set, err := ear.ParseKeySet([]byte(claims)); err == nil {
			_, _ = ear.Verify(text, set, ear.Expectation{Now: now})
		} else if ear.CodeOf(err) != ear.CodeKeySet {
			t.Fatalf("no code: %v", err)
		}
		// The second text again, as claims that were signed rightly.
		r, err := ear.Verify(forge(t, private, header, claims), keys, ear.Expectation{Now: now})
		switch {
		case err == nil && r.Check() != nil:
			t.Fatalf("accepted what does not hold: %v", r.Check())
		case err != nil && ear.CodeOf(err) == "":
			t.Fatalf("no code: %v", err)
		}
	})
}
