package attesttest

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"

	"troth/attest/ek/template"
)

// Factory is what a manufacturer leaves in a TPM, for TPMs that swtpm_setup does
// not make.
type Factory struct {
	EKs    []FactoryEK
	DevIDs []FactoryDevID
	Chain  bool // the issuing CA's certificate, in the NV index 0x01c00100
}

// FactoryEK is an endorsement key that gets a certificate.
type FactoryEK struct {
	Template template.ID
	Nonce    []byte // of the low range; kept in its NV index, unless Stored
	Stored   bool   // the whole template, with the nonce in it, in its NV index
}

// NewTPMWith is like NewTPM for a TPM with these EK certificates and no other.
func (m *Manufacturer) NewTPMWith(ctx context.Context, dir string, f Factory) (*SWTPM, error) {
	return m.newTPM(ctx, dir, func(state string) error {
		if err := m.setup(ctx, state); err != nil {
			return err
		}
		return m.install(ctx, state, f)
	})
}

// install writes NV memory as the factory would: with platform authorization.
func (m *Manufacturer) install(ctx context.Context, state string, f Factory) (err error) {
	s := &SWTPM{state: state}
	if err := s.Start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	t, err := linuxudstpm.Open(s.socket())
	if err != nil {
		return err
	}
	defer t.Close()
	for _, e := range f.EKs {
		if err := m.Install(ctx, t, e); err != nil {
			return err
		}
	}
	for _, d := range f.DevIDs {
		if _, _, err := m.InstallDevID(t, d); err != nil {
			return err
		}
	}
	if !f.Chain {
		return nil
	}
	text, err := os.ReadFile(m.file(issuerCert))
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return errors.New("issuer's certificate is not PEM")
	}
	return writePlatformNV(t, 0x01c00100, block.Bytes)
}

// Install gives a running TPM the certificate of one more EK, as a maker does by
// an update in the field.
func (m *Manufacturer) Install(ctx context.Context, t transport.TPM, e FactoryEK) error {
	if err := m.installEK(ctx, t, e); err != nil {
		return fmt.Errorf("install EK %s: %w", e.Template, err)
	}
	return nil
}

func (m *Manufacturer) installEK(ctx context.Context, t transport.TPM, e FactoryEK) error {
	kind, ok := template.Find(e.Template)
	if !ok {
		return errors.New("unknown template")
	}
	input, err := kind.Public(e.Nonce)
	if err != nil {
		return err
	}
	rsp, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(input),
	}.Execute(t)
	if err != nil {
		return err
	}
	if _, err := (tpm2.FlushContext{FlushHandle: rsp.ObjectHandle}).Execute(t); err != nil {
		return err
	}
	cert, err := m.endorse(ctx, rsp.OutPublic)
	if err != nil {
		return err
	}
	contents := map[tpm2.TPMHandle][]byte{kind.Certificate: cert}
	if e.Stored {
		contents[kind.Stored] = tpm2.Marshal(input)
	} else if len(e.Nonce) > 0 {
		contents[kind.Nonce] = e.Nonce
	}
	for index, data := range contents {
		if err := writePlatformNV(t, index, data); err != nil {
			return fmt.Errorf("write NV index %#x: %w", uint32(index), err)
		}
	}
	return nil
}

func (m *Manufacturer) endorse(ctx context.Context, public tpm2.TPM2BPublic) ([]byte, error) {
	if m.crls != "" {
		return m.certifyEK(public)
	}
	parameter, err := keyParameter(public)
	if err != nil {
		return nil, err
	}
	return m.signEK(ctx, parameter)
}

// keyParameter describes a key to swtpm_localca.
func keyParameter(public tpm2.TPM2BPublic) (string, error) {
	pub, err := public.Contents()
	if err != nil {
		return "", err
	}
	if pub.Type == tpm2.TPMAlgRSA {
		modulus, err := pub.Unique.RSA()
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%x", modulus.Buffer), nil
	}
	point, err := pub.Unique.ECC()
	if err != nil {
		return "", err
	}
	params, err := pub.Parameters.ECCDetail()
	if err != nil {
		return "", err
	}
	curve := "secp256r1"
	if params.CurveID == tpm2.TPMECCNistP384 {
		curve = "secp384r1"
	}
	return fmt.Sprintf("x=%x,y=%x,id=%s", point.X.Buffer, point.Y.Buffer, curve), nil
}
