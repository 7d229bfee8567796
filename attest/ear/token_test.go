package ear_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"troth/attest/ear"
)

var (
	now    = time.Unix(1_800_000_000, 0)
	device = "spiffe://troth.example/device/" + strings.Repeat("ab", 32)
	nonce  = base64.RawURLEncoding.EncodeToString([]byte("a nonce of ours"))
)

func newKey(t testing.TB) (ear.Key, *ecdsa.PrivateKey) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ear.NewKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return k, private
}

func good() ear.Result {
	return ear.Result{
		Profile: ear.Profile, Status: ear.Affirming, Issuer: "spiffe://troth.example", Subject: device, ID: "1",
		IssuedAt: now.Unix(), ExpiresAt: now.Unix() + 300, Nonce: nonce,
		Verifier: ear.VerifierID{Developer: "troth", Build: "1.2.3"},
		Submods: map[string]ear.Appraisal{"device": {
			Status: ear.Affirming, Vector: ear.Vector{ear.InstanceIdentity: 2, ear.Executables: 3, ear.Hardware: 0},
			PolicyIDs: []string{"ni:///sha-256;abc"}, VerifierClaims: map[string]any{"troth": map[string]any{"verdict": "compliant"}},
		}},
	}
}

func sign(t testing.TB, k ear.Key, r ear.Result) string {
	t.Helper()
	token, err := ear.Sign(k, r)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func b64(v any) string {
	switch v := v.(type) {
	case string:
		return base64.RawURLEncoding.EncodeToString([]byte(v))
	case []byte:
		return base64.RawURLEncoding.EncodeToString(v)
	}
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// forge signs a header and a payload of the attacker's choice with a real key,
// by hand: whoever signs, the rest of the token must hold, too.
func forge(t testing.TB, private *ecdsa.PrivateKey, header map[string]any, payload any) string {
	t.Helper()
	input := b64(header) + "." + b64(payload)
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, private, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + b64(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

func TestRoundTrip(t *testing.T) {
	k, _ := newKey(t)
	token := sign(t, k, good())
	got, err := ear.Verify(token, ear.NewKeySet(k), ear.Expectation{Now: now, Issuer: "spiffe://troth.example", Subject: device, Nonce: nonce})
	if err != nil {
		t.Fatal(err)
	}
	want, _ := json.Marshal(good())
	if text, _ := json.Marshal(got); string(text) != string(want) {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

// TestReadWithoutThisPackage opens a token as a relying party would that has
// nothing but a JSON parser and ECDSA, and looks at the claims' names and types
// in draft-ietf-rats-ear-04 and RFC 9711.
func TestReadWithoutThisPackage(t *testing.T) {
	k, private := newKey(t)
	parts := strings.Split(sign(t, k, good()), ".")
	var header map[string]string
	text, _ := base64.RawURLEncoding.DecodeString(parts[0])
	if err := json.Unmarshal(text, &header); err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"alg": "ES256", "typ": "eat+jwt", "kid": k.ID}; !maps.Equal(header, want) {
		t.Errorf("header %v, want %v", header, want)
	}
	signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if len(signature) != 64 || !ecdsa.Verify(&private.PublicKey, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		t.Error("the signature does not hold")
	}
	text, _ = base64.RawURLEncoding.DecodeString(parts[1])
	const want = `{"eat_profile":"tag:ietf.org,2026:rats/ear#04","ear_status":"affirming","iss":"spiffe://troth.example",` +
		`"sub":"spiffe://troth.example/device/abababababababababababababababababababababababababababababababab","jti":"1",` +
		`"iat":1800000000,"exp":1800000300,"eat_nonce":"YSBub25jZSBvZiBvdXJz","ear_verifier_id":{"developer":"troth","build":"1.2.3"},` +
		`"submods":{"device":{"ear_status":"affirming","ear_trustworthiness_vector":{"executables":3,"hardware":0,"instance-identity":2},` +
		`"ear_appraisal_policy_ids":["ni:///sha-256;abc"],"ear_verifier_claims":{"troth":{"verdict":"compliant"}}}}}`
	if string(text) != want {
		t.Errorf("claims\n%s\nwant\n%s", text, want)
	}
}

// TestExampleOfTheDraft reads the contradicted device of the draft's figure 3.
func TestExampleOfTheDraft(t *testing.T) {
	k, private := newKey(t)
	token := forge(t, private, map[string]any{"alg": "ES256", "typ": "eat+jwt", "kid": k.ID}, `{
	  "eat_profile": "tag:ietf.org,2026:rats/ear#04", "iat": 1666529184, "exp": 1666529484,
	  "ear_verifier_id": {"developer": "https://veraison-project.org", "build": "vts 0.0.1"},
	  "submods": {"PSA": {"ear_status": "contraindicated",
	    "ear_trustworthiness_vector": {"instance-identity": 2, "executables": 96, "hardware": 2},
	    "ear_appraisal_policy_ids": ["https://veraison.example/policy/1/60a0068d"]}},
	  "ear_status": "contraindicated", "something_unknown": [1.5]}`)
	r, err := ear.Verify(token, ear.NewKeySet(k), ear.Expectation{Now: time.Unix(1666529200, 0)})
	if err != nil {
		t.Fatal(err)
	}
	if a := r.Submods["PSA"]; a.Status != ear.Contraindicated || a.Vector[ear.Executables] != 96 || r.Verifier.Build != "vts 0.0.1" {
		t.Errorf("read %+v", r)
	}
}

// TestAttack_Q5_TokenHeaders: the token has no say in how it is verified.
func TestAttack_Q5_TokenHeaders(t *testing.T) {
	k, private := newKey(t)
	_, foreign := newKey(t)
	keys := ear.NewKeySet(k)
	payload, _ := json.Marshal(good())
	with := func(more ...any) map[string]any {
		h := map[string]any{"alg": "ES256", "typ": "eat+jwt", "kid": k.ID}
		for i := 0; i < len(more); i += 2 {
			if h[more[i].(string)] = more[i+1]; more[i+1] == nil {
				delete(h, more[i].(string))
			}
		}
		return h
	}
	jwk := jose.JSONWebKey{Key: &foreign.PublicKey}
	for name, c := range map[string]struct {
		header map[string]any
		code   string
	}{
		"alg none":            {with("alg", "none"), ear.CodeAlgorithm},
		"alg None":            {with("alg", "None"), ear.CodeAlgorithm},
		"no alg":              {with("alg", nil), ear.CodeAlgorithm},
		"alg is no word":      {with("alg", []string{"ES256"}), ear.CodeAlgorithm},
		"alg ES384":           {with("alg", "ES384"), ear.CodeAlgorithm},
		"alg RS256":           {with("alg", "RS256"), ear.CodeAlgorithm},
		"alg EdDSA":           {with("alg", "EdDSA"), ear.CodeAlgorithm},
		"alg in small":        {with("alg", "es256"), ear.CodeAlgorithm},
		"typ JWT":             {with("typ", "JWT"), ear.CodeType},
		"typ at+jwt":          {with("typ", "at+jwt"), ear.CodeType},
		"no typ":              {with("typ", nil), ear.CodeType},
		"no kid":              {with("kid", nil), ear.CodeKeyUnknown},
		"empty kid":           {with("kid", ""), ear.CodeKeyUnknown},
		"kid is no word":      {with("kid", 1), ear.CodeKeyUnknown},
		"another kid":         {with("kid", "other"), ear.CodeKeyUnknown},
		"embedded jwk":        {with("jwk", jwk), ear.CodeHeader},
		"jku":                 {with("jku", "https://evil.example/jwks.json"), ear.CodeHeader},
		"x5u":                 {with("x5u", "https://evil.example/x"), ear.CodeHeader},
		"x5c":                 {with("x5c", []string{"AA=="}), ear.CodeHeader},
		"crit":                {with("crit", []string{"b64"}, "b64", false), ear.CodeHeader},
		"nonce in the header": {with("nonce", "x"), ear.CodeHeader},
	} {
		t.Run(name, func(t *testing.T) {
			for who, signer := range map[string]*ecdsa.PrivateKey{"our key": private, "a foreign key": foreign} {
				_, err := ear.Verify(forge(t, signer, c.header, payload), keys, ear.Expectation{Now: now})
				if ear.CodeOf(err) != c.code {
					t.Errorf("signed by %s: %v, want %s", who, err, c.code)
				}
			}
		})
	}
	if _, err := ear.Verify(forge(t, foreign, with(), payload), keys, ear.Expectation{Now: now}); ear.CodeOf(err) != ear.CodeSignature {
		t.Errorf("a foreign signature: %v", err)
	}
	if _, err := ear.Verify(forge(t, private, with(), payload), keys, ear.Expectation{Now: now}); err != nil {
		t.Errorf("the control: %v", err)
	}
}

// TestAttack_Q5_SymmetricConfusion: the public key as the key of an HMAC, and
// other algorithms with honest libraries.
func TestAttack_Q5_SymmetricConfusion(t *testing.T) {
	k, _ := newKey(t)
	keys := ear.NewKeySet(k)
	set, _ := json.Marshal(keys)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	payload, _ := json.Marshal(good())
	for alg, key := range map[jose.SignatureAlgorithm]any{jose.HS256: set, jose.ES384: p384} {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: k.ID}}, (&jose.SignerOptions{}).WithType(ear.Type))
		if err != nil {
			t.Fatal(err)
		}
		signed, err := signer.Sign(payload)
		if err != nil {
			t.Fatal(err)
		}
		token, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ear.Verify(token, keys, ear.Expectation{Now: now}); ear.CodeOf(err) != ear.CodeAlgorithm {
			t.Errorf("%s: %v", alg, err)
		}
	}
}

// TestAttack_Q4_BrokenSignatures: every one is a refusal.
func TestAttack_Q4_BrokenSignatures(t *testing.T) {
	k, private := newKey(t)
	keys := ear.NewKeySet(k)
	token := sign(t, k, good())
	parts := strings.Split(token, ".")
	wide := sha512.Sum512([]byte(parts[0] + "." + parts[1]))
	der, err := ecdsa.SignASN1(rand.Reader, private, wide[:])
	if err != nil {
		t.Fatal(err)
	}
	better := good()
	better.ExpiresAt += 1 << 20
	for name, c := range map[string]struct{ token, code string }{
		"empty":                {"", ear.CodeMalformed},
		"no signature":         {parts[0] + "." + parts[1] + ".", ear.CodeSignature},
		"two parts":            {parts[0] + "." + parts[1], ear.CodeMalformed},
		"four parts":           {token + ".", ear.CodeMalformed},
		"zeros":                {parts[0] + "." + parts[1] + "." + b64(make([]byte, 64)), ear.CodeSignature},
		"cut":                  {token[:len(token)-2], ear.CodeSignature},
		"DER":                  {parts[0] + "." + parts[1] + "." + b64(der), ear.CodeSignature},
		"of another token":     {parts[0] + "." + parts[1] + "." + strings.Split(sign(t, k, better), ".")[2], ear.CodeSignature},
		"another payload":      {parts[0] + "." + b64(better) + "." + parts[2], ear.CodeSignature},
		"padding":              {token + "==", ear.CodeMalformed},
		"line break":           {token[:10] + "\n" + token[10:], ear.CodeMalformed},
		"space":                {" " + token, ear.CodeMalformed},
		"standard alphabet":    {parts[0] + "." + parts[1] + "." + strings.Repeat("+/", 43), ear.CodeMalformed},
		"JSON serialisation":   {`{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, ear.CodeMalformed},
		"too long":             {token + strings.Repeat("A", ear.MaxToken), ear.CodeMalformed},
		"header is no object":  {b64("[1]") + "." + parts[1] + "." + parts[2], ear.CodeMalformed},
		"header twice the alg": {b64(`{"alg":"none","alg":"ES256","typ":"eat+jwt","kid":"`+k.ID+`"}`) + "." + parts[1] + "." + parts[2], ear.CodeMalformed},
	} {
		if _, err := ear.Verify(c.token, keys, ear.Expectation{Now: now}); ear.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	if _, err := ear.Verify(token, ear.KeySet{}, ear.Expectation{Now: now}); ear.CodeOf(err) != ear.CodeKeyUnknown {
		t.Errorf("no keys at all: %v", err)
	}
}

// TestEveryBitCounts changes each bit of a token.
func TestEveryBitCounts(t *testing.T) {
	k, _ := newKey(t)
	keys, token := ear.NewKeySet(k), sign(t, k, good())
	for i := range len(token) * 8 {
		b := []byte(token)
		b[i/8] ^= 1 << (i % 8)
		if _, err := ear.Verify(string(b), keys, ear.Expectation{Now: now}); ear.CodeOf(err) == "" {
			t.Fatalf("bit %d: accepted (%v)", i, err)
		}
	}
}

func TestExpectations(t *testing.T) {
	k, _ := newKey(t)
	keys, token := ear.NewKeySet(k), sign(t, k, good())
	bare := good()
	bare.Nonce = ""
	for name, c := range map[string]struct {
		token string
		want  ear.Expectation
		code  string
	}{
		"good":                  {token, ear.Expectation{Now: now}, ""},
		"last second":           {token, ear.Expectation{Now: now.Add(300*time.Second - 1)}, ""},
		"ended":                 {token, ear.Expectation{Now: now.Add(300 * time.Second)}, ear.CodeExpired},
		"ended, within skew":    {token, ear.Expectation{Now: now.Add(300 * time.Second), Skew: time.Second}, ""},
		"ended, beyond skew":    {token, ear.Expectation{Now: now.Add(301 * time.Second), Skew: time.Second}, ear.CodeExpired},
		"from the future":       {token, ear.Expectation{Now: now.Add(-time.Second)}, ear.CodeNotYet},
		"a clock behind":        {token, ear.Expectation{Now: now.Add(-time.Second), Skew: time.Second}, ""},
		"no clock":              {token, ear.Expectation{}, ear.CodeNotYet},
		"another issuer":        {token, ear.Expectation{Now: now, Issuer: "spiffe://evil"}, ear.CodeIssuer},
		"another device":        {token, ear.Expectation{Now: now, Subject: device + "0"}, ear.CodeSubject},
		"another nonce":         {token, ear.Expectation{Now: now, Nonce: b64("another nonce")}, ear.CodeNonce},
		"no nonce where wanted": {sign(t, k, bare), ear.Expectation{Now: now, Nonce: nonce}, ear.CodeNonce},
	} {
		if _, err := ear.Verify(c.token, keys, c.want); ear.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %q", name, err, c.code)
		}
	}
}
