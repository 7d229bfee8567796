package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"troth/attest/attesttest"
	"troth/internal/api"
	"troth/internal/fleet"
)

func TestEnrolmentHonest(t *testing.T) {
	t.Parallel()
	s := everyones(t)
	a := newAttacker(t, s)
	s.strange(t, a.id)
	a.enroll()
	a.mustCheckIn("compliant")
	k := s.kept(t, a.id)
	if live := k.live(); len(k.Certificates) != 1 || len(live) != 1 || live[0] != a.serial || k.Challenges != 0 {
		t.Fatalf("one certificate, %s, should be all there is: %+v", a.serial, k)
	}
	if yes, code := s.may(t, a.id); !yes {
		t.Fatalf("a compliant device may nothing: %s", code)
	}
}

func TestAttack_K7_UnknownManufacturer(t *testing.T) {
	t.Parallel()
	s := everyones(t)
	nobody := must(attesttest.NewManufacturer(t.TempDir(), "nobody"))(t)
	a := newAttackerWith(t, s, nobody.NewECCTPM)
	_, err := a.begin()
	wantCode(t, err, "ek_unknown_manufacturer")
	// The names of the foreign CA are those of the trusted one; only keys differ.
	_, err = a.begin(func(r *api.EnrollRequest) { r.EKCertificate = append(r.EKCertificate, 0, 0, 0xff, 0xff) })
	wantCode(t, err, "ek_unknown_manufacturer")
	s.kept(t, a.id).nothing(t)
	s.strange(t, a.id)
}

// A registration does not mend an EK certificate that leads nowhere.
func TestAttack_K7_RegisteredButUnknownManufacturer(t *testing.T) {
	t.Parallel()
	s := everyones(t)
	nobody := must(attesttest.NewManufacturer(t.TempDir(), "nobody"))(t)
	a := newAttackerWith(t, s, nobody.NewECCTPM)
	s.register(t, a.id, a.name)
	before := s.kept(t, a.id)
	_, err := a.tryEnroll()
	wantCode(t, err, "unknown_manufacturer")
	same(t, "of a registered device", before, s.kept(t, a.id))
}

func (s *service) register(t testing.TB, id, name string) {
	t.Helper()
	s.post(t, api.PathRegistrations, api.RegistrationRequest{Devices: []api.Registration{{EKHash: id, Name: name, Model: model}}}, nil)
}

func TestAttack_K7_MalformedEndorsements(t *testing.T) {
	t.Parallel()
	a := borrow(t)
	before := a.service.kept(t, a.id)
	for name, c := range map[string]struct {
		edit func(*api.EnrollRequest)
		code string
	}{
		"garbage":        {func(r *api.EnrollRequest) { r.EKCertificate = []byte("certificate") }, "ek_malformed"},
		"truncated":      {func(r *api.EnrollRequest) { r.EKCertificate = r.EKCertificate[:100] }, "ek_malformed"},
		"nothing":        {func(r *api.EnrollRequest) { r.EKCertificate = nil }, "ek_not_template"},
		"own template":   {func(r *api.EnrollRequest) { r.EKCertificate, r.EKPublic = nil, a.ak.Public }, "ek_not_template"},
		"no EK's at all": {func(r *api.EnrollRequest) { r.EKCertificate = a.credential.Certificate }, "ek_not_ek_certificate"},
	} {
		_, err := a.begin(c.edit)
		if got := api.CodeOf(err); got != c.code {
			t.Errorf("%s: the answer has code %q, want %q: %v", name, got, c.code, err)
		}
	}
	same(t, "after malformed endorsements", before, a.service.kept(t, a.id))
}

// Where registration is required, a trusted manufacturer alone is not enough.
func TestRegistrationRequired(t *testing.T) {
	t.Parallel()
	s := newService(t, "enrollment: {require_registration: true}\n")
	a := newAttacker(t, s)
	_, err := a.tryEnroll()
	wantCode(t, err, "not_registered")
	s.kept(t, a.id).nothing(t)
	s.strange(t, a.id)

	s.register(t, a.id, "registered-1")
	a.enroll()
	if d := s.device(t, a.id); d.Name != "registered-1" || d.Lifecycle != "active" {
		t.Fatalf("what was registered should win over what the device says: %+v", d)
	}

	bare := newAttackerWith(t, s, maker(t).NewBareTPM)
	_, err = bare.begin()
	wantCode(t, err, "ek_no_certificate")
	s.kept(t, bare.id).nothing(t)
	s.register(t, bare.id, "registered-2")
	bare.enroll()
}

