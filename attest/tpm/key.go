package tpm

import (
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// Key is a key of the TPM, kept outside of it. Private is encrypted by the TPM
// and of use to no other; it survives reboots, so it can be stored in a file
// (JSON encodes both as base64).
type Key struct {
	Public  []byte `json:"public"`  // TPMT_PUBLIC
	Private []byte `json:"private"` // contents of TPM2B_PRIVATE
}

// Name returns the TPM Name of the key: the hash algorithm and the hash of the
// whole public area (TPM 2.0 part 1, "Names").
func (k Key) Name() ([]byte, error) {
	pub, err := tpm2.Unmarshal[tpm2.TPMTPublic](k.Public)
	if err != nil {
		return nil, fmt.Errorf("decode key: %w", err)
	}
	name, err := tpm2.ObjectName(pub)
	if err != nil {
		return nil, fmt.Errorf("compute key name: %w", err)
	}
	return name.Buffer, nil
}

// CreateAK makes an attestation key: restricted, of the kind of WithAK (ECDSA over
// P-256 with SHA-256 if none was given), fixed to this TPM, below a storage key of
// the endorsement hierarchy.
func (t *TPM) CreateAK() (Key, error) {
	k, err := t.create(t.akKind, true)
	if err != nil {
		return Key{}, fmt.Errorf("create AK: %w", err)
	}
	return k, nil
}

// CreateTLSKey makes a key that can sign any SHA-256 digest: ECDSA over P-256,
// fixed to this TPM, beside the AK, so that the AK can certify it.
func (t *TPM) CreateTLSKey() (Key, error) {
	k, err := t.create(ECCP256, false)
	if err != nil {
		return Key{}, fmt.Errorf("create TLS key: %w", err)
	}
	return k, nil
}

func (t *TPM) create(kind AKKind, restricted bool) (k Key, err error) {
	template, err := signingTemplate(kind, restricted)
	if err != nil {
		return Key{}, err
	}
	err = t.sequence(func() error {
		parent, err := t.createPrimary(storageTemplate())
		if err != nil {
			return fmt.Errorf("create storage key: %w", err)
		}
		defer t.flush(parent)
		rsp, err := tpm2.Create{ParentHandle: parent.auth(), InPublic: tpm2.New2B(template)}.Execute(t.transport)
		if err == nil {
			k = Key{Public: rsp.OutPublic.Bytes(), Private: rsp.OutPrivate.Buffer}
		}
		return err
	})
	return k, err
}

// load puts keys into the TPM, all below one parent that is gone again when it
// returns. Nothing stays loaded after an error.
func (t *TPM) load(keys ...Key) ([]object, error) {
	parent, err := t.createPrimary(storageTemplate())
	if err != nil {
		return nil, fmt.Errorf("create storage key: %w", err)
	}
	defer t.flush(parent)
	var loaded []object
	for _, k := range keys {
		o, err := t.loadBelow(parent, k)
		if err != nil {
			for _, l := range loaded {
				t.flush(l)
			}
			return nil, fmt.Errorf("load key: %w", err)
		}
		loaded = append(loaded, o)
	}
	return loaded, nil
}

func (t *TPM) loadBelow(parent object, k Key) (object, error) {
	rsp, err := tpm2.Load{
		ParentHandle: parent.auth(),
		InPrivate:    tpm2.TPM2BPrivate{Buffer: k.Private},
		InPublic:     tpm2.BytesAs2B[tpm2.TPMTPublic](k.Public),
	}.Execute(t.transport)
	for _, rc := range []tpm2.TPMRC{tpm2.TPMRCIntegrity, tpm2.TPMRCBinding, tpm2.TPMRCSize, tpm2.TPMRCInsufficient, tpm2.TPMRCKey} {
		if errors.Is(err, rc) {
			return object{}, fmt.Errorf("%w: %w", ErrForeignKey, err)
		}
	}
	if err != nil {
		return object{}, err
	}
	return object{handle: rsp.ObjectHandle, name: rsp.Name, public: k.Public}, nil
}

// withKeys loads keys, runs f with them and unloads them.
func (t *TPM) withKeys(f func([]object) error, keys ...Key) error {
	return t.sequence(func() error {
		loaded, err := t.load(keys...)
		if err != nil {
			return err
		}
		defer func() {
			for _, o := range loaded {
				t.flush(o)
			}
		}()
		return f(loaded)
	})
}
