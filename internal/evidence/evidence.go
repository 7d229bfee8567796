// Package evidence turns what a device submits into what policies decide on,
// and into the document that an auditor can appraise again.
//
// Enrolment and check-in share it: both receive a quote that binds a nonce, the
// device, its TLS key, what it reports and its measurement logs
// (attest.Binding), and both keep the same document of it.
package evidence

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"troth/attest"
	"troth/attest/eventlog"
	"troth/internal/fleet"
)

// Selection is the set of PCRs that every quote must sign: those of the static
// root of trust for measurement (TCG PC Client Platform Firmware Profile,
// section 3.3.4).
func Selection() map[string][]int {
	pcrs := make([]int, 16)
	for i := range pcrs {
		pcrs[i] = i
	}
	return map[string][]int{"sha256": pcrs}
}

// Log is a measurement log by its digest, with the content where the service
// may not hold it yet.
type Log struct {
	SHA256  string // hexadecimal
	Content []byte // nil: look it up
}

// Submission is what a device sends.
type Submission struct {
	Quote     []byte // TPMS_ATTEST
	Signature []byte // TPMT_SIGNATURE
	PCRs      map[string]map[int]string
	EventLog  *Log
	IMA       *Log   // from the entry of index IMAFrom on
	IMAFrom   int    // entries that were counted before in this boot; 0: the list is whole
	Userspace *Log   // systemd's own, which continues EventLog
	Reported  []byte // exact bytes of the JSON document
}

// Subject is who the evidence must be about.
type Subject struct {
	Purpose   string // attest.Binding
	Device    fleet.DeviceID
	AK        []byte // TPMT_PUBLIC
	ClientKey []byte // PKIX SPKI
	Nonce     []byte
	Progress  fleet.Progress // how far its IMA list is counted; zero: not at all
	Clock     fleet.Clock    // as last quoted under AK; zero: never
	// Files says what may run on a device with these PCR values, which a quote
	// covers; nil: nothing is judged.
	Files func(attest.PCRs) (attest.IMAFiles, error)
	// EventLogs keeps what verified event logs say; nil: each is read anew.
	EventLogs *eventlog.Cache
}

// Document is the evidence as it is kept: everything that is needed to appraise
// it again, the logs by their digests. IMA is what came with the quote; after
// what IMABefore names, in order, it is the whole list.
type Document struct {
	Purpose   string                    `json:"purpose"`
	Device    fleet.DeviceID            `json:"device"`
	AK        []byte                    `json:"ak"`
	ClientKey []byte                    `json:"client_key"`
	Nonce     []byte                    `json:"nonce"`
	Quote     []byte                    `json:"quote"`
	Signature []byte                    `json:"signature"`
	PCRs      map[string]map[int]string `json:"pcrs"`
	EventLog  string                    `json:"event_log,omitempty"` // SHA-256
	IMA       string                    `json:"ima,omitempty"`       // SHA-256
	IMAFrom   int                       `json:"ima_from,omitempty"`
	IMABefore []string                  `json:"ima_before,omitempty"`    // SHA-256 each
	Userspace string                    `json:"userspace_log,omitempty"` // SHA-256
	Reported  []byte                    `json:"reported"`
}

// Appraised is verified evidence.
type Appraised struct {
	Result   attest.Result
	Document fleet.Blob   // the Document
	Logs     []fleet.Blob // that came with it
	// Held are the logs that did not come and were not fetched. Whoever keeps the
	// document keeps them too: only then is it sure that the store has them.
	Held []fleet.Blob
	// Progress is how far the IMA list is counted now, and Pieces what it names that
	// is new; nil: as before.
	Progress *fleet.Progress
	Pieces   []fleet.Blob
}

// Blobs finds content by its digest.
type Blobs interface {
	// Blob returns fleet.ErrNotFound where the digest is not stored.
	Blob(ctx context.Context, digest string) ([]byte, error)
}

// maxReported bounds what a device may say of itself, in bytes.
const maxReported = 256 << 10

