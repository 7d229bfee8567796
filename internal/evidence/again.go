package evidence

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"troth/attest"
	"troth/attest/ima"
)

// Again appraises kept evidence anew, from the document and the blobs that it
// names and nothing else: what an auditor can do years later, without the
// service and whatever it remembered of the device. Whether files were known and
// clocks ran forward is not part of it.
func Again(ctx context.Context, blobs Blobs, document []byte) (attest.Result, error) {
	var d Document
	if err := json.Unmarshal(document, &d); err != nil {
		return attest.Result{}, fmt.Errorf("read evidence: %w", err)
	}
	eventLog, err := resolve(ctx, blobs, "event log", byDigest(d.EventLog))
	if err != nil {
		return attest.Result{}, err
	}
	sent, err := resolve(ctx, blobs, "IMA list", byDigest(d.IMA))
	if err != nil {
		return attest.Result{}, err
	}
	userspace, err := resolve(ctx, blobs, "userspace log", byDigest(d.Userspace))
	if err != nil {
		return attest.Result{}, err
	}
	var before []byte
	for _, digest := range d.IMABefore {
		piece, err := resolve(ctx, blobs, "IMA list", byDigest(digest))
		if err != nil {
			return attest.Result{}, err
		}
		before = append(before, piece.content...)
	}
	list := sent.content
	if d.IMAFrom > 0 {
		list = slices.Concat(before, sent.content)
	}
	if at, err := ima.Offset(list, d.IMAFrom); d.IMA != "" && (err != nil || at != len(before)) {
		return attest.Result{}, fmt.Errorf("read evidence: the IMA list does not continue at entry %d: %w", d.IMAFrom, err)
	}
	pcrs, err := parsePCRs(d.PCRs)
	if err != nil {
		return attest.Result{}, err
	}
	return attest.Appraise(attest.Evidence{
		AK: d.AK, Quote: d.Quote, Signature: d.Signature, PCRs: pcrs, EventLog: eventLog.content, IMA: list,
		UserspaceLog: userspace.content,
	}, want(attest.Binding{
		Purpose: d.Purpose, Nonce: d.Nonce, DeviceID: string(d.Device), ClientKey: d.ClientKey,
		Reported: d.Reported, EventLog: eventLog.sum, IMA: sent.sum, IMAFrom: uint64(max(0, d.IMAFrom)),
		Userspace: userspace.sum,
	})), nil
}

func byDigest(digest string) *Log {
	if _, err := hex.DecodeString(digest); err != nil || digest == "" {
		return nil
	}
	return &Log{SHA256: digest}
}
