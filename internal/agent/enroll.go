package agent

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"troth/attest"
	"troth/internal/api"
)

// session is a connection as the device that the service knows.
type session struct {
	credential credential
	client     *api.Client
	http       *http.Client
	clientKey  []byte // PKIX SPKI of the TLS key
}

// connect uses the credential at hand while it lasts, and enrols otherwise.
func (a *Agent) connect(ctx context.Context) error {
	if done, err := a.finishRotation(ctx); done || err != nil {
		return err
	}
	c, ok, err := a.state.credential()
	if err != nil {
		return err
	}
	if err := a.adopt(c); err != nil {
		return err
	}
	if !ok || !a.Now().Before(c.NotAfter) {
		if c, err = a.enroll(ctx); err != nil {
			return fmt.Errorf("enrol: %w", err)
		}
	}
	return a.open(c)
}

func (a *Agent) open(c credential) error {
	key := a.identity.TLS
	if c.Key != nil {
		key = *c.Key
	}
	signer, err := a.tpm.Signer(key)
	if err != nil {
		return fmt.Errorf("load TLS key: %w", err)
	}
	spki, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return fmt.Errorf("encode TLS key: %w", err)
	}
	client, err := a.httpClient(&tls.Certificate{Certificate: c.Chain, PrivateKey: signer})
	if err != nil {
		return err
	}
	a.session = &session{credential: c, clientKey: spki, http: client, client: &api.Client{Base: a.Server, HTTP: client}}
	return nil
}

// requestTimeout bounds one request; downloads have their own bounds.
const requestTimeout = time.Minute

// httpClient trusts the configured CA and its successors, and shows the device's certificate
// where there is one.
func (a *Agent) httpClient(cert *tls.Certificate) (*http.Client, error) {
	roots, err := a.roots()
	if err != nil {
		return nil, err
	}
	c := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13, Time: a.serverTime}
	if cert != nil {
		c.Certificates = []tls.Certificate{*cert}
	}
	return &http.Client{Timeout: requestTimeout, Transport: &http.Transport{
		TLSClientConfig: c, ForceAttemptHTTP2: true, IdleConnTimeout: 5 * time.Minute, MaxIdleConns: 2,
	}}, nil
}

// enroll proves to the service which TPM this is and returns the credential
// that it issues (DESIGN.md, section 4).
func (a *Agent) enroll(ctx context.Context) (credential, error) {
	transport, err := a.httpClient(nil)
	if err != nil {
		return credential{}, err
	}
	defer transport.CloseIdleConnections()
	client := &api.Client{Base: a.Server, HTTP: transport}
	ek := a.identity.EK
	request := api.EnrollRequest{
		EKCertificate: ek.Certificate, EKPublic: ek.Public, EKChain: ek.Chain, EKTemplate: ek.StoredTemplate, EKNonce: ek.Nonce,
		AKPublic: a.identity.AK.Public, TLSPublic: a.identity.TLS.Public, Model: a.Model, Name: a.Name,
	}
	made := a.devID()
	if made != nil {
		request.IDevIDPublic, request.IDevIDChain = made.Public, made.Chain
	}
	var challenge api.EnrollChallenge
	if err := client.Do(ctx, http.MethodPost, api.PathEnrollments, request, &challenge); err != nil {
		return credential{}, err
	}
	proof, err := a.prove(challenge)
	if err != nil {
		return credential{}, err
	}
	if err := a.proveDevID(made, challenge, &proof); err != nil {
		return credential{}, err
	}
	var issued api.Credential
	if err := client.Do(ctx, http.MethodPost, api.Path(api.PathEnrollComplete, challenge.ID), proof, &issued); err != nil {
		return credential{}, err
	}
	a.nonce = issued.Nonce
	a.hold(proof.Evidence)
	c, err := a.keep(issued, challenge.URI)
	if err == nil {
		a.Log.Info("enrolled", "device", c.DeviceID, "not_after", c.NotAfter)
	}
	return c, err
}

// prove answers a challenge with what only this TPM can make.
func (a *Agent) prove(c api.EnrollChallenge) (api.EnrollProof, error) {
	secret, err := a.tpm.ActivateCredential(a.identity.AK, c.CredentialBlob, c.EncryptedSecret)
	if err != nil {
		return api.EnrollProof{}, fmt.Errorf("activate credential: %w", err)
	}
	certify := attest.Binding{Purpose: "certify", Nonce: c.Nonce, DeviceID: c.DeviceID}
	info, signature, err := a.tpm.Certify(a.identity.AK, a.identity.TLS, certify.QualifyingData())
	if err != nil {
		return api.EnrollProof{}, fmt.Errorf("certify TLS key: %w", err)
	}
	signer, err := a.tpm.Signer(a.identity.TLS)
	if err != nil {
		return api.EnrollProof{}, fmt.Errorf("load TLS key: %w", err)
	}
	csr, err := request(signer, c.URI)
	if err != nil {
		return api.EnrollProof{}, err
	}
	spki, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return api.EnrollProof{}, fmt.Errorf("encode TLS key: %w", err)
	}
	evidence, err := a.evidence("enroll", c.DeviceID, c.Nonce, spki, c.Selection)
	return api.EnrollProof{Secret: secret, Evidence: evidence, CertifyInfo: info, CertifySignature: signature, CSR: csr}, err
}

// request is a PKCS #10 request for the SPIFFE ID, and for nothing else.
func request(signer crypto.Signer, uri string) ([]byte, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return nil, fmt.Errorf("parse SPIFFE ID: %w", err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{u}}, signer)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	return csr, nil
}

// keep stores an issued credential.
func (a *Agent) keep(issued api.Credential, uri string) (credential, error) {
	c, err := credentialOf(issued, uri)
	if err != nil {
		return credential{}, err
	}
	return c, a.state.write(credentialFile, c)
}

func credentialOf(issued api.Credential, uri string) (credential, error) {
	leaf, err := x509.ParseCertificate(issued.Certificate)
	if err != nil {
		return credential{}, fmt.Errorf("read issued certificate: %w", err)
	}
	return credential{
		DeviceID: issued.DeviceID, URI: uri, Chain: append([][]byte{issued.Certificate}, issued.Chain...),
		NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
	}, nil
}
