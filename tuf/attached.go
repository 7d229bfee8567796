package tuf

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Bounds of what is published beside an image.
const (
	MaxSBOMBytes   = 32 << 20 // a bill of materials
	MaxBundleBytes = 4 << 20  // a sigstore bundle
)

// Suffixes that the names of targets beside an image add to its own.
const (
	AllowListSuffix  = ".ima-allow"
	SBOMSuffix       = ".cdx.json"
	ProvenanceSuffix = ".provenance.json"
	SignatureSuffix  = ".sigstore.json"
)

// FormatCycloneDX is the format of bills of materials that are published here:
// CycloneDX (ECMA-424) as JSON.
const FormatCycloneDX = "cyclonedx+json"

// Files is what is published beside an image, each as a target of its own that the
// release's signed metadata pins. Any of them may be nil.
type Files struct {
	Algorithm string    // of the digests in AllowList: sha256, sha384, sha512
	AllowList io.Reader // which files may run; as ParseAllowList reads it
	SBOM      io.Reader // what is in the image: CycloneDX as JSON, at most MaxSBOMBytes
	// Provenance says who built the image from what: a sigstore bundle with an
	// in-toto statement, at most MaxBundleBytes.
	Provenance io.Reader
	Signature  io.Reader // a sigstore bundle with a signature over the image, at most MaxBundleBytes
}

// Attached is a target beside the image, pinned by digest.
type Attached struct {
	Target string `json:"target"`
	SHA256 string `json:"sha256"` // of its content, 64 lower-case hex digits
}

func (a Attached) validate(what string) error {
	if !isSHA256(a.SHA256) {
		return fmt.Errorf("%w: %s digest is not 64 lower-case hex digits", ErrInvalid, what)
	}
	return ValidName(a.Target)
}

// attachment is one of Files on its way to being published.
type attachment struct {
	suffix  string
	content io.Reader
	limit   int64
	check   func(s stagedTarget) error
	record  func(rel *Release, s stagedTarget) // in the release
}

// attachments lists what there is, in the order in which it is stored.
func (f Files) attachments() []attachment {
	var list []attachment
	add := func(a attachment) {
		if a.content != nil {
			list = append(list, a)
		}
	}
	add(attachment{AllowListSuffix, f.AllowList, MaxAllowListBytes, func(s stagedTarget) error { return s.checkAllowList(s.allowList(f)) },
		func(rel *Release, s stagedTarget) { rel.IMA = withList(rel.IMA, s.allowList(f)) }})
	add(attachment{SBOMSuffix, f.SBOM, MaxSBOMBytes, func(s stagedTarget) error { return s.checkJSON("SBOM", "bomFormat", "CycloneDX") },
		func(rel *Release, s stagedTarget) {
			rel.SBOM = &SBOM{Format: FormatCycloneDX, SHA256: s.target().Hashes["sha256"], Target: s.entry.Path}
		}})
	bundle := func(what string) func(stagedTarget) error {
		return func(s stagedTarget) error {
			return s.checkJSON(what, "mediaType", "application/vnd.dev.sigstore.bundle")
		}
	}
	add(attachment{ProvenanceSuffix, f.Provenance, MaxBundleBytes, bundle("provenance"), func(rel *Release, s stagedTarget) { rel.Provenance = s.attached() }})
	add(attachment{SignatureSuffix, f.Signature, MaxBundleBytes, bundle("signature"), func(rel *Release, s stagedTarget) { rel.Signature = s.attached() }})
	return list
}

// names are those that the targets beside the image will have.
func (f Files) names(rel Release) []string {
	var names []string
	for _, a := range f.attachments() {
		names = append(names, rel.Name+a.suffix)
	}
	return names
}

// attach stores what is published beside the image, and names it in the release.
func (r *Repository) attach(ctx context.Context, rel *Release, files Files) (staged []stagedTarget, err error) {
	defer func() {
		if err != nil {
			for _, s := range staged {
				discard(s.file)
			}
			staged = nil
		}
	}()
	for _, a := range files.attachments() {
		name := rel.Name + a.suffix
		if err := ValidName(name); err != nil {
			return staged, err
		}
		s, err := r.stageTarget(ctx, name, io.LimitReader(a.content, a.limit+1))
		if err != nil {
			return staged, err
		}
		staged = append(staged, s)
		if s.entry.Length > a.limit {
			return staged, fmt.Errorf("%w: %s has more than %d bytes", ErrInvalid, name, a.limit)
		}
		if err := a.check(s); err != nil {
			return staged, err
		}
		a.record(rel, s)
	}
	return staged, nil
}

func (s stagedTarget) attached() *Attached {
	return &Attached{Target: s.entry.Path, SHA256: s.target().Hashes["sha256"]}
}

func (s stagedTarget) allowList(f Files) AllowList {
	return AllowList{Target: s.entry.Path, Length: s.entry.Length, SHA256: s.target().Hashes["sha256"], Algorithm: f.Algorithm}
}

func withList(ima *IMA, list AllowList) *IMA {
	next := IMA{}
	if ima != nil {
		next = *ima
	}
	next.AllowList = &list
	return &next
}

// checkAllowList reads the staged file as a verifier will.
func (s stagedTarget) checkAllowList(l AllowList) error {
	if err := l.validate(); err != nil {
		return err
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read allow-list: %w", err)
	}
	return ParseAllowList(s.file, l.Algorithm, func([]byte) error { return nil })
}

// checkJSON says whether the staged file is a JSON object of the kind that a
// field, which begins with a prefix, tells. Who judges it reads it in full.
func (s stagedTarget) checkJSON(what, field, prefix string) error {
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read %s: %w", what, err)
	}
	text, err := io.ReadAll(s.file)
	if err != nil {
		return fmt.Errorf("read %s: %w", what, err)
	}
	var object map[string]json.RawMessage
	var kind string
	if err := json.Unmarshal(bytes.TrimSpace(text), &object); err != nil {
		return fmt.Errorf("read %s: %w: %w", what, ErrInvalid, err)
	}
	if json.Unmarshal(object[field], &kind) != nil || !strings.HasPrefix(kind, prefix) {
		return fmt.Errorf("read %s: %w: its %s does not begin with %s", what, ErrInvalid, field, prefix)
	}
	return nil
}

// beside are the targets that were published beside the image: the SHA-256 of each,
// by name.
func (r Release) beside() map[string]string {
	names := map[string]string{}
	if r.IMA != nil && r.IMA.AllowList != nil {
		names[r.IMA.AllowList.Target] = r.IMA.AllowList.SHA256
	}
	if r.SBOM != nil && r.SBOM.Target != "" {
		names[r.SBOM.Target] = r.SBOM.SHA256
	}
	for _, a := range []*Attached{r.Provenance, r.Signature} {
		if a != nil {
			names[a.Target] = a.SHA256
		}
	}
	if r.Chunks != nil {
		names[r.Chunks.Target] = r.Chunks.SHA256
	}
	return names
}
