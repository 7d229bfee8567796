package tpm

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/go-tpm/tpm2"
)

// pcrCount is the number of PCRs of a PC Client TPM.
const pcrCount = 24

// quoteAttempts bounds how often a quote is repeated because a PCR moved
// between it and the reading of the PCRs, as PCR 10 does under IMA.
const quoteAttempts = 8

// Quote is a signed statement of a TPM about its PCRs.
type Quote struct {
	Attest    []byte                    // TPMS_ATTEST
	Signature []byte                    // TPMT_SIGNATURE by the AK
	PCRs      map[string]map[int][]byte // the values that were quoted: bank, index, digest
}

// Quote has ak sign the PCRs of selection (bank "sha1", "sha256" or "sha384" to
// indices 0 to 23) together with qualifyingData (1 to 64 bytes). The values in
// the answer are those that were signed. A bank that the TPM does not have is
// an error, as is a PCR that changes faster than it can be read.
func (t *TPM) Quote(ak Key, qualifyingData []byte, selection map[string][]int) (Quote, error) {
	if len(qualifyingData) == 0 {
		return Quote{}, errors.New("quote: no qualifying data")
	}
	want, err := encodeSelection(selection)
	if err != nil {
		return Quote{}, fmt.Errorf("quote: %w", err)
	}
	var q Quote
	err = t.withKeys(func(loaded []object) error {
		for range quoteAttempts {
			var same bool
			if q, same, err = t.quoteOnce(loaded[0], qualifyingData, want); err != nil || same {
				return err
			}
		}
		return fmt.Errorf("PCRs changed during each of %d quotes", quoteAttempts)
	}, ak)
	if err != nil {
		return Quote{}, fmt.Errorf("quote: %w", err)
	}
	return q, nil
}

// quoteOnce reports in same whether the PCRs read are those that were quoted.
func (t *TPM) quoteOnce(ak object, qualifyingData []byte, want tpm2.TPMLPCRSelection) (q Quote, same bool, err error) {
	rsp, err := tpm2.Quote{
		SignHandle:     ak.auth(),
		QualifyingData: tpm2.TPM2BData{Buffer: qualifyingData},
		InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
		PCRSelect:      want,
	}.Execute(t.transport)
	if err != nil {
		return Quote{}, false, err
	}
	attest, err := rsp.Quoted.Contents()
	if err != nil {
		return Quote{}, false, fmt.Errorf("decode attest: %w", err)
	}
	info, err := attest.Attested.Quote()
	if err != nil {
		return Quote{}, false, fmt.Errorf("decode quote: %w", err)
	}
	if !bytes.Equal(tpm2.Marshal(info.PCRSelect), tpm2.Marshal(want)) {
		return Quote{}, false, errors.New("TPM does not have all selected PCR banks")
	}
	pcrs, ordered, err := t.readPCRs(want)
	if err != nil {
		return Quote{}, false, err
	}
	// The digest of the PCRs follows the signing scheme (TPM 2.0 part 3,
	// TPM2_Quote).
	hash, err := schemeHash(ak.public)
	if err != nil {
		return Quote{}, false, err
	}
	digest := hash.New()
	digest.Write(bytes.Join(ordered, nil))
	q = Quote{Attest: rsp.Quoted.Bytes(), Signature: tpm2.Marshal(rsp.Signature), PCRs: pcrs}
	return q, bytes.Equal(digest.Sum(nil), info.PCRDigest.Buffer), nil
}

// PCRs reads PCRs without a signature. The values of different banks may be of
// different moments.
func (t *TPM) PCRs(selection map[string][]int) (map[string]map[int][]byte, error) {
	want, err := encodeSelection(selection)
	if err != nil {
		return nil, fmt.Errorf("read PCRs: %w", err)
	}
	var pcrs map[string]map[int][]byte
	err = t.sequence(func() (err error) {
		pcrs, _, err = t.readPCRs(want)
		return err
	})
	return pcrs, err
}

// readPCRs returns the values of a selection by bank and index, and in the
// order of the selection. TPM2_PCR_Read returns at most eight values at once.
func (t *TPM) readPCRs(want tpm2.TPMLPCRSelection) (pcrs map[string]map[int][]byte, ordered [][]byte, err error) {
	pcrs = make(map[string]map[int][]byte)
	for _, s := range want.PCRSelections {
		bank, indices := bankName(s.Hash), decodeBitmap(s.PCRSelect)
		pcrs[bank] = make(map[int][]byte)
		for part := range slices.Chunk(indices, 8) {
			rsp, err := tpm2.PCRRead{PCRSelectionIn: selectOne(s.Hash, part)}.Execute(t.transport)
			if err != nil {
				return nil, nil, fmt.Errorf("read PCRs: %w", err)
			}
			if len(rsp.PCRValues.Digests) != len(part) {
				return nil, nil, fmt.Errorf("read PCRs: TPM returned %d values of bank %s for %d", len(rsp.PCRValues.Digests), bank, len(part))
			}
			for i, d := range rsp.PCRValues.Digests {
				pcrs[bank][part[i]] = d.Buffer
				ordered = append(ordered, d.Buffer)
			}
		}
	}
	return pcrs, ordered, nil
}

// encodeSelection writes a selection with the banks in the order sha1, sha256,
// sha384, so that equal selections are equal bytes.
func encodeSelection(selection map[string][]int) (tpm2.TPMLPCRSelection, error) {
	var out tpm2.TPMLPCRSelection
	for _, bank := range slices.Sorted(maps.Keys(selection)) {
		alg, ok := bankAlgorithm(bank)
		if !ok {
			return out, fmt.Errorf("unknown PCR bank %q", bank)
		}
		if len(selection[bank]) == 0 {
			return out, fmt.Errorf("no PCR selected in bank %s", bank)
		}
		for _, i := range selection[bank] {
			if i < 0 || i >= pcrCount {
				return out, fmt.Errorf("no PCR %d", i)
			}
		}
		out.PCRSelections = append(out.PCRSelections, selectOne(alg, selection[bank]).PCRSelections...)
	}
	if len(out.PCRSelections) == 0 {
		return out, errors.New("no PCR selected")
	}
	return out, nil
}

func selectOne(alg tpm2.TPMAlgID, indices []int) tpm2.TPMLPCRSelection {
	bitmap := make([]byte, pcrCount/8)
	for _, i := range indices {
		bitmap[i/8] |= 1 << (i % 8)
	}
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: alg, PCRSelect: bitmap}}}
}

func decodeBitmap(bitmap []byte) []int {
	var indices []int
	for i := range len(bitmap) * 8 {
		if bitmap[i/8]&(1<<(i%8)) != 0 {
			indices = append(indices, i)
		}
	}
	return indices
}

func bankAlgorithm(name string) (tpm2.TPMAlgID, bool) {
	switch name {
	case "sha1":
		return tpm2.TPMAlgSHA1, true
	case "sha256":
		return tpm2.TPMAlgSHA256, true
	case "sha384":
		return tpm2.TPMAlgSHA384, true
	}
	return 0, false
}

func bankName(alg tpm2.TPMAlgID) string {
	switch alg {
	case tpm2.TPMAlgSHA1:
		return "sha1"
	case tpm2.TPMAlgSHA256:
		return "sha256"
	}
	return "sha384"
}
