package fleet

import (
	"strconv"
	"strings"
	"time"
)

// BundleState is where a policy bundle stands in its life.
type BundleState string

// The states of a bundle. One is active at any time.
const (
	BundleCandidate  BundleState = "candidate"  // taken in, not examined yet
	BundleRefused    BundleState = "refused"    // it failed its examination, or a person turned it down
	BundleVerified   BundleState = "verified"   // it may be approved
	BundleApproved   BundleState = "approved"   // a second person agreed: it may be activated
	BundleActive     BundleState = "active"     // it decides
	BundleSuperseded BundleState = "superseded" // it decided before
)

// BaseBundle is the id of the bundle that each replica brings along: the one that
// trothd has built in, or that of its policy_dir. It decides until another one is
// activated, and can be gone back to.
const BaseBundle = "base"

// Bundle is a policy bundle from its push to its end.
type Bundle struct {
	ID          string // its counter in decimal, or BaseBundle
	Counter     uint64 // signed; grows with each bundle; 0: the base
	Version     string // signed, for people
	Target      string // its name in the TUF repository
	Archive     string // SHA-256 of the archive, hexadecimal; also the digest of a Blob
	Policy      string // digest of the bundle's files, as decisions name it; empty until verified
	State       BundleState
	Reason      string // of its state, for people
	Checks      BundleChecks
	ProposedBy  string // who pushed it, or wants it back
	ProposedAt  time.Time
	ApprovedBy  string
	ApprovedAt  time.Time
	ActivatedBy string
	ActivatedAt time.Time
	EndedAt     time.Time // superseded
	ShadowBy    string    // who lets it decide beside the active one; empty: it does not
	ShadowAt    time.Time
	Revision    int64
}

// BundleChecks are what the examination of a bundle found.
type BundleChecks struct {
	Files    int      `json:"files"`
	Bytes    int      `json:"bytes"`
	Controls int      `json:"controls"`
	Tests    int      `json:"tests"`    // all of them passed
	Coverage int      `json:"coverage"` // per cent of lines
	Roots    []string `json:"roots,omitempty"`
	Warnings []string `json:"warnings,omitempty"` // of the linter
}

// SignedBundle is what signed metadata says of a bundle.
type SignedBundle struct {
	Counter uint64
	Version string
	Target  string
	Archive string // SHA-256, hexadecimal
}

// Subject is the name of the bundle in alerts and events.
func (b Bundle) Subject() string { return "policy:" + b.ID }

// NewBundle is a bundle that was just pushed.
func NewBundle(s SignedBundle, by string, now time.Time) Bundle {
	return Bundle{
		ID: strconv.FormatUint(s.Counter, 10), Counter: s.Counter, Version: s.Version, Target: s.Target, Archive: s.Archive,
		State: BundleCandidate, ProposedBy: by, ProposedAt: now,
	}
}

// Supersedes refuses a bundle that is not newer than every one that was taken in
// before: what a repository signed once can be shown again.
func (s SignedBundle) Supersedes(all []Bundle) error {
	for _, b := range all {
		switch {
		case b.Counter == s.Counter && b.Archive == s.Archive && b.State == BundleRefused:
			// The same again, after a failure that may have been the machine's.
		case b.Counter == s.Counter:
			return Errorf(Conflict, "policy_known", "bundle %s was pushed before and is %s: give a changed one a higher counter", b.ID, b.State)
		case b.Counter > s.Counter && b.State != BundleRefused:
			return Errorf(Refused, "policy_older", "bundle %d is older than bundle %s, which was pushed before: to go back to an earlier one, use troth policy rollback", s.Counter, b.ID)
		}
	}
	return nil
}

// Again is a refused bundle that was pushed once more, unchanged.
func (b Bundle) Again(by string, now time.Time) (Bundle, error) {
	if b.State != BundleRefused {
		return b, b.wrongState("be examined again", BundleRefused)
	}
	b.State, b.Reason, b.ProposedBy, b.ProposedAt = BundleCandidate, "", by, now
	b.ApprovedBy, b.ApprovedAt = "", time.Time{}
	return b, nil
}

// Verify is a candidate that passed its examination.
func (b Bundle) Verify(policy string, checks BundleChecks) (Bundle, error) {
	if b.State != BundleCandidate {
		return b, b.wrongState("be verified", BundleCandidate)
	}
	b.State, b.Policy, b.Checks, b.Reason = BundleVerified, policy, checks, ""
	return b, nil
}

// Refuse is a candidate that failed its examination.
func (b Bundle) Refuse(reason string) (Bundle, error) {
	if b.State != BundleCandidate {
		return b, b.wrongState("be refused", BundleCandidate)
	}
	b.State, b.Reason = BundleRefused, reason
	return b, nil
}

// Propose wants back a bundle that decided before. It needs approval like a new one.
func (b Bundle) Propose(by, reason string, now time.Time) (Bundle, error) {
	if b.State != BundleSuperseded {
		return b, b.wrongState("be gone back to", BundleSuperseded)
	}
	b.State, b.Reason, b.ProposedBy, b.ProposedAt = BundleVerified, reason, by, now
	b.ApprovedBy, b.ApprovedAt = "", time.Time{}
	return b, nil
}

// Approve is the agreement of a second person.
func (b Bundle) Approve(by string, now time.Time) (Bundle, error) {
	if b.State != BundleVerified {
		return b, b.wrongState("be approved", BundleVerified)
	}
	if strings.EqualFold(by, b.ProposedBy) {
		return b, Errorf(Refused, "second_person_needed", "%s proposed bundle %s, so somebody else has to approve it", b.ProposedBy, b.ID)
	}
	b.State, b.ApprovedBy, b.ApprovedAt = BundleApproved, by, now
	return b, nil
}

