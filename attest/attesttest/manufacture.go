package attesttest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"troth/attest/ek/template"
)

const stateFile = "tpm2-00.permall"

// NewTPM manufactures a TPM whose state is in dir, or opens the one that is
// there. A new one has an RSA-2048 EK (template L-1) and an ECC P-384 EK with
// certificates, a platform certificate, and PCR banks for SHA-1, SHA-256 and
// SHA-384. It is not started.
func (m *Manufacturer) NewTPM(ctx context.Context, dir string) (*SWTPM, error) {
	return m.newTPM(ctx, dir, func(state string) error {
		return m.setup(ctx, state, "--create-ek-cert", "--create-platform-cert", "--lock-nvram")
	})
}

// NewECCTPM is like NewTPM for a TPM whose only EK certificate is for the ECC
// P-256 key of template L-2. It takes a fraction of the time, because the TPM
// need not search for primes.
func (m *Manufacturer) NewECCTPM(ctx context.Context, dir string) (*SWTPM, error) {
	return m.NewTPMWith(ctx, dir, Factory{EKs: []FactoryEK{{Template: template.L2}}})
}

// NewRSA3072TPM is like NewTPM with an RSA-3072 EK (template H-6) in place of the
// RSA-2048 one.
func (m *Manufacturer) NewRSA3072TPM(ctx context.Context, dir string) (*SWTPM, error) {
	return m.newTPM(ctx, dir, func(state string) error {
		return m.setup(ctx, state, "--create-ek-cert", "--lock-nvram", "--rsa-keysize", "3072")
	})
}

// NewBareTPM is like NewTPM for a TPM without any certificate, as there are
// many in the field.
func (m *Manufacturer) NewBareTPM(ctx context.Context, dir string) (*SWTPM, error) {
	return m.newTPM(ctx, dir, func(state string) error { return m.setup(ctx, state) })
}

// newTPM manufactures beside dir and renames at the end, so that dir never
// holds half a TPM.
func (m *Manufacturer) newTPM(ctx context.Context, dir string, manufacture func(state string) error) (*SWTPM, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("manufacture TPM: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, stateFile)); err == nil {
		return &SWTPM{state: dir}, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open TPM: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return nil, fmt.Errorf("manufacture TPM: %w", err)
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), ".tpm-")
	if err != nil {
		return nil, fmt.Errorf("manufacture TPM: %w", err)
	}
	defer os.RemoveAll(work)
	if err := manufacture(work); err != nil {
		return nil, fmt.Errorf("manufacture TPM: %w", err)
	}
	if err := os.Rename(work, dir); err != nil {
		return nil, fmt.Errorf("manufacture TPM: %w", err)
	}
	return &SWTPM{state: dir}, nil
}

func (m *Manufacturer) setup(ctx context.Context, state string, options ...string) error {
	args := []string{"--tpm2", "--tpmstate", state, "--pcr-banks", "sha1,sha256,sha384", "--config", m.file("swtpm_setup.conf")}
	return run(ctx, "swtpm_setup", append(args, options...)...)
}

// writePlatformNV defines an index with the attributes that the EK Credential
// Profile asks for (2.2.1.5) and writes and locks it.
func writePlatformNV(t transport.TPM, index tpm2.TPMHandle, data []byte) error {
	platform := func() tpm2.AuthHandle {
		return tpm2.AuthHandle{Handle: tpm2.TPMRHPlatform, Auth: tpm2.PasswordAuth(nil)}
	}
	_, err := tpm2.NVDefineSpace{
		AuthHandle: platform(),
		PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
			NVIndex: index,
			NameAlg: tpm2.TPMAlgSHA256,
			Attributes: tpm2.TPMANV{
				PPWrite: true, WriteDefine: true, PPRead: true, OwnerRead: true, AuthRead: true,
				NoDA: true, PlatformCreate: true,
			},
			DataSize: uint16(len(data)),
		}),
	}.Execute(t)
	if err != nil {
		return err
	}
	pub, err := tpm2.NVReadPublic{NVIndex: index}.Execute(t)
	if err != nil {
		return err
	}
	name := pub.NVName
	for offset := 0; offset < len(data); offset += 512 {
		_, err := tpm2.NVWrite{
			AuthHandle: platform(),
			NVIndex:    tpm2.NamedHandle{Handle: index, Name: name},
			Data:       tpm2.TPM2BMaxNVBuffer{Buffer: data[offset:min(offset+512, len(data))]},
			Offset:     uint16(offset),
		}.Execute(t)
		if err != nil {
			return err
		}
	}
	_, err = tpm2.NVWriteLock{AuthHandle: platform(), NVIndex: tpm2.NamedHandle{Handle: index, Name: name}}.Execute(t)
	return err
}
