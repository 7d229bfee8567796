package tpm

import (
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// maxNV bounds what is read from one NV index: EK certificates are 1 to 2 KiB.
const maxNV = 16 << 10

// readNV returns the contents of an NV index, nil if it is not defined or was
// never written.
func (t *TPM) readNV(index tpm2.TPMHandle) ([]byte, error) {
	pub, err := tpm2.NVReadPublic{NVIndex: index}.Execute(t.transport)
	if errors.Is(err, tpm2.TPMRCHandle) || errors.Is(err, tpm2.TPMRCValue) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read public area of NV index %#x: %w", uint32(index), err)
	}
	info, err := pub.NVPublic.Contents()
	if err != nil {
		return nil, fmt.Errorf("decode public area of NV index %#x: %w", uint32(index), err)
	}
	if !info.Attributes.Written {
		return nil, nil
	}
	size := int(info.DataSize)
	if size > maxNV {
		return nil, fmt.Errorf("read NV index %#x: %d bytes are more than %d", uint32(index), size, maxNV)
	}
	// The index authorizes its own reading with its empty password, except
	// where the manufacturer allowed only the owner.
	auth := tpm2.AuthHandle{Handle: index, Name: pub.NVName, Auth: tpm2.PasswordAuth(nil)}
	if !info.Attributes.AuthRead {
		auth = tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}
	}
	chunk := t.nvChunk()
	data := make([]byte, 0, size)
	for len(data) < size {
		rsp, err := tpm2.NVRead{
			AuthHandle: auth,
			NVIndex:    tpm2.NamedHandle{Handle: index, Name: pub.NVName},
			Size:       uint16(min(chunk, size-len(data))),
			Offset:     uint16(len(data)),
		}.Execute(t.transport)
		if err != nil {
			return nil, fmt.Errorf("read NV index %#x: %w", uint32(index), err)
		}
		if len(rsp.Data.Buffer) == 0 {
			return nil, fmt.Errorf("read NV index %#x: TPM returned no data at offset %d", uint32(index), len(data))
		}
		data = append(data, rsp.Data.Buffer...)
	}
	return data, nil
}

// readChain returns what the indices of the EK certificates' chain hold, nil if
// there are none (EK Credential Profile, 2.2.1.5). Indices that cannot be read with
// the authorizations of this package are left out.
func (t *TPM) readChain() ([]byte, error) { return t.readRange(0x01c00100, 0x01c001ff) }

// readRange returns what the indices from first to last hold, one after the other,
// nil if there are none, and leaves out those that are not for us to read.
func (t *TPM) readRange(first, last tpm2.TPMHandle) ([]byte, error) {
	const most = 64 << 10
	rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: uint32(first), PropertyCount: uint32(last-first) + 1}.Execute(t.transport)
	if err != nil {
		return nil, fmt.Errorf("list NV indices: %w", err)
	}
	handles, err := rsp.CapabilityData.Data.Handles()
	if err != nil {
		return nil, fmt.Errorf("list NV indices: %w", err)
	}
	var chain []byte
	for _, index := range handles.Handle {
		if index < first || index > last {
			continue
		}
		part, err := t.readNV(index)
		if err != nil && !denied(err) {
			return nil, err
		}
		if chain = append(chain, part...); len(chain) > most {
			return nil, fmt.Errorf("certificates in NV memory from index %#x on are longer than %d bytes", uint32(first), most)
		}
	}
	return chain, nil
}

// denied reports whether an index is not for us to read. A device can enrol
// without its chain, if the verifier has the intermediates.
func denied(err error) bool {
	for _, rc := range []tpm2.TPMRC{
		tpm2.TPMRCNVAuthorization, tpm2.TPMRCNVLocked, tpm2.TPMRCAuthFail, tpm2.TPMRCBadAuth, tpm2.TPMRCAuthType, tpm2.TPMRCAuthUnavailable,
	} {
		if errors.Is(err, rc) {
			return true
		}
	}
	return false
}

// nvChunk is how much the TPM returns at once (TPM_PT_NV_BUFFER_MAX), in bytes.
func (t *TPM) nvChunk() int {
	const least = 256
	rsp, err := tpm2.GetCapability{
		Capability:    tpm2.TPMCapTPMProperties,
		Property:      uint32(tpm2.TPMPTNVBufferMax),
		PropertyCount: 1,
	}.Execute(t.transport)
	if err != nil {
		return least
	}
	props, err := rsp.CapabilityData.Data.TPMProperties()
	if err != nil || len(props.TPMProperty) != 1 || props.TPMProperty[0].Property != tpm2.TPMPTNVBufferMax {
		return least
	}
	return max(least, min(int(props.TPMProperty[0].Value), 2048))
}