// Reject turns down a bundle that waits for approval or activation. One that
// decided before is again what it was.
func (b Bundle) Reject(by, reason string) (Bundle, error) {
	if b.State != BundleVerified && b.State != BundleApproved {
		return b, b.wrongState("be rejected", BundleVerified, BundleApproved)
	}
	b.ApprovedBy, b.ApprovedAt = "", time.Time{}
	b.Reason = "rejected by " + by + ": " + reason
	b.State = BundleRefused
	if !b.EndedAt.IsZero() {
		b.State = BundleSuperseded
	}
	b.ShadowBy, b.ShadowAt = "", time.Time{}
	return b, nil
}

// Activate has the bundle decide instead of active. An approval that was given
// before active began to decide is not one of this change: what it would do was
// judged against something else.
func (b Bundle) Activate(active Bundle, by string, now time.Time) (next, ended Bundle, err error) {
	switch {
	case b.State != BundleApproved:
		return b, active, b.wrongState("be activated", BundleApproved)
	case active.State != BundleActive:
		return b, active, active.wrongState("be superseded", BundleActive)
	case b.ApprovedAt.Before(active.ActivatedAt):
		return b, active, Errorf(Refused, "approval_stale", "bundle %s was approved before bundle %s became active: reject it, and propose or push it anew", b.ID, active.ID)
	}
	b.State, b.ActivatedBy, b.ActivatedAt, b.EndedAt = BundleActive, by, now, time.Time{}
	b.ShadowBy, b.ShadowAt = "", time.Time{}
	active.State, active.EndedAt, active.Reason = BundleSuperseded, now, ""
	return b, active, nil
}

// Shadow lets the bundle decide beside the active one.
func (b Bundle) Shadow(by string, now time.Time) (Bundle, error) {
	if b.State != BundleVerified && b.State != BundleApproved && b.State != BundleSuperseded {
		return b, b.wrongState("decide in the shadow", BundleVerified, BundleApproved, BundleSuperseded)
	}
	if b.ID == BaseBundle {
		return b, Errorf(Refused, "policy_base", "the base bundle differs from one version of trothd to the next: preview it instead")
	}
	b.ShadowBy, b.ShadowAt = by, now
	return b, nil
}

// Unshadow ends that.
func (b Bundle) Unshadow() Bundle {
	b.ShadowBy, b.ShadowAt = "", time.Time{}
	return b
}

func (b Bundle) wrongState(what string, states ...BundleState) error {
	words := make([]string, len(states))
	for i, s := range states {
		words[i] = string(s)
	}
	return Errorf(Conflict, "policy_state", "bundle %s is %s, and only one that is %s can %s", b.ID, b.State, strings.Join(words, " or "), what)
}

// Replica is a process of the service and what it decides by.
type Replica struct {
	ID      string
	Bundle  string // id
	Policy  string // digest
	Problem string // why it does not decide by the active bundle; empty: it does
	At      time.Time
}

// ShadowCount is what one replica counted while a bundle decided in the shadow.
type ShadowCount struct {
	Bundle    string
	Replica   string
	Decided   int64 // decisions that were compared
	Differing int64 // with another verdict, outcome or reason
	Failed    int64 // the shadow could not decide, and the active bundle could
	Dropped   int64 // not looked at, because the shadow was too slow
}

// ShadowDevice is the last decision on a device in which the bundle in the shadow
// differed.
type ShadowDevice struct {
	Bundle  string
	Device  DeviceID
	At      time.Time
	Active  Verdict
	Shadow  Verdict
	Input   string          // digest of the input that both had
	Changes []ControlChange // sorted by control
}

// ControlChange is a control on which two bundles differ.
type ControlChange struct {
	ID           string  `json:"id"`
	Before       Outcome `json:"before"` // empty: the bundle has no such control
	After        Outcome `json:"after"`  // likewise
	BeforeReason string  `json:"before_reason,omitempty"`
	AfterReason  string  `json:"after_reason,omitempty"`
}

// CompareControls lists the controls on which two decisions differ, both sorted
// by id. A control that only one of them has, and that does not fail, is no
// difference.
func CompareControls(before, after []Control) []ControlChange {
	changes := []ControlChange{}
	i, j := 0, 0
	for i < len(before) || j < len(after) {
		switch {
		case j == len(after) || i < len(before) && before[i].ID < after[j].ID:
			if c := before[i]; c.Failing() {
				changes = append(changes, ControlChange{ID: c.ID, Before: c.Outcome, BeforeReason: c.Reason})
			}
			i++
		case i == len(before) || after[j].ID < before[i].ID:
			if c := after[j]; c.Failing() {
				changes = append(changes, ControlChange{ID: c.ID, After: c.Outcome, AfterReason: c.Reason})
			}
			j++
		default:
			if b, a := before[i], after[j]; b.Outcome != a.Outcome || b.Reason != a.Reason {
				changes = append(changes, ControlChange{b.ID, b.Outcome, a.Outcome, b.Reason, a.Reason})
			}
			i, j = i+1, j+1
		}
	}
	return changes
}

// Replay is a recorded posture decision with the input that it was made on.
type Replay struct {
	Device   DeviceID
	Name     string
	Model    string
	Labels   map[string]string
	Decision string // id
	At       time.Time
	Verdict  Verdict
	Controls []Control
	Input    []byte // as evaluated
}
