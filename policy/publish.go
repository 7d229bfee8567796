package policy

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// KindPublish decides whether a firmware release may be published, or taken in.
const KindPublish Kind = "publish"

// Where a PublishInput is decided on.
const (
	AtPublish = "publish" // before anybody sees the release
	AtIntake  = "intake"  // when the service reads it from its repository
)

// PublishInput asks whether a firmware release may be published, or taken in.
type PublishInput struct {
	Now             time.Time            `json:"now"`
	Evidence        string               `json:"evidence"`  // SHA-256 of the release's signed metadata, hexadecimal
	Where           string               `json:"where"`     // AtPublish, AtIntake
	Publisher       string               `json:"publisher"` // who publishes, in the words of that machine; empty at intake
	Release         ReleaseInput         `json:"release"`
	SBOM            SBOMInput            `json:"sbom"`
	Provenance      ProvenanceInput      `json:"provenance"`
	Signature       SignatureInput       `json:"signature"`
	Vulnerabilities VulnerabilitiesInput `json:"vulnerabilities"`
	Approvals       ApprovalsInput       `json:"approvals"`
}

// ReleaseInput is what the release's metadata says.
type ReleaseInput struct {
	Target        string `json:"target"` // TUF target name
	SHA256        string `json:"sha256"` // of the image, hexadecimal
	Length        int64  `json:"length"` // bytes
	Model         string `json:"model"`
	Version       string `json:"version"`
	Counter       uint64 `json:"counter"`
	Security      bool   `json:"security"`       // it says that it fixes a vulnerability
	Minimum       uint64 `json:"minimum"`        // lowest counter to come from; zero: any
	DowngradeFrom uint64 `json:"downgrade_from"` // highest counter that it may take the place of; zero: none
	PCRs          []int  `json:"pcrs"`           // that its reference values cover, in order
	AllowList     bool   `json:"allow_list"`     // it says which files may run
}

// SBOMInput is what is known of the release's bill of materials.
type SBOMInput struct {
	Given      bool   `json:"given"`
	Readable   bool   `json:"readable"` // it is the CycloneDX document that the release pins
	Problem    string `json:"problem"`  // why it is not
	Components int    `json:"components"`
	Identified int    `json:"identified"` // components with a package URL
}

// ProvenanceInput is what is known of who built the image. All but Given and
// Problem are empty where it is not verified.
type ProvenanceInput struct {
	Given         bool   `json:"given"`
	Verified      bool   `json:"verified"`       // the bundle verifies, and its statement is about the image
	Problem       string `json:"problem"`        // why it does not
	PredicateType string `json:"predicate_type"` // for example https://slsa.dev/provenance/v1
	Builder       string `json:"builder"`        // id of the builder, in the statement's words
	BuildType     string `json:"build_type"`     // likewise
	Source        string `json:"source"`         // likewise: the first thing that it was built from
	Key           string `json:"key"`            // SHA-256 of the signer's public key (PKIX, DER); empty: it has a certificate
	Identity      string `json:"identity"`       // of the signer's certificate
	Issuer        string `json:"issuer"`         // who vouched for that identity (OpenID Connect)
}

// SignatureInput is what is known of a signature over the image. All but Given and
// Problem are empty where it is not verified.
type SignatureInput struct {
	Given    bool   `json:"given"`
	Verified bool   `json:"verified"`
	Problem  string `json:"problem"`
	Key      string `json:"key"`
	Identity string `json:"identity"`
	Issuer   string `json:"issuer"`
}

// VulnerabilitiesInput is what a feed knows of the components of the release.
type VulnerabilitiesInput struct {
	Known   bool                 `json:"known"`   // a feed and a bill of materials were there, and were compared
	Problem string               `json:"problem"` // why not
	Found   []VulnerabilityInput `json:"found"`
	// Unidentified are components without a package URL, which no feed can speak of;
	// Refused are records of the feed that cannot be used.
	Unidentified int `json:"unidentified"`
	Refused      int `json:"refused"`
}

