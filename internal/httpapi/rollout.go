package httpapi

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"troth/internal/api"
	"troth/internal/fleet"
)

// ReleaseCatalog is the published firmware.
type ReleaseCatalog interface {
	Catalog() fleet.Catalog
	Refused() []fleet.RefusedRelease
}

type route func(id, path, summary string) huma.Operation

func (e *edge) rolloutRoutes(get, post route) {
	byOperator(e, get("list-releases", api.PathReleases, "Published firmware, as the verifier reads it from signed metadata"), "firmware.list", e.listReleases)
	byOperator(e, get("list-rollouts", api.PathRollouts, "List rollouts, newest first"), "rollout.list", e.listRollouts)
	byOperator(e, get("get-rollout", api.PathRollout, "One rollout with its devices"), "rollout.get", e.getRollout)
	byOperator(e, post("create-rollout", api.PathRollouts, "Propose a rollout, or start one"), "rollout.create", e.createRollout)
	byOperator(e, post("start-rollout", "/v1/rollouts/{id}/start", "Start a proposed rollout"), "rollout.start", e.startRollout)
	for _, a := range []struct {
		verb, summary string
		act           func(context.Context, string, string) (fleet.Rollout, error)
	}{
		{"pause", "Offer the release to nobody new", e.Rollouts.Pause},
		{"resume", "Continue a paused rollout", e.Rollouts.Resume},
		{"abort", "End a rollout for good", e.Rollouts.Abort},
	} {
		byOperator(e, post(a.verb+"-rollout", "/v1/rollouts/{id}/"+a.verb, a.summary), "rollout."+a.verb,
			func(ctx context.Context, t fleet.Token, in *ByID) (*body[api.Rollout], error) {
				r, err := a.act(ctx, in.ID, t.Operator)
				return answer(rolloutView(r), err)
			})
	}
}

func (e *edge) listReleases(_ context.Context, _ fleet.Token, _ *struct{}) (*body[api.ReleaseList], error) {
	out := api.ReleaseList{Releases: []api.Release{}}
	for _, r := range e.Catalog.Catalog() {
		out.Releases = append(out.Releases, releaseView(r))
	}
	for _, r := range e.Catalog.Refused() {
		view := releaseView(r.Release)
		view.Refused, view.RefusedCode, view.RefusedReason = true, r.Code, r.Reason
		out.Releases = append(out.Releases, view)
	}
	return answer(out, nil)
}

func releaseView(r fleet.Release) api.Release {
	return api.Release{
		Target: r.Target, Model: r.Model, Version: r.Version, Counter: r.Counter, Security: r.Security, Notes: r.Notes,
		Length: r.Length, SHA256: r.SHA256, Reference: r.Reference, Minimum: r.Minimum, DowngradeFrom: r.DowngradeFrom,
	}
}

func (e *edge) listRollouts(ctx context.Context, _ fleet.Token, _ *struct{}) (*body[api.RolloutList], error) {
	rollouts, err := e.Rollouts.List(ctx)
	out := api.RolloutList{Rollouts: []api.Rollout{}}
	for _, r := range rollouts {
		out.Rollouts = append(out.Rollouts, rolloutView(r))
	}
	return answer(out, err)
}

func (e *edge) getRollout(ctx context.Context, _ fleet.Token, in *ByID) (*body[api.Rollout], error) {
	r, members, err := e.Rollouts.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return answer(e.rolloutDetail(ctx, r, members), nil)
}

func (e *edge) createRollout(ctx context.Context, t fleet.Token, in *struct{ Body api.RolloutRequest }) (*body[api.Rollout], error) {
	plan := planned(e.Rollouts.Plan, api.RolloutPlan{
		Waves: in.Body.Waves, MaxFailurePercent: in.Body.MaxFailurePercent,
		SoakSeconds: in.Body.SoakSeconds, TimeoutSeconds: in.Body.TimeoutSeconds,
	})
	r, err := e.Rollouts.Create(ctx, in.Body.Model, in.Body.Version, "created by "+t.Operator, t.Operator, plan)
	if err == nil && in.Body.Start {
		r, err = e.Rollouts.Start(ctx, r.ID, t.Operator, plan)
	}
	return answer(rolloutView(r), err)
}

func (e *edge) startRollout(ctx context.Context, t fleet.Token, in *struct {
	ByID
	Body api.RolloutPlan
}) (*body[api.Rollout], error) {
	r, _, err := e.Rollouts.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	r, err = e.Rollouts.Start(ctx, in.ID, t.Operator, planned(r.Plan, in.Body))
	return answer(rolloutView(r), err)
}

// planned is a plan with what a request says otherwise.
func planned(p fleet.Plan, in api.RolloutPlan) fleet.Plan {
	if len(in.Waves) > 0 {
		p.Waves = nil
		for _, percent := range in.Waves {
			p.Waves = append(p.Waves, fleet.Wave{Percent: percent})
		}
	}
	if in.MaxFailurePercent != nil {
		p.MaxFailurePercent = *in.MaxFailurePercent
	}
	if in.SoakSeconds != nil {
		p.Soak = time.Duration(*in.SoakSeconds) * time.Second
	}
	if in.TimeoutSeconds != nil {
		p.DeviceTimeout = time.Duration(*in.TimeoutSeconds) * time.Second
	}
	return p
}
