package e2e

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"troth/attest"
	"troth/attest/attesttest"
	"troth/attest/ek"
	"troth/attest/tpm"
	"troth/internal/api"
)

// attacker is a device with a real TPM whose agent is led by hand: every step of
// the protocol can be done as the agent does it, or otherwise.
type attacker struct {
	t       testing.TB
	service *service
	dir     string // of the TPM's state
	chip    *attesttest.SWTPM
	link    transport.TPMCloser
	tpm     *tpm.TPM
	name    string
	id      string // device id

	ek      tpm.EK
	ak, tls tpm.Key
	logs    attesttest.BootLogs

	anyone     *api.Client // without a certificate
	client     *api.Client // with it; nil until enrolled
	credential api.Credential
	serial     string
	nonce      []byte // for the next check-in; nil: ask
}

// manufacture makes a TPM of some kind in a directory.
type manufacture func(ctx context.Context, dir string) (*attesttest.SWTPM, error)

// newAttacker makes a device that the service has never seen, booted into the
// factory's firmware.
func newAttacker(t testing.TB, s *service) *attacker {
	t.Helper()
	return newAttackerWith(t, s, maker(t).NewECCTPM)
}

func newAttackerWith(t testing.TB, s *service, make manufacture) *attacker {
	t.Helper()
	a := makeAttacker(t, s, t.TempDir(), make)
	t.Cleanup(func() {
		if err := a.close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func makeAttacker(t testing.TB, s *service, dir string, make manufacture) *attacker {
	t.Helper()
	a := &attacker{t: t, service: s, name: newName(), dir: filepath.Join(dir, "tpm")}
	a.chip = must(make(t.Context(), a.dir))(t)
	a.boot(factory)
	a.ek = must(a.tpm.EK())(t)
	a.ak = must(a.tpm.CreateAK())(t)
	a.tls = must(a.tpm.CreateTLSKey())(t)
	a.id = ek.DeviceID(a.ek.Public)
	a.anyone = &api.Client{Base: s.admin.Base, HTTP: must(s.client(nil))(t)}
	return a
}

func (a *attacker) close() error {
	if err := a.link.Close(); err != nil {
		return err
	}
	return a.chip.Close()
}

// borrow is an enrolled, compliant device of the shared service. It is given
// back at the end of the test, so leave it as it was.
func borrow(t testing.TB) *attacker {
	t.Helper()
	s := everyones(t)
	var a *attacker
	select {
	case a = <-shared.pool:
		a.t = t
	default:
		select {
		case a = <-shared.pool:
			a.t = t
		case <-shared.spare:
			dir := must(os.MkdirTemp(shared.dir, "device"))(t)
			a = makeAttacker(t, s, dir, maker(t).NewECCTPM)
			shared.later(a.close)
			a.enroll()
		}
	}
	t.Cleanup(func() { shared.pool <- a })
	a.mustCheckIn("compliant")
	return a
}

// boot switches the device off and on, into a version of the firmware.
func (a *attacker) boot(version string) {
	a.t.Helper()
	a.powerCycle()
	a.logs = must(attesttest.Boot(a.link, attesttest.PlatformFor(model), attesttest.NewImage(model, version)))(a.t)
}

// powerCycle resets the TPM.
func (a *attacker) powerCycle() {
	a.t.Helper()
	if a.link != nil {
		_ = a.link.Close() // it is cut anyway
	}
	if err := a.chip.PowerCycle(a.t.Context()); err != nil {
		a.t.Fatal(err)
	}
	a.connect()
}

func (a *attacker) connect() {
	a.t.Helper()
	a.link = must(tpm.Open(a.chip.Spec()))(a.t)
	a.tpm = tpm.New(a.link)
}

// begin introduces the device, as it is or as edit has it.
func (a *attacker) begin(edit ...func(*api.EnrollRequest)) (c api.EnrollChallenge, err error) {
	r := api.EnrollRequest{EKCertificate: a.ek.Certificate, AKPublic: a.ak.Public, TLSPublic: a.tls.Public, Model: model, Name: a.name}
	if r.EKCertificate == nil {
		r.EKPublic = a.ek.Public
	}
	for _, e := range edit {
		e(&r)
	}
	return c, a.anyone.Do(a.t.Context(), http.MethodPost, api.PathEnrollments, r, &c)
}

func (a *attacker) mustBegin() api.EnrollChallenge {
	a.t.Helper()
	return must(a.begin())(a.t)
}

// statement is what a quote says and what is sent along with it.
type statement struct {
	attest.Binding
	ak            tpm.Key
	selection     map[string][]int
	eventLog, ima []byte // whole; nil: none
}

// answer is how a challenge is answered.
type answer struct {
	statement
	secret    []byte
	certifier tpm.Key // signs the certification
	certified tpm.Key
	certify   attest.Binding
	csrKey    crypto.Signer
	csr       x509.CertificateRequest
}

// answer is what an honest device would say to a challenge.
func (a *attacker) answer(c api.EnrollChallenge) *answer {
	a.t.Helper()
	signer := must(a.tpm.Signer(a.tls))(a.t)
	out := &answer{
		statement: a.statement("enroll", c.Nonce, c.Selection),
		certifier: a.ak, certified: a.tls, csrKey: signer,
		certify: attest.Binding{Purpose: "certify", Nonce: c.Nonce, DeviceID: c.DeviceID},
		csr:     x509.CertificateRequest{URIs: []*url.URL{must(url.Parse(c.URI))(a.t)}},
	}
	out.secret, _ = a.tpm.ActivateCredential(a.ak, c.CredentialBlob, c.EncryptedSecret) // fails for those who cheat
	return out
}

// statement is what an honest device would say of itself.
func (a *attacker) statement(purpose string, nonce []byte, selection map[string][]int) statement {
	a.t.Helper()
	return statement{
		Binding: attest.Binding{
			Purpose: purpose, Nonce: nonce, DeviceID: a.id, ClientKey: a.clientKey(),
			Reported: []byte(`{"firmware":{"slot":"a","version":"` + factory + `"},"update":{}}`),
		},
		ak: a.ak, selection: selection, eventLog: a.logs.EventLog, ima: a.logs.IMA,
	}
}

// clientKey is the SPKI of the device's TLS key.
func (a *attacker) clientKey() []byte {
	a.t.Helper()
	return must(x509.MarshalPKIXPublicKey(must(a.tpm.Signer(a.tls))(a.t).Public()))(a.t)
}

// quote has the TPM sign a statement.
func (a *attacker) quote(s statement) api.Evidence {
	a.t.Helper()
	e := api.Evidence{Reported: s.Reported, PCRs: api.PCRs{}}
	e.EventLog, s.Binding.EventLog = wireLog(s.eventLog)
	e.IMA, s.Binding.IMA = wireLog(s.ima)
	q := must(a.tpm.Quote(s.ak, s.QualifyingData(), s.selection))(a.t)
	e.Quote, e.Signature = q.Attest, q.Signature
	for bank, values := range q.PCRs {
		e.PCRs[bank] = map[int]string{}
		for index, value := range values {
			e.PCRs[bank][index] = hex.EncodeToString(value)
		}
	}
	return e
}

func wireLog(content []byte) (*api.Log, [sha256.Size]byte) {
	if content == nil {
		return nil, [sha256.Size]byte{}
	}
	sum := sha256.Sum256(content)
	return &api.Log{SHA256: hex.EncodeToString(sum[:]), Content: content}, sum
}

// proof carries an answer out.
func (a *attacker) proof(p *answer) (out api.EnrollProof) {
	a.t.Helper()
	out.Secret = p.secret
	var err error
	if out.CertifyInfo, out.CertifySignature, err = a.tpm.Certify(p.certifier, p.certified, p.certify.QualifyingData()); err != nil {
		a.t.Fatal(err)
	}
	out.CSR = must(x509.CreateCertificateRequest(rand.Reader, &p.csr, p.csrKey))(a.t)
	out.Evidence = a.quote(p.statement)
	return out
}

// complete answers a challenge.
func (a *attacker) complete(id string, proof api.EnrollProof) (c api.Credential, err error) {
	return c, a.anyone.Do(a.t.Context(), http.MethodPost, api.Path(api.PathEnrollComplete, id), proof, &c)
}

// tryEnroll enrols, honestly but for edit.
func (a *attacker) tryEnroll(edit ...func(*answer)) (api.Credential, error) {
	a.t.Helper()
	c, err := a.begin()
	if err != nil {
		return api.Credential{}, err
	}
	plan := a.answer(c)
	for _, e := range edit {
		e(plan)
	}
	return a.complete(c.ID, a.proof(plan))
}

// enroll enrols honestly and keeps the credential.
func (a *attacker) enroll() {
	a.t.Helper()
	a.hold(must(a.tryEnroll())(a.t))
}

// hold makes a credential the device's own.
func (a *attacker) hold(c api.Credential) {
	a.t.Helper()
	leaf := must(x509.ParseCertificate(c.Certificate))(a.t)
	a.credential, a.serial, a.nonce = c, hex.EncodeToString(leaf.SerialNumber.Bytes()), c.Nonce
	a.client = a.present(c)
}

// present is a client that shows the credential.
func (a *attacker) present(c api.Credential) *api.Client {
	a.t.Helper()
	cert := &tls.Certificate{Certificate: append([][]byte{c.Certificate}, c.Chain...), PrivateKey: must(a.tpm.Signer(a.tls))(a.t)}
	return &api.Client{Base: a.service.admin.Base, HTTP: must(a.service.client(cert))(a.t)}
}

// ask is a fresh nonce for a check-in.
func (a *attacker) ask() (n api.Nonce, err error) {
	return n, a.client.Do(a.t.Context(), http.MethodPost, api.PathNonce, nil, &n)
}

// selection that quotes must have.
func selection() map[string][]int {
	pcrs := make([]int, 16)
	for i := range pcrs {
		pcrs[i] = i
	}
	return map[string][]int{"sha256": pcrs}
}

// visit is one check-in: what is quoted, and what is sent.
type visit struct {
	statement
	after func(*api.CheckInRequest) // edits what was quoted already; nil: nothing
}

// checkIn checks in, honestly but for edit.
func (a *attacker) checkIn(edit ...func(*visit)) (out api.CheckInAnswer, err error) {
	a.t.Helper()
	if a.nonce == nil {
		n, err := a.ask()
		if err != nil {
			return out, err
		}
		a.nonce = n.Nonce
	}
	v := &visit{statement: a.statement("checkin", a.nonce, selection())}
	a.nonce = nil
	for _, e := range edit {
		e(v)
	}
	r := api.CheckInRequest{Nonce: v.Nonce, Evidence: a.quote(v.statement)}
	if v.after != nil {
		v.after(&r)
	}
	if out, err = a.send(r); err == nil {
		a.nonce = out.Nonce
	}
	return out, err
}

func (a *attacker) send(r api.CheckInRequest) (out api.CheckInAnswer, err error) {
	return out, a.client.Do(a.t.Context(), http.MethodPost, api.PathCheckIn, r, &out)
}

// renew asks for a new certificate of the key in use.
func (a *attacker) renew() (c api.Credential, err error) {
	a.t.Helper()
	uri := &url.URL{Scheme: "spiffe", Host: "troth.internal", Path: "/device/" + a.id}
	signer := must(a.tpm.Signer(a.tls))(a.t)
	csr := must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{uri}}, signer))(a.t)
	return c, a.client.Do(a.t.Context(), http.MethodPost, api.PathRenew, api.RenewRequest{CSR: csr}, &c)
}

