package httpapi

import (
	"context"

	"troth/internal/api"
	"troth/internal/fleet"
)

func (e *edge) deviceDecision(ctx context.Context, _ fleet.Token, in *ByID) (*body[api.KeptDecision], error) {
	kept, err := e.Devices.Decision(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	d := kept.Decision
	return answer(api.KeptDecision{
		Device: string(kept.Device.ID), Name: kept.Device.Name, Kind: d.Kind, At: d.At,
		Policy: d.Policy, Answer: d.Answer, Decision: d.Document, SHA256: d.Input, Input: kept.Input,
	}, nil)
}
