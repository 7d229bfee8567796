// Package publication gathers what is known of a firmware release, for a policy to
// judge it: what its signed metadata says, what is in its bill of materials, who
// built and signed its image, which of its vulnerabilities are known, and who
// approved it. Whoever publishes and whoever takes in ask in the same way.
package publication

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"troth/osv"
	"troth/policy"
	"troth/tuf"
	"troth/tuf/provenance"
	"troth/tuf/sbom"
)

// Policy decides on publications.
type Policy interface {
	Publish(ctx context.Context, in policy.PublishInput) (policy.PublishDecision, error)
}

// Judge knows whom to believe. It is safe for concurrent use.
type Judge struct {
	Policy Policy
	Trust  *provenance.Trust // nil: nobody who signed something is believed
	// Scan says which vulnerabilities a bill of materials has; nil: no feed is at
	// hand.
	Scan func(document []byte) (osv.Scan, error)
	// Where is policy.AtPublish or policy.AtIntake; Publisher who publishes.
	Where, Publisher string
}

// Release is what is judged.
type Release struct {
	Target tuf.Target // the image, with its Release and Approval
	// Open gives the content of a target beside the image.
	Open func(target, sha256 string) (io.ReadCloser, error)
}

// ErrUnread says that something beside the image could not be read now.
// What was decided without it may change when it can.
var ErrUnread = errors.New("cannot be read")

// Decide judges a release. With an error that wraps ErrUnread the decision stands
// until it is made again; with another one nothing was decided.
func (j Judge) Decide(ctx context.Context, r Release, now time.Time) (policy.PublishDecision, error) {
	in, unread := j.input(r, now)
	d, err := j.Policy.Publish(ctx, in)
	if err != nil {
		return d, err
	}
	return d, unread
}

func (j Judge) input(r Release, now time.Time) (policy.PublishInput, error) {
	t, rel := r.Target, r.Target.Release
	in := policy.PublishInput{Now: now, Where: j.Where, Publisher: j.Publisher, Release: facts(t)}
	metadata := sha256.Sum256(t.Custom)
	in.Evidence = hex.EncodeToString(metadata[:])
	if a := t.Approval; a != nil {
		in.Approvals = policy.ApprovalsInput{Role: a.Role, Threshold: a.Threshold, Keys: a.Signers}
	}
	read := reader{open: r.Open}
	var document []byte
	in.SBOM, document = read.material(rel.SBOM)
	in.Vulnerabilities = j.vulnerabilities(document)
	trust := j.Trust
	if trust == nil {
		trust = &provenance.Trust{}
	}
	digest, _ := hex.DecodeString(t.Hashes["sha256"]) // what is no digest verifies nothing
	in.Provenance = read.provenance(trust, rel.Provenance, digest)
	in.Signature = read.signature(trust, rel.Signature, digest)
	return in, errors.Join(read.unread...)
}

func facts(t tuf.Target) policy.ReleaseInput {
	rel := t.Release
	out := policy.ReleaseInput{
		Target: t.Name, SHA256: t.Hashes["sha256"], Length: t.Length, Model: rel.Model, Version: rel.Version,
		Counter: rel.Counter, Security: rel.Security, Minimum: rel.Minimum, DowngradeFrom: rel.DowngradeFrom,
		AllowList: rel.IMA != nil && rel.IMA.AllowList != nil,
	}
	for index := range rel.Reference.PCRs {
		n, _ := strconv.Atoi(index) // the release is valid
		out.PCRs = append(out.PCRs, n)
	}
	return out
}

// reader reads what is beside an image, and remembers what it could not.
type reader struct {
	open   func(target, sha256 string) (io.ReadCloser, error)
	unread []error
}

// content is a target that the release pins; without it, why there is none.
func (r *reader) content(target, digest string, limit int64) (content []byte, problem string) {
	f, err := r.open(target, digest)
	if err == nil {
		content, err = io.ReadAll(io.LimitReader(f, limit+1))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		r.unread = append(r.unread, fmt.Errorf("%s %w: %w", target, ErrUnread, err))
		return nil, "it cannot be read: " + err.Error()
	}
	if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != digest {
		return nil, "it is not the one that the release names"
	}
	return content, ""
}

func (r *reader) material(pinned *tuf.SBOM) (policy.SBOMInput, []byte) {
	switch {
	case pinned == nil:
		return policy.SBOMInput{}, nil
	case pinned.Target == "":
		return policy.SBOMInput{Given: true, Problem: "it is not published here"}, nil
	case pinned.Format != tuf.FormatCycloneDX:
		return policy.SBOMInput{Given: true, Problem: "its format is " + pinned.Format}, nil
	}
	document, problem := r.content(pinned.Target, pinned.SHA256, sbom.MaxBytes)
	if problem != "" {
		return policy.SBOMInput{Given: true, Problem: problem}, nil
	}
	found, err := sbom.Read(document)
	if err != nil {
		return policy.SBOMInput{Given: true, Problem: err.Error()}, nil
	}
	return policy.SBOMInput{Given: true, Readable: true, Components: found.Components, Identified: found.Identified}, document
}

func (j Judge) vulnerabilities(document []byte) policy.VulnerabilitiesInput {
	unknown := func(problem string) policy.VulnerabilitiesInput { return policy.VulnerabilitiesInput{Problem: problem} }
	switch {
	case j.Scan == nil:
		return unknown("no feed is at hand")
	case document == nil:
		return unknown("there is no bill of materials to compare")
	}
	scan, err := j.Scan(document)
	switch {
	case err != nil:
		return unknown(err.Error())
	case scan.Records == 0:
		return unknown("the feed has no record")
	}
	in := policy.VulnerabilitiesInput{Known: true, Unidentified: scan.Nameless, Refused: scan.Refused}
	for _, f := range scan.Findings {
		in.Found = append(in.Found, policy.VulnerabilityInput{
			ID: f.ID, Undecided: f.Undecided != "", Severity: cmp.Or(string(f.Severity), string(osv.Unrated)), Component: f.Component, Fixed: f.Fixed,
		})
	}
	return in
}

func (r *reader) provenance(trust *provenance.Trust, pinned *tuf.Attached, digest []byte) policy.ProvenanceInput {
	if pinned == nil {
		return policy.ProvenanceInput{}
	}
	text, problem := r.content(pinned.Target, pinned.SHA256, provenance.MaxBundle)
	if problem != "" {
		return policy.ProvenanceInput{Given: true, Problem: problem}
	}
	s, err := trust.Provenance(text, digest)
	if err != nil {
		return policy.ProvenanceInput{Given: true, Problem: err.Error()}
	}
	return policy.ProvenanceInput{
		Given: true, Verified: true, PredicateType: s.PredicateType, Builder: s.Builder, BuildType: s.BuildType, Source: s.Source,
		Key: s.Key, Identity: s.Identity, Issuer: s.Issuer,
	}
}

func (r *reader) signature(trust *provenance.Trust, pinned *tuf.Attached, digest []byte) policy.SignatureInput {
	if pinned == nil {
		return policy.SignatureInput{}
	}
	text, problem := r.content(pinned.Target, pinned.SHA256, provenance.MaxBundle)
	if problem != "" {
		return policy.SignatureInput{Given: true, Problem: problem}
	}
	s, err := trust.Signature(text, digest)
	if err != nil {
		return policy.SignatureInput{Given: true, Problem: err.Error()}
	}
	return policy.SignatureInput{Given: true, Verified: true, Key: s.Key, Identity: s.Identity, Issuer: s.Issuer}
}
