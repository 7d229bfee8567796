package provenance_test

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"troth/tuf/provenance"
	"troth/tuf/provenance/provenancetest"
)

const (
	builder = "https://ci.example/builder"
	source  = "git+https://git.example/fw@refs/tags/v2"
	who     = "builder@ci.example"
	issuer  = "https://id.example"
)

var image = []byte("the image")

func digest(content []byte) []byte {
	sum := sha256.Sum256(content)
	return sum[:]
}

func trust(t testing.TB, root []byte, keys ...*provenancetest.Key) *provenance.Trust {
	t.Helper()
	var list []crypto.PublicKey
	for _, k := range keys {
		list = append(list, k.Public)
	}
	got, err := provenance.NewTrust(root, list...)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestProvenanceByIdentity(t *testing.T) {
	a := provenancetest.NewAuthority(t)
	bundle := a.Attest(who, issuer, provenancetest.Statement(image, builder, source))
	got, err := trust(t, a.Root()).Provenance(bundle, digest(image))
	want := provenance.Statement{
		Signer: provenance.Signer{Identity: who, Issuer: issuer}, PredicateType: provenance.SLSA1,
		Builder: builder, BuildType: "https://ci.example/make@v1", Source: source,
	}
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestProvenanceByKey(t *testing.T) {
	for name, key := range map[string]*provenancetest.Key{"ecdsa": provenancetest.NewKey(t), "ed25519": provenancetest.NewEd25519Key(t)} {
		bundle := key.Attest(provenancetest.Statement(image, builder, source))
		got, err := trust(t, nil, provenancetest.NewKey(t), key).Provenance(bundle, digest(image))
		id, _ := provenance.KeyID(key.Public)
		if err != nil || got.Key != id || got.Identity != "" || got.Builder != builder {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// The older form of SLSA provenance says the same in other places, and what is no
// SLSA provenance names no builder.
func TestPredicates(t *testing.T) {
	key := provenancetest.NewKey(t)
	statement := func(kind, predicate string) []byte {
		text := string(provenancetest.Statement(image, "", ""))
		from := strings.Index(text, `"predicate":`)
		to := strings.Index(text, `,"predicateType"`)
		return []byte(strings.Replace(text[:from]+`"predicate":`+predicate+text[to:], provenance.SLSA1, kind, 1))
	}
	for name, tc := range map[string]struct {
		statement []byte
		want      provenance.Statement
	}{
		"v0.2": {
			statement(provenance.SLSA02, `{"builder":{"id":"b"},"buildType":"t","invocation":{"configSource":{"uri":"s"}}}`),
			provenance.Statement{PredicateType: provenance.SLSA02, Builder: "b", BuildType: "t", Source: "s"},
		},
		"other":        {statement("https://example.org/test", `{"builder":{"id":"b"}}`), provenance.Statement{PredicateType: "https://example.org/test"}},
		"empty":        {statement(provenance.SLSA1, `{}`), provenance.Statement{PredicateType: provenance.SLSA1}},
		"other shapes": {statement(provenance.SLSA1, `{"runDetails":[1],"buildDefinition":{"resolvedDependencies":[7],"buildType":{}}}`), provenance.Statement{PredicateType: provenance.SLSA1}},
	} {
		got, err := trust(t, nil, key).Provenance(key.Attest(tc.statement), digest(image))
		got.Signer = provenance.Signer{}
		if err != nil || got != tc.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestSignature(t *testing.T) {
	a, key := provenancetest.NewAuthority(t), provenancetest.NewKey(t)
	both := trust(t, a.Root(), key)
	got, err := both.Signature(a.Sign(who, issuer, image), digest(image))
	if err != nil || got != (provenance.Signer{Identity: who, Issuer: issuer}) {
		t.Errorf("%+v, %v", got, err)
	}
	id, _ := provenance.KeyID(key.Public)
	got, err = both.Signature(key.Sign(image), digest(image))
	if err != nil || got != (provenance.Signer{Key: id}) {
		t.Errorf("%+v, %v", got, err)
	}
	pure := provenancetest.NewEd25519Key(t)
	if _, err := trust(t, nil, pure).Signature(pure.Sign(image), digest(image)); !errors.Is(err, provenance.ErrUnverified) {
		t.Errorf("%v", err)
	}
}

// TestAttack_T1_BundlesOfOthers: another image, another authority, another key, no
// trust at all, and a bundle of the wrong kind.
func TestAttack_T1_BundlesOfOthers(t *testing.T) {
	a, key := provenancetest.NewAuthority(t), provenancetest.NewKey(t)
	statement := provenancetest.Statement(image, builder, source)
	attested, signed := a.Attest(who, issuer, statement), a.Sign(who, issuer, image)
	byKey := key.Attest(statement)
	other := trust(t, provenancetest.NewAuthority(t).Root(), provenancetest.NewKey(t))
	mine, nobody := trust(t, a.Root(), key), &provenance.Trust{}
	for name, tc := range map[string]struct {
		trust  *provenance.Trust
		bundle []byte
		digest []byte
		want   error
	}{
		"another image":         {mine, attested, digest([]byte("another")), provenance.ErrUnverified},
		"another image, by key": {mine, byKey, digest([]byte("another")), provenance.ErrUnverified},
		"signature of another":  {mine, signed, digest([]byte("another")), provenance.ErrUnverified},
		"another authority":     {other, attested, digest(image), provenance.ErrUnverified},
		"another key":           {other, byKey, digest(image), provenance.ErrUnverified},
		"no root":               {nobody, attested, digest(image), provenance.ErrUntrusted},
		"no key":                {nobody, byKey, digest(image), provenance.ErrUntrusted},
		"half a digest":         {mine, attested, digest(image)[:16], provenance.ErrMalformed},
		"empty":                 {mine, nil, digest(image), provenance.ErrMalformed},
		"huge":                  {mine, bytes.Repeat([]byte{' '}, provenance.MaxBundle+1), digest(image), provenance.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			verify := func(bundle, digest []byte) error { _, err := tc.trust.Provenance(bundle, digest); return err }
			if strings.HasPrefix(name, "signature") {
				verify = func(bundle, digest []byte) error { _, err := tc.trust.Signature(bundle, digest); return err }
			}
			if err := verify(tc.bundle, tc.digest); !errors.Is(err, tc.want) {
				t.Errorf("%v, want %v", err, tc.want)
			}
		})
	}
	if _, err := mine.Provenance(signed, digest(image)); !errors.Is(err, provenance.ErrMalformed) {
		t.Errorf("a signature passes for provenance: %v", err)
	}
	if _, err := mine.Signature(attested, digest(image)); !errors.Is(err, provenance.ErrMalformed) {
		t.Errorf("a statement passes for a signature: %v", err)
	}
}

// TestAttack_T1_TamperedBundle changes every field of real bundles, one at a time.
// None of them verifies, but where what changed is proven by something else, or
// believed by nobody.
func TestAttack_T1_TamperedBundle(t *testing.T) {
	a, key := provenancetest.NewAuthority(t), provenancetest.NewKey(t)
	mine := trust(t, a.Root(), key)
	statement := provenancetest.Statement(image, builder, source)
	provenanceOf := func(b []byte) error { _, err := mine.Provenance(b, digest(image)); return err }
	signatureOf := func(b []byte) error { _, err := mine.Signature(b, digest(image)); return err }
	for name, tc := range map[string]struct {
		bundle []byte
		verify func([]byte) error
	}{
		"provenance by identity": {a.Attest(who, issuer, statement), provenanceOf},
		"provenance by key":      {key.Attest(statement), provenanceOf},
		"signature by identity":  {a.Sign(who, issuer, image), signatureOf},
		"signature by key":       {key.Sign(image), signatureOf},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tc.verify(tc.bundle); err != nil {
				t.Fatal(err)
			}
			copies := tampered(t, tc.bundle)
			if len(copies) < 4 {
				t.Errorf("only %d fields were tried", len(copies))
			}
			for path, changed := range copies {
				err := tc.verify(changed)
				if err == nil && !hint(path) {
					t.Errorf("%s was changed, and it verifies", path)
				}
				if err != nil && !errors.Is(err, provenance.ErrMalformed) && !errors.Is(err, provenance.ErrUnverified) {
					t.Errorf("%s: an error of no kind: %v", path, err)
				}
			}
		})
	}
}

// hint says which fields may say anything: which key it was (all are tried), what
// kind of entry the log has (the entry itself says it), and a timestamp beside the
// log's own time.
func hint(path string) bool {
	for _, end := range []string{".publicKey.hint", ".kindVersion.kind", ".kindVersion.version", ".signedTimestamp"} {
		if strings.HasSuffix(path, end) {
			return true
		}
	}
	return false
}

// tampered gives copies of a JSON document, in each of which one string differs in
// one bit of what it encodes, or a letter.
func tampered(t *testing.T, text []byte) map[string][]byte {
	t.Helper()
	var document any
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	var walk func(path string, v any, set func(any))
	walk = func(path string, v any, set func(any)) {
		switch v := v.(type) {
		case map[string]any:
			for key, inner := range v {
				walk(path+"."+key, inner, func(n any) { v[key] = n })
			}
		case []any:
			for i, inner := range v {
				walk(path+"[]", inner, func(n any) { v[i] = n })
			}
		case string:
			set(flip(v))
			changed, err := json.Marshal(document)
			if err != nil {
				t.Fatal(err)
			}
			out[path] = changed
			set(v)
		}
	}
	walk("", document, func(any) {})
	return out
}

func flip(s string) string {
	if raw, err := base64.StdEncoding.DecodeString(s); err == nil && len(raw) > 4 {
		raw[len(raw)/2] ^= 1
		return base64.StdEncoding.EncodeToString(raw)
	}
	if s == "" {
		return "x"
	}
	b := []byte(s)
	b[len(b)/2] ^= 1
	return string(b)
}

func TestTrustRefuses(t *testing.T) {
	for name, root := range map[string]string{
		"empty": "", "no JSON": "x", "nothing in it": `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`,
		"another kind": `{"mediaType":"application/json"}`, "huge": strings.Repeat(" ", provenance.MaxRoot+1),
	} {
		if _, err := provenance.NewTrust([]byte(root)); !errors.Is(err, provenance.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := provenance.NewTrust(nil, "a key"); !errors.Is(err, provenance.ErrMalformed) {
		t.Errorf("%v", err)
	}
	key := provenancetest.NewKey(t).Public
	if _, err := provenance.NewTrust(nil, slices.Repeat([]crypto.PublicKey{key}, provenance.MaxKeys+1)...); !errors.Is(err, provenance.ErrMalformed) {
		t.Errorf("%v", err)
	}
}

func FuzzBundle(f *testing.F) {
	a, key := provenancetest.NewAuthority(f), provenancetest.NewKey(f)
	mine := trust(f, a.Root(), key)
	statement := provenancetest.Statement(image, builder, source)
	f.Add(a.Attest(who, issuer, statement))
	f.Add(a.Sign(who, issuer, image))
	f.Add(key.Attest(statement))
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"certificate":{}},"dsseEnvelope":{"signatures":[null]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if s, err := mine.Provenance(text, digest(image)); err == nil && s.Builder != builder || err != nil && s != (provenance.Statement{}) {
			t.Fatalf("%+v, %v", s, err)
		}
		if s, err := mine.Signature(text, digest(image)); err == nil && s.Identity != who || err != nil && s != (provenance.Signer{}) {
			t.Fatalf("%+v, %v", s, err)
		}
	})
}

func FuzzTrustedRoot(f *testing.F) {
	f.Add(provenancetest.NewAuthority(f).Root())
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := provenance.NewTrust(text); err != nil && !errors.Is(err, provenance.ErrMalformed) {
			t.Fatal(err)
		}
	})
}
