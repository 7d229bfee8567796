package api

import "time"

// Paths of policy bundles; an operator.
const (
	PathPolicies      = "/v1/policies"
	PathPolicy        = "/v1/policies/{id}"
	PathPolicyAction  = "/v1/policies/{id}/{action}" // approve, reject, activate, rollback, shadow, unshadow
	PathPolicyArchive = "/v1/policies/{id}/archive"
	PathPolicyShadow  = "/v1/policies/{id}/differences"
	PathPolicyPreview = "/v1/policy-preview"
)

// TypeNDJSON is the media type of an answer that comes line by line.
const TypeNDJSON = "application/x-ndjson"

// PolicyPush takes in a bundle that the repository has signed.
type PolicyPush struct {
	Target string `json:"target" minLength:"1" maxLength:"200" doc:"name of the signed target, policies/NAME"`
}

// PolicyBundle is a policy bundle and where it stands.
type PolicyBundle struct {
	ID          string          `json:"id" doc:"its counter; base: the bundle that each replica brings along"`
	Counter     uint64          `json:"counter"`
	Version     string          `json:"version"`
	State       string          `json:"state" enum:"candidate,refused,verified,approved,active,superseded"`
	Reason      string          `json:"reason,omitempty"`
	Policy      string          `json:"policy,omitempty" doc:"digest of its files, as decisions name it"`
	Archive     string          `json:"archive,omitempty" doc:"SHA-256 of the signed archive"`
	Target      string          `json:"target,omitempty"`
	Files       int             `json:"files,omitempty"`
	Controls    int             `json:"controls,omitempty"`
	Tests       int             `json:"tests,omitempty"`
	Coverage    int             `json:"coverage,omitempty" doc:"per cent of the lines that its tests evaluate"`
	Roots       []string        `json:"roots,omitempty"`
	Warnings    []string        `json:"warnings,omitempty"`
	ProposedBy  string          `json:"proposed_by,omitempty" doc:"who pushed it, or wants it back"`
	ProposedAt  *time.Time      `json:"proposed_at,omitempty"`
	ApprovedBy  string          `json:"approved_by,omitempty"`
	ApprovedAt  *time.Time      `json:"approved_at,omitempty"`
	ActivatedBy string          `json:"activated_by,omitempty"`
	ActivatedAt *time.Time      `json:"activated_at,omitempty"`
	EndedAt     *time.Time      `json:"ended_at,omitempty"`
	ShadowBy    string          `json:"shadow_by,omitempty" doc:"who lets it decide beside the active bundle"`
	Replicas    []PolicyReplica `json:"replicas,omitempty" doc:"that decide by it; only for a single bundle"`
}

// PolicyReplica is a process of the service and what it decides by.
type PolicyReplica struct {
	ID      string    `json:"id"`
	Policy  string    `json:"policy"`
	Problem string    `json:"problem,omitempty"`
	At      time.Time `json:"at"`
}

// PolicyBundleList is all of them, the newest first.
type PolicyBundleList struct {
	Bundles []PolicyBundle `json:"bundles"`
}

// PolicyDifferences is what a bundle in the shadow decided otherwise.
type PolicyDifferences struct {
	Bundle    string               `json:"bundle"`
	Running   bool                 `json:"running"`
	Decided   int64                `json:"decided" doc:"decisions that were compared"`
	Differing int64                `json:"differing"`
	Failed    int64                `json:"failed" doc:"it could not decide, and the active bundle could"`
	Dropped   int64                `json:"dropped" doc:"not compared, to bound the cost"`
	Devices   []PolicyDifferDevice `json:"devices"`
}

// PolicyDifferDevice is the last decision on a device that differed.
type PolicyDifferDevice struct {
	ID      string          `json:"id"`
	Name    string          `json:"name,omitempty"`
	At      time.Time       `json:"at"`
	Before  string          `json:"before" doc:"verdict of the active bundle"`
	After   string          `json:"after" doc:"verdict of the one in the shadow"`
	Input   string          `json:"input" doc:"digest of the input of both"`
	Changes []ControlChange `json:"changes"`
}

// ControlChange is a control on which two bundles differ. An outcome that is empty:
// the bundle has no such control.
type ControlChange struct {
	ID           string `json:"id"`
	Before       string `json:"before"`
	After        string `json:"after"`
	BeforeReason string `json:"before_reason,omitempty"`
	AfterReason  string `json:"after_reason,omitempty"`
}

// PreviewLine is one line of a preview: how far it is, and at the end either the
// report or why there is none.
type PreviewLine struct {
	Done    int            `json:"done"`
	Total   int            `json:"total"`
	Report  *PreviewReport `json:"report,omitempty"`
	Problem *Problem       `json:"problem,omitempty"`
}

// PreviewReport is what a bundle would change.
type PreviewReport struct {
	Policy       string           `json:"policy"`
	At           time.Time        `json:"at"`
	Since        *time.Time       `json:"since,omitempty"`
	Seconds      float64          `json:"seconds"`
	Decisions    int              `json:"decisions"`
	Devices      int              `json:"devices"`
	Counts       PreviewCounts    `json:"counts"`
	Models       []PreviewGroup   `json:"models"`
	GroupBy      string           `json:"group_by"`
	Groups       []PreviewGroup   `json:"groups"`
	Controls     []PreviewControl `json:"controls"`
	Actions      []PreviewAction  `json:"actions"`
	Problems     []PreviewProblem `json:"problems"`
	NewlyFailing []PreviewDevice  `json:"newly_failing"`
	NewlyPassing []PreviewDevice  `json:"newly_passing"`
	Changed      []PreviewDevice  `json:"changed"`
}

// PreviewCounts are decisions by what became of them.
type PreviewCounts struct {
	Same         int `json:"same"`
	Changed      int `json:"changed"`
	NewlyFailing int `json:"newly_failing"`
	NewlyPassing int `json:"newly_passing"`
	Undecided    int `json:"undecided"`
}

// PreviewGroup is what happens to the devices of a model, or with a label's value.
type PreviewGroup struct {
	Name string `json:"name"`
	PreviewCounts
}

// PreviewControl is a control on which the candidate differs.
type PreviewControl struct {
	ID           string `json:"id"`
	NewlyFailing int    `json:"newly_failing"`
	NewlyPassing int    `json:"newly_passing"`
	Reasons      int    `json:"reasons"`
}

// PreviewAction is what the candidate's remediation would do.
type PreviewAction struct {
	Kind    string `json:"kind"`
	Control string `json:"control"`
	Release string `json:"release,omitempty"`
	Devices int    `json:"devices"`
}

// PreviewProblem is why the candidate could not decide, and how often.
type PreviewProblem struct {
	Message string `json:"message"`
	Count   int    `json:"count"`
}

// PreviewDevice is a decision on which the candidate differs.
type PreviewDevice struct {
	ID      string          `json:"id"`
	Name    string          `json:"name"`
	Model   string          `json:"model"`
	Group   string          `json:"group,omitempty"`
	At      time.Time       `json:"at"`
	Before  string          `json:"before"`
	After   string          `json:"after"`
	Changes []ControlChange `json:"changes"`
	Actions []string        `json:"actions,omitempty"`
	Problem string          `json:"problem,omitempty"`
}
