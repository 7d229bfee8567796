package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"troth/internal/api"
	"troth/internal/bundle"
	"troth/internal/fleet"
	"troth/internal/preview"
)

// How long policy work may take, beyond the answerTime of other routes.
const (
	examineTime = 3 * time.Minute
	previewTime = 2 * time.Hour
)

func (e *edge) policyRoutes() {
	get := func(id, path, summary string) huma.Operation {
		return huma.Operation{OperationID: id, Method: http.MethodGet, Path: path, Summary: summary, Tags: []string{"operator"}}
	}
	post := func(id, path, summary string) huma.Operation {
		return huma.Operation{OperationID: id, Method: http.MethodPost, Path: path, Summary: summary, Tags: []string{"operator"}}
	}
	byOperator(e, get("list-policies", api.PathPolicies, "Policy bundles, the newest first"), "policy.list", e.listPolicies)
	byOperator(e, get("get-policy", api.PathPolicy, "One policy bundle, and which replicas decide by it"), "policy.get", e.getPolicy)
	byOperator(e, get("policy-archive", api.PathPolicyArchive, "A policy bundle as one file"), "policy.get", e.policyArchive)
	byOperator(e, get("policy-differences", api.PathPolicyShadow, "What a bundle in the shadow decided otherwise"), "policy.get", e.policyDifferences)
	byOperator(e, post("push-policy", api.PathPolicies, "Take in a bundle that the repository has signed, and examine it"), "policy.push", e.pushPolicy)
	type act func(ctx context.Context, id, by, reason string) (fleet.Bundle, error)
	for _, a := range []struct {
		verb, action, summary string
		act                   act
	}{
		{"approve", "policy.approve", "Agree to a bundle that somebody else proposed", func(ctx context.Context, id, by, _ string) (fleet.Bundle, error) {
			return e.Bundles.Approve(ctx, id, by)
		}},
		{"reject", "policy.reject", "Turn down a bundle that waits", e.Bundles.Reject},
		{"rollback", "policy.rollback", "Propose to go back to a bundle that decided before", e.Bundles.Rollback},
		{"activate", "policy.activate", "Have an approved bundle decide", func(ctx context.Context, id, by, _ string) (fleet.Bundle, error) {
			return e.Bundles.Activate(ctx, id, by)
		}},
		{"shadow", "policy.shadow", "Let a bundle decide beside the active one", func(ctx context.Context, id, by, _ string) (fleet.Bundle, error) {
			return e.Bundles.Shadow(ctx, id, by, true)
		}},
		{"unshadow", "policy.shadow", "End that", func(ctx context.Context, id, by, _ string) (fleet.Bundle, error) {
			return e.Bundles.Shadow(ctx, id, by, false)
		}},
	} {
		byOperator(e, post(a.verb+"-policy", "/v1/policies/{id}/"+a.verb, a.summary), a.action, func(ctx context.Context, t fleet.Token, in *struct {
			ByID
			Body api.ReasonRequest
		}) (*body[api.PolicyBundle], error) {
			ctx, cancel := patient(ctx, examineTime)
			defer cancel()
			b, err := a.act(ctx, in.ID, t.Operator, in.Body.Reason)
			return answer(bundleView(b), err)
		})
	}
	op := post("preview-policy", api.PathPolicyPreview, "What a policy bundle would change: lines of JSON, the last with the report")
	op.MaxBodyBytes = bundle.MaxArchive + 1024
	op.RequestBody = &huma.RequestBody{Content: map[string]*huma.MediaType{}}
	byOperator(e, op, "policy.preview", e.previewPolicy)
	op.RequestBody.Required = false // huma takes a raw body for required; the handler looks
}

// patient is a context that outlives the time of an ordinary answer, and its caller.
func patient(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), d)
}

func (e *edge) listPolicies(ctx context.Context, _ fleet.Token, _ *struct{}) (*body[api.PolicyBundleList], error) {
	list, err := e.Bundles.List(ctx)
	out := api.PolicyBundleList{Bundles: []api.PolicyBundle{}}
	for _, b := range list {
		out.Bundles = append(out.Bundles, bundleView(b))
	}
	return answer(out, err)
}

func (e *edge) getPolicy(ctx context.Context, _ fleet.Token, in *ByID) (*body[api.PolicyBundle], error) {
	d, err := e.Bundles.Get(ctx, in.ID)
	v := bundleView(d.Bundle)
	for _, r := range d.Replicas {
		v.Replicas = append(v.Replicas, api.PolicyReplica{ID: r.ID, Policy: r.Policy, Problem: r.Problem, At: r.At})
	}
	return answer(v, err)
}