// Appraise verifies a submission about a subject. Evidence that does not hold
// is an error of kind Refused with the verifier's own code.
func Appraise(ctx context.Context, blobs Blobs, sub Submission, about Subject) (Appraised, error) {
	if len(sub.Reported) > maxReported || !json.Valid(sub.Reported) {
		return Appraised{}, fleet.Errorf(fleet.Invalid, "reported_malformed", "the reported state is not a JSON document of at most %d bytes", maxReported)
	}
	from, err := continues(sub, about.Progress)
	if err != nil {
		return Appraised{}, err
	}
	eventLog, err := resolveEventLog(ctx, blobs, sub.EventLog, about.EventLogs)
	if err != nil {
		return Appraised{}, err
	}
	ima, err := resolve(ctx, blobs, "IMA list", sub.IMA)
	if err != nil {
		return Appraised{}, err
	}
	userspace, err := resolve(ctx, blobs, "userspace log", sub.Userspace)
	if err != nil {
		return Appraised{}, err
	}
	// The verifier could derive values from the logs; a service spares itself the
	// work that a hostile log would make of it.
	if len(sub.PCRs) == 0 {
		return Appraised{}, fleet.Errorf(fleet.Invalid, "pcrs_missing", "the evidence has no PCR values")
	}
	pcrs, err := parsePCRs(sub.PCRs)
	if err != nil {
		return Appraised{}, err
	}
	binding := attest.Binding{
		Purpose: about.Purpose, Nonce: about.Nonce, DeviceID: string(about.Device), ClientKey: about.ClientKey,
		Reported: sub.Reported, EventLog: eventLog.sum, IMA: ima.sum, IMAFrom: uint64(sub.IMAFrom), Userspace: userspace.sum,
	}
	v := verifier{blobs: blobs, about: about}
	result, err := v.appraise(ctx, attest.Evidence{
		AK: about.AK, Quote: sub.Quote, Signature: sub.Signature, PCRs: pcrs, EventLog: eventLog.unread(), ReadLog: eventLog.reading,
		IMA: ima.content, IMAFrom: from, UserspaceLog: userspace.content,
	}, binding)
	if err != nil {
		return Appraised{}, err
	}
	about.EventLogs.Keep(eventLog.reading) // never before: anybody could fill it
	a, err := keep(sub, about, result, eventLog, ima, userspace)
	if err != nil {
		return Appraised{}, err
	}
	return a, v.count(ctx, &a, ima, from != nil)
}

// want is what every quote must be.
func want(binding attest.Binding) attest.Expectation {
	return attest.Expectation{QualifyingData: binding.QualifyingData(), Selection: Selection(), RequireAttributes: true}
}

// refused answers evidence that does not hold.
func refused(err error) error {
	var e *attest.Error
	if !errors.As(err, &e) {
		return fleet.Because(err, fleet.Refused, "evidence_refused", "the evidence does not hold")
	}
	return fleet.Because(err, fleet.Refused, e.Code(), "the evidence does not hold: %s", e.Error())
}

func keep(sub Submission, about Subject, result attest.Result, logs ...resolved) (Appraised, error) {
	doc := Document{
		Purpose: about.Purpose, Device: about.Device, AK: about.AK, ClientKey: about.ClientKey, Nonce: about.Nonce,
		Quote: sub.Quote, Signature: sub.Signature, PCRs: sub.PCRs, Reported: sub.Reported,
	}
	if sub.EventLog != nil {
		doc.EventLog = sub.EventLog.SHA256
	}
	if sub.IMA != nil {
		doc.IMA, doc.IMAFrom = sub.IMA.SHA256, sub.IMAFrom
	}
	if sub.Userspace != nil {
		doc.Userspace = sub.Userspace.SHA256
	}
	if sub.IMAFrom > 0 {
		for _, s := range about.Progress.Segments {
			doc.IMABefore = append(doc.IMABefore, s.Digest)
		}
	}
	content, err := json.Marshal(doc)
	if err != nil {
		return Appraised{}, fmt.Errorf("encode evidence: %w", err)
	}
	a := Appraised{Result: result, Document: NewBlob(content)}
	for _, l := range logs {
		switch {
		case l.fresh && len(l.content) > 0:
			a.Logs = append(a.Logs, NewBlob(l.content))
		case l.reading != nil && l.content == nil:
			a.Held = append(a.Held, fleet.Blob{Digest: hex.EncodeToString(l.sum[:]), Content: l.reading.Bytes()})
		}
	}
	return a, nil
}

// NewBlob names content by its digest.
func NewBlob(content []byte) fleet.Blob {
	sum := sha256.Sum256(content)
	return fleet.Blob{Digest: hex.EncodeToString(sum[:]), Content: content}
}

func parsePCRs(in map[string]map[int]string) (attest.PCRs, error) {
	out := attest.PCRs{}
	for bank, values := range in {
		out[bank] = map[int]attest.Digest{}
		for index, value := range values {
			digest, err := hex.DecodeString(value)
			if err != nil || index < 0 || index > 23 {
				return nil, fleet.Errorf(fleet.Invalid, "pcrs_malformed", "PCR %d of bank %.16q is not a hexadecimal digest", index, bank)
			}
			out[bank][index] = digest
		}
	}
	return out, nil
}