func TestAttack_K1_EKOfOneTPMWithAKOfAnother(t *testing.T) {
	t.Parallel()
	s := everyones(t)
	victim := borrow(t)
	before := s.kept(t, victim.id)
	a := newAttacker(t, s)
	asVictim := func(r *api.EnrollRequest) { r.EKCertificate = victim.ek.Certificate }

	c := must(a.begin(asVictim))(t)
	if c.DeviceID != victim.id {
		t.Fatalf("the challenge is for %s, want %s", c.DeviceID, victim.id)
	}
	if _, err := a.tpm.ActivateCredential(a.ak, c.CredentialBlob, c.EncryptedSecret); err == nil {
		t.Fatal("another TPM activated the credential")
	}
	if _, err := victim.tpm.ActivateCredential(victim.ak, c.CredentialBlob, c.EncryptedSecret); err == nil {
		t.Fatal("the TPM activated a credential for a key that it does not hold")
	}
	plan := a.answer(c)
	plan.DeviceID, plan.secret = victim.id, make([]byte, 32)
	_, err := a.complete(c.ID, a.proof(plan))
	wantCode(t, err, "activation_failed")
	same(t, "of the device whose EK certificate was shown", before, s.kept(t, victim.id))
	s.kept(t, a.id).nothing(t)
	victim.mustCheckIn("compliant")
}

func TestAttack_K2_WrongSecretBurnsTheChallenge(t *testing.T) {
	t.Parallel()
	s := everyones(t)
	a := newAttacker(t, s)
	for name, wrong := range map[string]func([]byte) []byte{
		"one bit":  func(b []byte) []byte { b = bytes.Clone(b); b[31] ^= 1; return b },
		"zero":     func([]byte) []byte { return make([]byte, 32) },
		"cut":      func(b []byte) []byte { return b[:31] },
		"extended": func(b []byte) []byte { return append(bytes.Clone(b), 0) },
	} {
		t.Run(name, func(t *testing.T) {
			a.t = t
			c := a.mustBegin()
			plan := a.answer(c)
			right := plan.secret
			proof := a.proof(plan)
			proof.Secret = wrong(right)
			_, err := a.complete(c.ID, proof)
			wantCode(t, err, "activation_failed")
			for _, secret := range []string{hex.EncodeToString(right), base64.StdEncoding.EncodeToString(right)} {
				if strings.Contains(err.Error(), secret) || strings.Contains(s.log(), secret) {
					t.Error("the secret is in the answer or the log")
				}
			}
			proof.Secret = right
			_, err = a.complete(c.ID, proof)
			wantCode(t, err, "challenge_unknown")
			s.kept(t, a.id).nothing(t)
		})
	}
	a.t = t
	s.strange(t, a.id)
	a.enroll()
}

func TestAttack_K2_ChallengeAnsweredTwice(t *testing.T) {
	t.Parallel()
	s := everyones(t)
	a := newAttacker(t, s)
	c := a.mustBegin()
	proof := a.proof(a.answer(c))
	const callers = 6
	credentials := make(chan api.Credential, callers)
	for range callers {
		go func() {
			answer, err := a.complete(c.ID, proof)
			if err != nil && api.CodeOf(err) != "challenge_unknown" {
				t.Errorf("one of several at once: %v", err)
			}
			credentials <- answer
		}()
	}
	won := 0
	for range callers {
		if answer := <-credentials; answer.Certificate != nil {
			won++
			a.hold(answer)
		}
	}
	if won != 1 {
		t.Fatalf("%d of %d who answered at once got a certificate", won, callers)
	}
	a.enrolledOnce()
	before := s.kept(t, a.id)
	_, err := a.complete(c.ID, proof)
	wantCode(t, err, "challenge_unknown")
	_, err = a.complete("no-such-challenge", proof)
	wantCode(t, err, "challenge_unknown")
	same(t, "after a second answer", before, s.kept(t, a.id))
}

func TestAttack_K3_NameOfAnotherDevice(t *testing.T) {
	t.Parallel()
	s := everyones(t)
	victim := borrow(t)
	before := s.kept(t, victim.id)
	a := newAttacker(t, s)
	a.name = victim.name
	a.enroll()
	if d := s.device(t, a.id); d.Name != "" {
		t.Fatalf("the device got the name %q by claiming it", d.Name)
	}
	if d := s.device(t, victim.name); d.ID != victim.id {
		t.Fatalf("the name %s means another device now", victim.name)
	}
	same(t, "of the device that has the name", before, s.kept(t, victim.id))
	// Asked again, it may have a name that is free; what it has, it keeps.
	a.name = newName()
	a.enroll()
	first := a.name
	a.name = newName()
	a.enroll()
	if d := s.device(t, a.id); d.Name != first {
		t.Fatalf("the device is named %q, want %q", d.Name, first)
	}
}