func (e *edge) policyArchive(ctx context.Context, _ fleet.Token, in *ByID) (*document, error) {
	content, err := e.Bundles.Archive(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &document{ContentType: "application/gzip", Body: content}, nil
}

func (e *edge) policyDifferences(ctx context.Context, _ fleet.Token, in *struct {
	ByID
	Limit int `query:"limit" minimum:"1" maximum:"10000" default:"1000"`
}) (*body[api.PolicyDifferences], error) {
	r, err := e.Bundles.Differences(ctx, in.ID, in.Limit)
	out := api.PolicyDifferences{
		Bundle: r.Bundle.ID, Running: r.Bundle.ShadowBy != "", Decided: r.Count.Decided, Differing: r.Count.Differing,
		Failed: r.Count.Failed, Dropped: r.Count.Dropped, Devices: []api.PolicyDifferDevice{},
	}
	for _, d := range r.Devices {
		v := api.PolicyDifferDevice{
			ID: string(d.Device), Name: e.nameOf(ctx, d.Device), At: d.At, Before: string(d.Active), After: string(d.Shadow), Input: d.Input,
			Changes: []api.ControlChange{},
		}
		for _, c := range d.Changes {
			v.Changes = append(v.Changes, api.ControlChange{ID: c.ID, Before: string(c.Before), After: string(c.After), BeforeReason: c.BeforeReason, AfterReason: c.AfterReason})
		}
		out.Devices = append(out.Devices, v)
	}
	return answer(out, err)
}

func (e *edge) pushPolicy(ctx context.Context, t fleet.Token, in *struct{ Body api.PolicyPush }) (*body[api.PolicyBundle], error) {
	ctx, cancel := patient(ctx, examineTime)
	defer cancel()
	b, err := e.Bundles.Push(ctx, in.Body.Target, t.Operator)
	return answer(bundleView(b), err)
}

// previewPolicy answers what it refuses as every route does; after that, line by
// line as long as somebody listens.
func (e *edge) previewPolicy(ctx context.Context, _ fleet.Token, in *struct {
	Bundle  string `query:"bundle" maxLength:"32" doc:"a bundle on record; without it the request holds an archive"`
	Since   string `query:"since" maxLength:"16" doc:"replay every decision of so long, as 168h, and not each device's latest"`
	GroupBy string `query:"group_by" maxLength:"63" doc:"label to group devices by"`
	Named   int    `query:"named" minimum:"0" maximum:"10000" doc:"of each kind of change, so many devices by name"`
	RawBody []byte `contentType:"application/gzip"`
}) (*huma.StreamResponse, error) {
	o := preview.Options{GroupBy: in.GroupBy, Named: in.Named}
	if in.Since != "" {
		d, err := time.ParseDuration(in.Since)
		if err != nil || d <= 0 {
			return nil, fleet.Errorf(fleet.Invalid, "invalid_since", "since is a duration, as 168h, and not %q", in.Since)
		}
		o.Since = e.Now().Add(-d)
	}
	if (in.Bundle == "") == (len(in.RawBody) == 0) {
		return nil, fleet.Errorf(fleet.Invalid, "invalid_request", "a preview is of a bundle on record, or of the archive in the request")
	}
	release, err := e.Previews.Reserve()
	if err != nil {
		return nil, err
	}
	candidate, err := e.Bundles.Candidate(ctx, in.Bundle, in.RawBody)
	if err != nil {
		release()
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer release()
		e.streamPreview(hc, func(ctx context.Context, p preview.Progress) (preview.Report, error) {
			return e.Previews.Run(ctx, candidate, o, p)
		})
	}}, nil
}

// tick is how often a preview says how far it is.
const tick = time.Second

// previewLine is api.PreviewLine with the report as the use case has it.
type previewLine struct {
	Done    int             `json:"done"`
	Total   int             `json:"total"`
	Report  *preview.Report `json:"report,omitempty"`
	Problem *api.Problem    `json:"problem,omitempty"`
}

func (e *edge) streamPreview(hc huma.Context, run func(context.Context, preview.Progress) (preview.Report, error)) {
	ctx, cancel := patient(hc.Context(), previewTime)
	defer cancel()
	hc.SetHeader("Content-Type", api.TypeNDJSON)
	w := hc.BodyWriter()
	var last time.Time
	say := func(line previewLine) {
		text, err := json.Marshal(line)
		if err == nil {
			_, err = fmt.Fprintf(w, "%s\n", text)
		}
		if rw, ok := w.(http.ResponseWriter); ok && err == nil {
			err = http.NewResponseController(rw).Flush()
		}
		if err != nil {
			cancel() // nobody listens
		}
	}
	var done, total int
	report, err := run(ctx, func(n, of int) {
		done, total = n, of
		if now := e.Now(); now.Sub(last) >= tick {
			last = now
			say(previewLine{Done: n, Total: of})
		}
	})
	if err != nil {
		p := render(e.fail(hc.Context(), err))
		p.RequestID = requestID(hc.Context())
		say(previewLine{Done: done, Total: total, Problem: p.Problem})
		return
	}
	say(previewLine{Done: report.Decisions, Total: report.Decisions, Report: &report})
}

func bundleView(b fleet.Bundle) api.PolicyBundle {
	return api.PolicyBundle{
		ID: b.ID, Counter: b.Counter, Version: b.Version, State: string(b.State), Reason: b.Reason, Policy: b.Policy, Archive: b.Archive, Target: b.Target,
		Files: b.Checks.Files, Controls: b.Checks.Controls, Tests: b.Checks.Tests, Coverage: b.Checks.Coverage, Roots: b.Checks.Roots, Warnings: b.Checks.Warnings,
		ProposedBy: b.ProposedBy, ProposedAt: instant(b.ProposedAt), ApprovedBy: b.ApprovedBy, ApprovedAt: instant(b.ApprovedAt),
		ActivatedBy: b.ActivatedBy, ActivatedAt: instant(b.ActivatedAt), EndedAt: instant(b.EndedAt), ShadowBy: b.ShadowBy,
	}
}

// Policies is the life of policy bundles.
type Policies struct {
	Bundles  *bundle.Service
	Previews *preview.Service
}
