package tpm

import (
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// Certify has ak attest that key is in this TPM with the attributes of its
// public area (TPM2_Certify). It returns the TPMS_ATTEST and the
// TPMT_SIGNATURE over it. qualifyingData is the verifier's, 1 to 64 bytes.
func (t *TPM) Certify(ak, key Key, qualifyingData []byte) (certifyInfo, signature []byte, err error) {
	if len(qualifyingData) == 0 {
		return nil, nil, errors.New("certify key: no qualifying data")
	}
	err = t.withKeys(func(loaded []object) error {
		rsp, err := tpm2.Certify{
			ObjectHandle:   loaded[1].auth(),
			SignHandle:     loaded[0].auth(),
			QualifyingData: tpm2.TPM2BData{Buffer: qualifyingData},
			InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
		}.Execute(t.transport)
		if err == nil {
			certifyInfo, signature = rsp.CertifyInfo.Bytes(), tpm2.Marshal(rsp.Signature)
		}
		return err
	}, ak, key)
	if err != nil {
		return nil, nil, fmt.Errorf("certify key: %w", err)
	}
	return certifyInfo, signature, nil
}
