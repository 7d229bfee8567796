package httpapi

import (
	"context"
	"encoding/hex"

	"troth/internal/api"
	"troth/internal/fleet"
)

func (e *edge) listCertificates(ctx context.Context, _ fleet.Token, in *ByID) (*body[api.DeviceCertificates], error) {
	d, list, err := e.Devices.Certificates(ctx, in.ID)
	out := api.DeviceCertificates{Device: string(d.ID), Name: d.Name, Certificates: []api.DeviceCertificate{}}
	for _, c := range list {
		out.Certificates = append(out.Certificates, certificateView(c))
	}
	return answer(out, err)
}

func certificateView(c fleet.Certificate) api.DeviceCertificate {
	return api.DeviceCertificate{
		ID: c.ID, State: string(c.State), Reason: c.Reason, Serial: c.Serial, Key: hex.EncodeToString(c.Key),
		CreatedAt: c.CreatedAt, NotBefore: instant(c.NotBefore), NotAfter: instant(c.NotAfter), EndedAt: instant(c.EndedAt),
		RotateKey: c.RotateKey, RevokedAtCA: instant(c.Authority.ConfirmedAt), Attempts: c.Authority.Attempts, Problem: c.Authority.Problem,
	}
}

// change is an operator's step that needs a reason.
func (e *edge) change(do func(ctx context.Context, key, reason, by string) (fleet.Device, error)) func(context.Context, fleet.Token, *struct {
	ByID
	Body api.ReasonRequest
}) (*body[api.Device], error) {
	return func(ctx context.Context, t fleet.Token, in *struct {
		ByID
		Body api.ReasonRequest
	}) (*body[api.Device], error) {
		d, err := do(ctx, in.ID, in.Body.Reason, t.Operator)
		return answer(deviceView(d, e.Now()), err)
	}
}
