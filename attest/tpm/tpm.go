package tpm

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"troth/attest/ek/template"
)

// TPM issues the commands of attestation to one TPM. It is safe for concurrent
// use: a mutex holds the whole sequence of commands of one call together, and
// every call flushes the objects and sessions that it loaded.
type TPM struct {
	mu        sync.Mutex
	transport transport.TPM
	closer    io.Closer // nil if the transport cannot be closed
	onlyEK    template.ID
	akKind    AKKind
	ek        *endorsementKey // what the first call of EK found
}

// New returns a TPM over t. Close closes t if it can be closed.
func New(t transport.TPM, options ...Option) *TPM {
	closer, _ := t.(io.Closer)
	tpm := &TPM{transport: channel{t}, closer: closer}
	for _, o := range options {
		o(tpm)
	}
	return tpm
}

// Close closes the transport.
func (t *TPM) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closer == nil {
		return nil
	}
	if err := t.closer.Close(); err != nil {
		return fmt.Errorf("close TPM: %w", err)
	}
	return nil
}

// object is a loaded key. A persistent object is left where it is by flush.
type object struct {
	handle     tpm2.TPMHandle
	name       tpm2.TPM2BName
	public     []byte
	persistent bool
}

// auth is the handle with the empty password that all keys of ours have.
func (o object) auth() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: o.handle, Name: o.name, Auth: tpm2.PasswordAuth(nil)}
}

// flush unloads o. Its error says nothing that the caller could act on: the
// command that used the object has succeeded or failed before.
func (t *TPM) flush(o object) {
	if !o.persistent {
		_, _ = tpm2.FlushContext{FlushHandle: o.handle}.Execute(t.transport)
	}
}

// createPrimary makes the primary object of a template in the endorsement
// hierarchy. Attestation keys live there because the TPM shows the true reset
// and restart counts only to keys of the endorsement and platform hierarchies
// (TPM 2.0 part 1, "Obfuscated Values").
func (t *TPM) createPrimary(template tpm2.TPMTPublic) (object, error) {
	rsp, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(template),
	}.Execute(t.transport)
	if err != nil {
		return object{}, err
	}
	return object{handle: rsp.ObjectHandle, name: rsp.Name, public: rsp.OutPublic.Bytes()}, nil
}

// sequence runs the commands of one call, alone. If the TPM has no room left,
// objects and sessions that a killed program left behind are flushed and f runs
// once more, so f must be repeatable. Behind the kernel's resource manager
// nothing of others is ever seen here.
func (t *TPM) sequence(f func() error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := f()
	for _, rc := range []tpm2.TPMRC{tpm2.TPMRCObjectMemory, tpm2.TPMRCSessionMemory, tpm2.TPMRCMemory} {
		if errors.Is(err, rc) {
			t.flushLeftovers()
			return explain(f())
		}
	}
	return explain(err)
}

func (t *TPM) flushLeftovers() {
	const transientFirst, loadedSessionFirst = 0x80000000, 0x02000000
	for _, first := range []uint32{transientFirst, loadedSessionFirst} {
		rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 64}.Execute(t.transport)
		if err != nil {
			continue
		}
		handles, err := rsp.CapabilityData.Data.Handles()
		if err != nil {
			continue
		}
		for _, h := range handles.Handle {
			t.flush(object{handle: h})
		}
	}
}
