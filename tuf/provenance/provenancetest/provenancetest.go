// Package provenancetest makes sigstore bundles for tests: with an authority of
// its own (certificates, a transparency log, timestamps), and with plain keys. What
// it signs is really signed, and who trusts its root really verifies it.
package provenancetest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
	"google.golang.org/protobuf/encoding/protojson"
)

const mediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"

const inToto = "application/vnd.in-toto+json"

// Statement is an in-toto statement with SLSA v1 provenance for content.
func Statement(content []byte, builder, source string) []byte {
	sum := sha256.Sum256(content)
	text, _ := json.Marshal(map[string]any{ // strings and maps have a JSON form
		"_type":         "https://in-toto.io/Statement/v1",
		"subject":       []any{map[string]any{"name": "image", "digest": map[string]string{"sha256": hex.EncodeToString(sum[:])}}},
		"predicateType": "https://slsa.dev/provenance/v1",
		"predicate": map[string]any{
			"buildDefinition": map[string]any{"buildType": "https://ci.example/make@v1", "resolvedDependencies": []any{map[string]any{"uri": source}}},
			"runDetails":      map[string]any{"builder": map[string]any{"id": builder}},
		},
	})
	return text
}

// Authority is a sigstore of its own.
type Authority struct {
	t      testing.TB
	stores *ca.VirtualSigstore
}

// NewAuthority makes one.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	return &Authority{t, must(ca.NewVirtualSigstore())(t)}
}

// Root is its trusted_root.json.
func (a *Authority) Root() []byte {
	a.t.Helper()
	logs := map[string]*root.TransparencyLog{}
	for id, log := range a.stores.RekorLogs() {
		log.ID = must(hex.DecodeString(id))(a.t)
		logs[id] = log
	}
	r := must(root.NewTrustedRoot(root.TrustedRootMediaType01, a.stores.FulcioCertificateAuthorities(), nil, a.stores.TimestampingAuthorities(), logs))(a.t)
	return must(r.MarshalJSON())(a.t)
}

// Attest is a bundle with the statement, signed by the identity.
func (a *Authority) Attest(identity, issuer string, statement []byte) []byte {
	a.t.Helper()
	e := must(a.stores.AttestAtTime(identity, issuer, statement, time.Now().Add(5*time.Minute), true))(a.t)
	return a.bundle(e)
}

// Sign is a bundle with a signature over the content by the identity.
func (a *Authority) Sign(identity, issuer string, content []byte) []byte {
	a.t.Helper()
	return a.bundle(must(a.stores.Sign(identity, issuer, content))(a.t))
}

func (a *Authority) bundle(e *ca.TestEntity) []byte {
	a.t.Helper()
	content := must(e.VerificationContent())(a.t)
	material := &protobundle.VerificationMaterial{
		Content:                   &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: content.Certificate().Raw}},
		TimestampVerificationData: &protobundle.TimestampVerificationData{},
		TlogEntries:               []*protorekor.TransparencyLogEntry{},
	}
	for _, stamp := range must(e.Timestamps())(a.t) {
		material.TimestampVerificationData.Rfc3161Timestamps = append(material.TimestampVerificationData.Rfc3161Timestamps, &protocommon.RFC3161SignedTimestamp{SignedTimestamp: stamp})
	}
	for _, entry := range must(e.TlogEntries())(a.t) {
		material.TlogEntries = append(material.TlogEntries, a.logged(entry.TransparencyLogEntry()))
	}
	return encode(a.t, material, must(e.SignatureContent())(a.t))
}

// logged is an entry of the log as bundles have it: promised, and proven.
func (a *Authority) logged(entry *protorekor.TransparencyLogEntry) *protorekor.TransparencyLogEntry {
	a.t.Helper()
	var body struct{ Kind, APIVersion string }
	if err := json.Unmarshal(entry.CanonicalizedBody, &body); err != nil {
		a.t.Fatal(err)
	}
	entry.KindVersion = &protorekor.KindVersion{Kind: body.Kind, Version: body.APIVersion}
	promise := must(a.stores.RekorSignPayload(tlog.RekorPayload{
		Body: base64.StdEncoding.EncodeToString(entry.CanonicalizedBody), IntegratedTime: entry.IntegratedTime,
		LogIndex: entry.LogIndex, LogID: hex.EncodeToString(entry.LogId.KeyId),
	}))(a.t)
	entry.InclusionPromise = &protorekor.InclusionPromise{SignedEntryTimestamp: promise}
	proof := must(a.stores.GetInclusionProof(entry.CanonicalizedBody))(a.t)
	entry.InclusionProof = &protorekor.InclusionProof{
		LogIndex: *proof.LogIndex, TreeSize: *proof.TreeSize, RootHash: must(hex.DecodeString(*proof.RootHash))(a.t),
		Checkpoint: &protorekor.Checkpoint{Envelope: *proof.Checkpoint},
	}
	return entry
}

func encode(t testing.TB, material *protobundle.VerificationMaterial, signed verify.SignatureContent) []byte {
	t.Helper()
	b := &protobundle.Bundle{MediaType: mediaType, VerificationMaterial: material}
	if envelope := signed.EnvelopeContent(); envelope != nil {
		raw := envelope.RawEnvelope()
		b.Content = &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			Payload: must(raw.DecodeB64Payload())(t), PayloadType: raw.PayloadType,
			Signatures: []*protodsse.Signature{{Sig: signed.Signature()}},
		}}
	} else {
		b.Content = &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
			MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: signed.MessageSignatureContent().Digest()},
			Signature:     signed.Signature(),
		}}
	}
	return must(protojson.Marshal(b))(t)
}

// Key is a plain signing key.
type Key struct {
	t      testing.TB
	Public crypto.PublicKey
	signer signature.Signer
}

// NewKey makes an ECDSA P-256 key.
func NewKey(t testing.TB) *Key {
	t.Helper()
	return keyOf(t, must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t))
}

// NewEd25519Key makes an Ed25519 key.
func NewEd25519Key(t testing.TB) *Key {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return keyOf(t, private)
}

func keyOf(t testing.TB, private crypto.Signer) *Key {
	t.Helper()
	return &Key{t, private.Public(), must(signature.LoadDefaultSigner(private))(t)}
}

func (k *Key) material() *protobundle.VerificationMaterial {
	return &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{Hint: "a key"}}}
}

// Attest is a bundle with the statement, signed with the key.
func (k *Key) Attest(statement []byte) []byte {
	k.t.Helper()
	sig := must(k.signer.SignMessage(bytes.NewReader(dsse.PAE(inToto, statement))))(k.t)
	b := &protobundle.Bundle{MediaType: mediaType, VerificationMaterial: k.material(), Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
		Payload: statement, PayloadType: inToto, Signatures: []*protodsse.Signature{{Sig: sig}},
	}}}
	return must(protojson.Marshal(b))(k.t)
}

// Sign is a bundle with a signature over the content.
func (k *Key) Sign(content []byte) []byte {
	k.t.Helper()
	sum := sha256.Sum256(content)
	b := &protobundle.Bundle{MediaType: mediaType, VerificationMaterial: k.material(), Content: &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
		MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum[:]},
		Signature:     must(k.signer.SignMessage(bytes.NewReader(content)))(k.t),
	}}}
	return must(protojson.Marshal(b))(k.t)
}

// must gives the value, or ends the test.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