// mustCheckIn checks in honestly and requires the verdict.
func (a *attacker) mustCheckIn(verdict string) api.CheckInAnswer {
	a.t.Helper()
	out := must(a.checkIn())(a.t)
	if out.Verdict != verdict {
		a.t.Fatalf("the verdict is %s, want %s: %v", out.Verdict, verdict, out.Findings)
	}
	return out
}

// failing are the controls that the latest posture fails.
func (a *attacker) failing() map[string]string {
	a.t.Helper()
	out := map[string]string{}
	posture := a.service.device(a.t, a.id).Posture
	if posture == nil {
		a.t.Fatal("the device has no posture")
	}
	for _, c := range posture.Controls {
		if c.Outcome == "fail" {
			out[c.ID] = c.Reason
		}
	}
	return out
}

// extend measures something into a PCR that no log tells of.
func extend(t testing.TB, a *attacker, pcr int) {
	t.Helper()
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
		Digests: tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{
			{HashAlg: tpm2.TPMAlgSHA256, Digest: bytes.Repeat([]byte{0xee}, sha256.Size)},
		}},
	}.Execute(a.link)
	if err != nil {
		t.Fatal(err)
	}
}

// edited is a JSON document with some members replaced.
func edited(t testing.TB, document []byte, members map[string]any) []byte {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(document, &m); err != nil {
		t.Fatal(err)
	}
	maps.Copy(m, members)
	return must(json.Marshal(m))(t)
}