// VulnerabilityInput is a known vulnerability of a component.
type VulnerabilityInput struct {
	ID        string `json:"id"`
	Undecided bool   `json:"undecided"` // whether the component has it could not be found out
	Severity  string `json:"severity"`  // critical, high, medium, low, unrated
	Component string `json:"component"`
	Fixed     string `json:"fixed"` // first version without it; empty: none
}

// ApprovalsInput is who signed the role that the release is published by.
type ApprovalsInput struct {
	Role      string   `json:"role"`      // targets, a delegated role, a hash bin
	Threshold int      `json:"threshold"` // that TUF itself asks for
	Keys      []string `json:"keys"`      // ids of the keys whose signatures verify, sorted
}

func (in PublishInput) kind() Kind       { return KindPublish }
func (in PublishInput) at() time.Time    { return in.Now }
func (in PublishInput) evidence() string { return in.Evidence }

func (in PublishInput) normal() any {
	in.Now = in.Now.UTC()
	in.Release.PCRs = list(slices.Sorted(slices.Values(in.Release.PCRs)))
	in.Vulnerabilities.Found = slices.Clone(list(in.Vulnerabilities.Found))
	slices.SortFunc(in.Vulnerabilities.Found, func(a, b VulnerabilityInput) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Component, b.Component))
	})
	in.Approvals.Keys = list(slices.Sorted(slices.Values(in.Approvals.Keys)))
	return in
}

// PublishDecision says whether a release may be published, or taken in.
type PublishDecision struct {
	Meta
	Allow        bool          `json:"allow"`
	Code         string        `json:"code,omitempty"` // stable, of a denial
	Reason       string        `json:"reason"`         // a sentence
	Requirements []Requirement `json:"requirements"`   // that were asked, by id
}

// Requirement is one thing that was asked of a release.
type Requirement struct {
	ID     string `json:"id"`
	Met    bool   `json:"met"`
	Reason string `json:"reason"` // a sentence
}

// Answer is allow or deny.
func (d PublishDecision) Answer() string { return allowed(d.Allow) }

// Publish decides whether a release may be published, or taken in. With an error,
// Allow is false and Code is CodePolicy. A release is never allowed while a
// requirement is not met.
func (e *Engine) Publish(ctx context.Context, in PublishInput) (PublishDecision, error) {
	q, err := e.ask(in)
	return e.publish(ctx, q, err)
}

func (e *Engine) publish(ctx context.Context, q question, err error) (PublishDecision, error) {
	var asked []Requirement
	a, err := e.permission(ctx, q, err, func(r *reader) { asked = requirements(r) })
	d := PublishDecision{q.meta, a.allow, a.code, a.reason, list(asked)}
	if i := slices.IndexFunc(asked, func(r Requirement) bool { return !r.Met }); err == nil && d.Allow && i >= 0 {
		d.Allow, d.Code, d.Reason = false, CodePolicy, "The policy contradicts itself, so nothing is allowed."
		err = fmt.Errorf("decide %s: %w: allowed while %s is not met", q.kind, ErrInconsistent, asked[i].ID)
	}
	return d, err
}

func requirements(r *reader) []Requirement {
	var asked []Requirement
	for _, o := range r.objects("requirements") {
		one := o.read("requirement")
		asked = append(asked, Requirement{one.text("id"), take[bool](one, "met"), one.text("reason")})
		if err := one.done(); err != nil && r.err == nil {
			r.err = err
		}
	}
	slices.SortFunc(asked, func(a, b Requirement) int { return cmp.Compare(a.ID, b.ID) })
	return asked
}

// Publish decides as Engine.Publish does.
func (c *Current) Publish(ctx context.Context, in PublishInput) (PublishDecision, error) {
	return c.Load().Publish(ctx, in)
}