func TestAttack_K4_AttestationKeyThatProvesNothing(t *testing.T) {
	t.Parallel()
	a := borrow(t)
	before := a.service.kept(t, a.id)
	for name, c := range map[string]struct {
		public []byte
		code   string
	}{
		"not restricted": {a.tls.Public, "ak_attributes"},
		"may decrypt":    {flip(a.ak.Public, 1<<17), "ak_attributes"},
		"may leave":      {flip(a.ak.Public, 1<<1), "ak_attributes"},
		"imported":       {flip(a.ak.Public, 1<<5), "ak_attributes"},
		"PEM":            {[]byte("-----BEGIN PUBLIC KEY-----\n"), "ak_malformed"},
		"the EK":         {a.ek.Public, "ak_attributes"},
		"garbage":        {bytes.Repeat([]byte{0xff}, 90), "ak_malformed"},
	} {
		_, err := a.begin(func(r *api.EnrollRequest) { r.AKPublic = c.public })
		if got := api.CodeOf(err); got != c.code {
			t.Errorf("%s: the answer has code %q, want %q: %v", name, got, c.code, err)
		}
	}
	same(t, "after keys that prove nothing", before, a.service.kept(t, a.id))
}

// flip changes attributes in a TPMT_PUBLIC: type, name algorithm, attributes
// (TPM 2.0 Library part 2, 12.2.4 and 8.3).
func flip(public []byte, attributes uint32) []byte {
	out := bytes.Clone(public)
	for i := range 4 {
		out[4+i] ^= byte(attributes >> (24 - 8*i))
	}
	return out
}

// A public area with the right attributes whose key is not in any TPM is
// accepted at first and fails at the activation.
func TestAttack_K4_AttestationKeyInSoftware(t *testing.T) {
	t.Parallel()
	s := everyones(t)
	a := newAttacker(t, s)
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	point := must(key.PublicKey.Bytes())(t)
	soft := bytes.Clone(a.ak.Public)
	copy(soft[len(soft)-32:], point[33:])
	copy(soft[len(soft)-66:], point[1:33])
	c, err := a.begin(func(r *api.EnrollRequest) { r.AKPublic = soft })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.tpm.ActivateCredential(a.ak, c.CredentialBlob, c.EncryptedSecret); err == nil {
		t.Fatal("the TPM activated a credential for a key that it does not hold")
	}
	plan := a.answer(c)
	plan.secret = make([]byte, 32)
	_, err = a.complete(c.ID, a.proof(plan))
	wantCode(t, err, "activation_failed")
	s.kept(t, a.id).nothing(t)
}

func TestAttack_K6_TLSKeyThatIsNotProven(t *testing.T) {
	t.Parallel()
	s := everyones(t)
	a := newAttacker(t, s)
	soft := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	for _, c := range []struct {
		name, code string
		edit       func(*answer)
	}{
		{"certified by another AK", "signature_invalid", func(p *answer) { p.certifier = must(a.tpm.CreateAK())(t) }},
		{"certified by itself", "signature_invalid", func(p *answer) { p.certifier = a.tls }},
		{"certified with another nonce", "nonce_mismatch", func(p *answer) { p.certify.Nonce = bytes.Repeat([]byte{1}, 32) }},
		{"certified for another device", "nonce_mismatch", func(p *answer) { p.certify.DeviceID = strings.Repeat("0", 64) }},
		{"certified for another purpose", "nonce_mismatch", func(p *answer) { p.certify.Purpose = "enroll" }},
		{"another key certified", "certify_name", func(p *answer) { p.certified = must(a.tpm.CreateTLSKey())(t) }},
		{"CSR with a key in software", "csr_key_mismatch", func(p *answer) { p.csrKey = soft }},
		{"CSR with another key of the TPM", "csr_key_mismatch", func(p *answer) {
			p.csrKey = must(a.tpm.Signer(must(a.tpm.CreateTLSKey())(t)))(t)
		}},
		{"CSR with a DNS name too", "csr_names", func(p *answer) { p.csr.DNSNames = []string{"troth.internal"} }},
		{"CSR with another subject", "csr_names", func(p *answer) { p.csr.Subject = pkix.Name{CommonName: "admin"} }},
		{"CSR of another device", "csr_uri", func(p *answer) {
			p.csr.URIs = []*url.URL{{Scheme: "spiffe", Host: "troth.internal", Path: "/device/" + strings.Repeat("0", 64)}}
		}},
		{"CSR without a name", "csr_uri", func(p *answer) { p.csr.URIs = nil }},
		{"CSR with two names", "csr_uri", func(p *answer) { p.csr.URIs = append(p.csr.URIs, p.csr.URIs[0]) }},
		{"CSR of a CA", "csr_extension", func(p *answer) {
			p.csr.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 3, 1, 1, 0xff}}}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a.t = t
			_, err := a.tryEnroll(c.edit)
			wantCode(t, err, c.code)
			s.kept(t, a.id).nothing(t)
		})
	}
	a.t = t
	_, err := a.begin(func(r *api.EnrollRequest) { r.TLSPublic = a.ak.Public })
	if err == nil {
		c := must(a.begin(func(r *api.EnrollRequest) { r.TLSPublic = a.ak.Public }))(t)
		plan := a.answer(c)
		plan.certified = a.ak
		_, err = a.complete(c.ID, a.proof(plan))
	}
	wantCode(t, err, "tls_key_attributes") // a restricted key cannot sign for TLS
	s.strange(t, a.id)
	a.enroll()
}

