package attesttest

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// ErrNotReset is returned by Boot for a TPM that has measured a boot since its
// last reset.
var ErrNotReset = errors.New("TPM was not reset")

// BootLogs is what a booted system exports for a verifier.
type BootLogs struct {
	EventLog []byte // binary_bios_measurements
	IMA      []byte // ascii_runtime_measurements
}

// Boot does to the TPM what firmware, boot loader and kernel do during a boot:
// it extends PCRs 0 to 9 in the SHA-1, SHA-256 and SHA-384 banks, then PCR 10
// as IMA does for boot_aggregate and the image's files. The TPM must have been
// started and not used for a boot since (see SWTPM.PowerCycle).
func Boot(t transport.TPM, p Platform, i Image) (BootLogs, error) {
	before, err := readPCRs(t)
	if err != nil {
		return BootLogs{}, fmt.Errorf("boot: %w", err)
	}
	for pcr, value := range before {
		if !bytes.Equal(value, make([]byte, len(value))) {
			return BootLogs{}, fmt.Errorf("boot: %w: PCR %d is %x", ErrNotReset, pcr, value)
		}
	}
	list := events(p, i)
	for _, e := range list {
		if err := extend(t, e.pcr, e.measured); err != nil {
			return BootLogs{}, fmt.Errorf("boot: %w", err)
		}
	}
	logs := BootLogs{EventLog: encodeLog(list)}
	values, err := readPCRs(t)
	if err != nil {
		return BootLogs{}, fmt.Errorf("boot: %w", err)
	}
	// boot_aggregate covers PCR 0 to 9 (Linux, ima_calc_boot_aggregate_tfm).
	aggregate := sum256(bytes.Join(values[:10], nil))
	if logs.IMA, err = measure(t, logs.IMA, "boot_aggregate", aggregate); err != nil {
		return BootLogs{}, fmt.Errorf("boot: %w", err)
	}
	for _, f := range i.Files {
		if logs.IMA, err = MeasureFile(t, logs.IMA, f); err != nil {
			return BootLogs{}, fmt.Errorf("boot: %w", err)
		}
	}
	return logs, nil
}

// Reference predicts the SHA-256 values of PCRs 0 to 9 after Boot. It needs no
// TPM: these are the reference values of a firmware release.
func Reference(p Platform, i Image) map[int][]byte {
	pcrs := make(map[int][]byte)
	for pcr := range 10 {
		pcrs[pcr] = make([]byte, 32)
	}
	for _, e := range events(p, i) {
		pcrs[e.pcr] = sum256(append(pcrs[e.pcr], sum256(e.measured)...))
	}
	return pcrs
}

// extend extends a PCR with the digests of data in all banks.
func extend(t transport.TPM, pcr int, data []byte) error {
	var digests tpm2.TPMLDigestValues
	for _, b := range banks() {
		digests.Digests = append(digests.Digests, tpm2.TPMTHA{HashAlg: b.alg, Digest: b.sum(data)})
	}
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
		Digests:   digests,
	}.Execute(t)
	if err != nil {
		return fmt.Errorf("extend PCR %d: %w", pcr, err)
	}
	return nil
}

// readPCRs reads PCRs 0 to 10 of the SHA-256 bank.
func readPCRs(t transport.TPM) ([][]byte, error) {
	var values [][]byte
	for _, bitmap := range [][]byte{{0xff, 0, 0}, {0, 0x07, 0}} { // eight at most at once
		rsp, err := tpm2.PCRRead{PCRSelectionIn: tpm2.TPMLPCRSelection{
			PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: bitmap}},
		}}.Execute(t)
		if err != nil {
			return nil, fmt.Errorf("read PCRs: %w", err)
		}
		for _, d := range rsp.PCRValues.Digests {
			values = append(values, d.Buffer)
		}
	}
	if len(values) != 11 {
		return nil, fmt.Errorf("read PCRs: TPM returned %d values of the SHA-256 bank", len(values))
	}
	return values, nil
}
