package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"troth/internal/api"
	"troth/internal/fleet"
	"troth/internal/result"
)

// Results makes attestation result tokens.
type Results struct {
	*result.Service
	// Set is the public keys that tokens are signed with, old ones included.
	Set func() json.Marshaler // a JWK Set
}

func (e *edge) resultRoutes() {
	byDevice(e, huma.Operation{
		OperationID: "own-result", Method: http.MethodGet, Path: api.PathDeviceResult, Tags: []string{"device"},
		Summary: "The device's own attestation result, signed for relying parties",
	}, e.ownResult)
	byOperator(e, huma.Operation{
		OperationID: "device-result", Method: http.MethodGet, Path: api.PathResult, Tags: []string{"operator"},
		Summary: "A device's attestation result, signed for relying parties",
	}, "device.result", e.deviceResult)
	open(e, huma.Operation{
		OperationID: "result-keys", Method: http.MethodGet, Path: api.PathResultKeys, Tags: []string{"public"},
		Summary: "The keys that attestation results are signed with (JWK Set)",
	}, newPerAddress(enrollRate, enrollBurst), e.resultKeys)
}

// Nonce is a relying party's, to go into the token. It is exported for the sake
// of embedding, as ByID.
type Nonce struct {
	Nonce string `query:"nonce" maxLength:"86" doc:"8 to 64 bytes in base64url without padding, of the relying party"`
}

func (e *edge) ownResult(ctx context.Context, c caller, in *Nonce) (*body[api.Result], error) {
	return e.result(ctx, c.id, in.Nonce)
}

func (e *edge) deviceResult(ctx context.Context, _ fleet.Token, in *struct {
	ByID
	Nonce
}) (*body[api.Result], error) {
	d, err := e.Devices.Resolve(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return e.result(ctx, d.ID, in.Nonce.Nonce)
}

func (e *edge) result(ctx context.Context, id fleet.DeviceID, nonce string) (*body[api.Result], error) {
	token, err := e.Results.Token(ctx, id, nonce)
	return answer(api.Result{Token: token.Text, Status: token.Status.String(), ExpiresAt: token.ExpiresAt.UTC()}, err)
}

// keyDocument may be kept for a while: a relying party that meets a key it does
// not know asks again.
type keyDocument struct {
	ContentType  string `header:"Content-Type"`
	CacheControl string `header:"Cache-Control"`
	Body         []byte
}

func (e *edge) resultKeys(context.Context, *struct{}) (*keyDocument, error) {
	text, err := json.Marshal(e.Results.Set())
	if err != nil {
		return nil, fmt.Errorf("encode key set: %w", err)
	}
	return &keyDocument{ContentType: api.KeySetType, CacheControl: "public, max-age=300", Body: text}, nil
}