// Whoever shows the EK of an enrolled device takes its place only with its TPM,
// and it shows: the older credential ends and both enrolments are on record.
func TestAttack_K8_SameEKShownTwice(t *testing.T) {
	t.Parallel()
	s := everyones(t)
	a := newAttacker(t, s)
	a.enroll()
	a.mustCheckIn("compliant")
	first, firstClient := a.serial, a.client
	oldEvidence := a.quote(a.statement("checkin", a.nonce, selection()))
	oldNonce := a.nonce

	// The same TPM, all state lost: new keys, another name. It stays the device
	// that it was.
	name := a.name
	a.ak, a.tls, a.name = must(a.tpm.CreateAK())(t), must(a.tpm.CreateTLSKey())(t), newName()
	a.enroll()
	k := s.kept(t, a.id)
	if live := k.live(); len(live) != 1 || live[0] != a.serial || k.in("revoked") != 1 {
		t.Fatalf("only the new certificate should live: %+v", k.Certificates)
	}
	enrolled := 0
	for _, e := range k.Events {
		if e.Action == "device.enroll" {
			enrolled++
		}
	}
	if enrolled != 2 {
		t.Fatalf("%d enrolments are on record, want 2", enrolled)
	}
	told := func(a fleet.Alert) bool { return a.Key == fleet.KeyNewKeys && a.State == fleet.AlertOpen }
	if !slices.ContainsFunc(k.Alerts, told) {
		t.Fatalf("nobody is told of the new keys: %+v", k.Alerts)
	}
	// The same keys once more, as after an answer that was lost, are no news.
	a.enroll()
	if n := len(s.kept(t, a.id).Alerts); n != len(k.Alerts) {
		t.Fatalf("%d alerts after an enrolment that was tried again, want %d", n, len(k.Alerts))
	}
	if d := s.device(t, a.id); d.Verdict != "unknown" || d.Name != name {
		t.Fatalf("verdict %s, which the old keys reached; name %s, want %s", d.Verdict, d.Name, name)
	}
	err := firstClient.Do(t.Context(), http.MethodPost, api.PathCheckIn, api.CheckInRequest{Nonce: oldNonce, Evidence: oldEvidence}, nil)
	wantCode(t, err, "certificate_revoked")
	a.mustCheckIn("compliant")
	if a.serial == first {
		t.Fatal("the certificate is the old one")
	}
}

// The certificate that comes back is the one that was asked for.
func TestIssuedCertificate(t *testing.T) {
	t.Parallel()
	a := borrow(t)
	leaf := must(x509.ParseCertificate(a.credential.Certificate))(t)
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != "spiffe://troth.internal/device/"+a.id ||
		len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.EmailAddresses) > 0 || leaf.IsCA ||
		len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
		t.Errorf("certificate names or may do something else: %v %v", leaf.URIs, leaf.ExtKeyUsage)
	}
	if !bytes.Equal(leaf.RawSubjectPublicKeyInfo, a.clientKey()) {
		t.Error("the certificate's key is not the TPM's")
	}
}
