package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"troth/internal/api"
	"troth/internal/decision"
	"troth/internal/fleet"
)

func (e *edge) decisionRoutes() {
	get := func(id, path, summary string) huma.Operation {
		return huma.Operation{OperationID: id, Method: http.MethodGet, Path: path, Summary: summary, Tags: []string{"operator"}}
	}
	byOperator(e, get("list-decisions", api.PathDecisions, "The decision log, newest first"), "decision.list", e.listDecisions)
	byOperator(e, get("get-decision", api.PathLoggedDecision, "One decision with its input"), "decision.get", e.getDecision)
}

func (e *edge) listDecisions(ctx context.Context, _ fleet.Token, in *struct {
	Kind   string    `query:"kind" enum:"enroll,renew,posture,remediate,access,operator"`
	Device string    `query:"device" maxLength:"128" doc:"id, or name"`
	Answer string    `query:"answer" enum:"compliant,noncompliant,error,allow,deny,act,nothing"`
	Policy string    `query:"policy" pattern:"^[0-9a-f]{64}$" doc:"digest of the policy bundle"`
	Since  time.Time `query:"since" doc:"this time or later"`
	Until  time.Time `query:"until" doc:"before this time"`
	After  string    `query:"after" maxLength:"128" doc:"the next of the page before"`
	Inputs bool      `query:"inputs" doc:"with the inputs"`
	Limit  int       `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}) (*body[api.DecisionLog], error) {
	device := fleet.DeviceID(in.Device)
	if in.Device != "" && !device.Valid() {
		d, err := e.Devices.Resolve(ctx, in.Device)
		if err != nil {
			return nil, err
		}
		device = d.ID
	}
	page, next, err := e.Decided.List(ctx, fleet.DecisionFilter{
		Kind: in.Kind, Device: device, Answer: in.Answer, Policy: in.Policy, Since: in.Since, Until: in.Until, Limit: in.Limit,
	}, in.After, in.Inputs)
	out := api.DecisionLog{Decisions: []api.LoggedDecision{}, Next: next}
	for _, d := range page {
		out.Decisions = append(out.Decisions, loggedView(d))
	}
	return answer(out, err)
}

func (e *edge) getDecision(ctx context.Context, _ fleet.Token, in *ByID) (*body[api.LoggedDecision], error) {
	d, err := e.Decided.Get(ctx, in.ID)
	return answer(loggedView(d), err)
}

func loggedView(d decision.Entry) api.LoggedDecision {
	return api.LoggedDecision{
		ID: d.ID, Kind: d.Kind, At: d.At, Device: string(d.Device), Answer: d.Answer,
		Policy: d.Policy, Input: d.Input, Evidence: d.Evidence, Decision: d.Document, InputDocument: d.InputDocument,
	}
}
