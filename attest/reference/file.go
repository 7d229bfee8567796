package reference

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"troth/attest"
	"troth/attest/eventlog"
)

// MaxFile bounds a reference file, in bytes.
const MaxFile = 8 << 20

// File is a set of reference values as it is kept in a file (JSON). Bank and PCRs
// are what is signed into a release and compared (attest.Reference); the rest says
// where they came from, and is for people and for Diff.
type File struct {
	attest.Reference
	Provenance *Provenance `json:"provenance,omitempty"`
	// Events lead to the values, each PCR from its reset value. A PCR without
	// events was taken over as a value.
	Events []Event `json:"events,omitempty"`
}

// Provenance says where reference values came from.
type Provenance struct {
	Method string    `json:"method"` // "recorded", "computed" or "template"
	At     time.Time `json:"at"`     // when the values were made
	// Of a recorded reference: the device, when its evidence was verified, and the
	// evidence's SHA-256.
	Device     string     `json:"device,omitempty"`
	Name       string     `json:"name,omitempty"`
	VerifiedAt *time.Time `json:"verified_at,omitempty"`
	Evidence   string     `json:"evidence,omitempty"`
	// Of a computed one: the files, and the event log that was the template.
	Files    []Input `json:"files,omitempty"`
	Template *Input  `json:"template,omitempty"`
	// Notes are what a reader should know.
	Notes []string `json:"notes,omitempty"`
}

// Input is a file that values were computed from.
type Input struct {
	Role   string `json:"role"`
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
}

// Origin says where an event's digest came from.
type Origin string

// Origins of events.
const (
	FromConstant Origin = "constant" // the specification fixes it
	FromFile     Origin = "file"     // of the release
	FromText     Origin = "text"     // a command line that was given
	Kept         Origin = "kept"     // as the template or the golden device has it
)

// Event is one extension of a PCR in the reference's bank.
type Event struct {
	PCR    int           `json:"pcr"`
	Type   string        `json:"type"` // of the PC Client profile
	Digest attest.Digest `json:"digest"`
	What   string        `json:"what"` // in plain words; foreign text
	From   Origin        `json:"from"`
}

// ParseFile reads a File. Unknown fields, trailing bytes, and values that could
// not be compared with a quote are errors.
func ParseFile(text []byte) (File, error) {
	var f File
	if len(text) > MaxFile {
		return f, fmt.Errorf("parse reference values: %d bytes, at most %d", len(text), MaxFile)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return File{}, fmt.Errorf("parse reference values: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return File{}, errors.New("parse reference values: the file goes on after its reference values")
	}
	if err := f.Valid(); err != nil {
		return File{}, fmt.Errorf("parse %w", err)
	}
	return f, nil
}

// eventsOf are the events of a PCR, where they lead to its value.
func (f File) eventsOf(pcr int) ([]Event, bool) {
	var events []Event
	for _, e := range f.Events {
		if e.PCR == pcr {
			events = append(events, e)
		}
	}
	if len(events) == 0 {
		return nil, false
	}
	value := initial(f.Bank)
	for _, e := range events {
		value = extend(f.Bank, value, e.Digest)
	}
	return events, bytes.Equal(value, f.PCRs[pcr])
}

func initial(bank string) []byte {
	h, ok := eventlog.HashOf(bank)
	if !ok {
		return nil
	}
	return make([]byte, h.Size())
}

// Selected keeps only the PCRs that are named, which must all be there.
func (f File) Selected(pcrs []int) (File, error) {
	out := f
	out.PCRs, out.Events = map[int]attest.Digest{}, nil
	for _, pcr := range pcrs {
		value, ok := f.PCRs[pcr]
		if !ok {
			return File{}, fmt.Errorf("select PCRs: there is no value of PCR %d (there are %v)", pcr, slices.Sorted(maps.Keys(f.PCRs)))
		}
		out.PCRs[pcr] = value
	}
	for _, e := range f.Events {
		if _, chosen := out.PCRs[e.PCR]; chosen {
			out.Events = append(out.Events, e)
		}
	}
	return out, out.Valid()
}
