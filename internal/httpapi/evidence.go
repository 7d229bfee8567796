package httpapi

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"troth/internal/api"
	"troth/internal/fleet"
)

func (e *edge) evidenceRoutes() {
	byOperator(e, huma.Operation{
		OperationID: "device-evidence", Method: http.MethodGet, Path: api.PathEvidence, Tags: []string{"operator"},
		Summary: "A device's latest verified evidence, with its logs",
	}, "evidence.get", e.deviceEvidence)
	byOperator(e, huma.Operation{
		OperationID: "device-decision", Method: http.MethodGet, Path: api.PathDecision, Tags: []string{"operator"},
		Summary: "A device's latest recorded posture decision, with its input",
	}, "decision.get", e.deviceDecision)
}

func (e *edge) deviceEvidence(ctx context.Context, _ fleet.Token, in *ByID) (*body[api.KeptEvidence], error) {
	kept, err := e.Devices.Evidence(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	d := kept.Device
	out := api.KeptEvidence{
		Device: string(d.ID), Name: d.Name, Model: d.Model, Lifecycle: string(d.Lifecycle), Verdict: string(d.Believed(e.Now())),
		VerifiedAt: kept.At, SHA256: kept.Digest, Document: kept.Document, Content: []api.Log{},
	}
	for _, digest := range slices.Sorted(maps.Keys(kept.Content)) {
		out.Content = append(out.Content, api.Log{SHA256: digest, Content: kept.Content[digest]})
	}
	return answer(out, nil)
}
