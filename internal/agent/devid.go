package agent

import (
	"encoding/pem"
	"fmt"
	"os"

	"troth/attest"
	"troth/attest/tpm"
	"troth/internal/api"
)

// devID is the IDevID or else the IAK that the device's manufacturer left in the
// TPM, nil if there is none. One that cannot be used is no reason not to enrol by
// the EK: the service decides what it asks for.
func (a *Agent) devID() *tpm.DevID {
	if a.withoutDevID {
		return nil
	}
	chain, err := a.devIDChain()
	if err != nil {
		a.Log.Warn("the manufacturer's certificates cannot be read", "error", err)
		return nil
	}
	for _, kind := range []tpm.DevIDKind{tpm.IDevID, tpm.IAK} {
		d, err := a.tpm.DevID(kind, tpm.DevIDSource{Chain: chain, Handle: a.IDevIDHandle})
		switch {
		case err != nil:
			a.Log.Warn("what the manufacturer certified cannot be shown", "kind", string(kind), "error", err)
		case d != nil:
			return d
		}
	}
	return nil
}

// devIDChain reads the configured file, PEM or DER; nil: the TPM's NV memory has
// the certificates.
func (a *Agent) devIDChain() ([]byte, error) {
	if a.IDevIDChain == "" {
		return nil, nil
	}
	const most = 64 << 10
	text, err := os.ReadFile(a.IDevIDChain)
	if err != nil {
		return nil, err
	}
	if len(text) > 2*most { // PEM takes a third more
		return nil, fmt.Errorf("%s is longer than %d bytes", a.IDevIDChain, 2*most)
	}
	chain := []byte{}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		chain = append(chain, block.Bytes...)
	}
	if len(chain) == 0 {
		chain = text
	}
	return chain, nil
}

// proveDevID has the attestation key certify the manufacturer's key. Where the TPM
// does not, the next attempt to enrol goes without it.
func (a *Agent) proveDevID(d *tpm.DevID, c api.EnrollChallenge, proof *api.EnrollProof) (err error) {
	if d == nil {
		return nil
	}
	binding := attest.Binding{Purpose: "certify-idevid", Nonce: c.Nonce, DeviceID: c.DeviceID}
	proof.IDevIDCertifyInfo, proof.IDevIDCertifySignature, err = a.tpm.CertifyDevID(a.identity.AK, d, binding.QualifyingData())
	if err != nil {
		a.withoutDevID = true
	}
	return err
}
