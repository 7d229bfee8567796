package httpapi

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"troth/internal/api"
	"troth/internal/fleet"
)

// body is an answer with a JSON body.
type body[T any] struct{ Body T }

func answer[T any](v T, err error) (*body[T], error) {
	if err != nil {
		return nil, err
	}
	return &body[T]{v}, nil
}

// open registers a route that needs no credential: its protocol brings its own
// proof. It is limited by address.
func open[I, O any](e *edge, op huma.Operation, limit *perAddress, h func(context.Context, *I) (*O, error)) {
	op.Middlewares = append(op.Middlewares, e.limit(limit))
	register(e, op, h)
}

// byDevice registers a route for devices, known by their client certificate.
func byDevice[I, O any](e *edge, op huma.Operation, h func(context.Context, caller, *I) (*O, error)) {
	op.Security = []map[string][]string{{"device": {}}}
	op.Middlewares = append(huma.Middlewares{e.requireDevice}, op.Middlewares...)
	register(e, op, func(ctx context.Context, in *I) (*O, error) { return h(ctx, callerOf(ctx), in) })
}

// byOperator registers a route for operators, known by their token, whose role
// policy must allow the action.
func byOperator[I, O any](e *edge, op huma.Operation, action string, h func(context.Context, fleet.Token, *I) (*O, error)) {
	op.Security = []map[string][]string{{"token": {}}}
	op.Middlewares = append(huma.Middlewares{e.requireOperator(action, strings.HasPrefix(op.Path, api.PathDevice))}, op.Middlewares...)
	register(e, op, func(ctx context.Context, in *I) (*O, error) { return h(ctx, tokenOf(ctx), in) })
}

func register[I, O any](e *edge, op huma.Operation, h func(context.Context, *I) (*O, error)) {
	if op.MaxBodyBytes == 0 {
		op.MaxBodyBytes = maxBody
	}
	op.Responses = map[string]*huma.Response{"default": {
		Description: "Every refusal and failure, of whatever status",
		Content:     map[string]*huma.MediaType{api.ProblemType: {Schema: e.problemSchema()}},
	}}
	huma.Register(e.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, in)
		if err != nil {
			return nil, e.fail(ctx, err)
		}
		return out, nil
	})
}

// problemSchema is the one form of errors, in the OpenAPI document.
func (e *edge) problemSchema() *huma.Schema {
	return e.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[api.Problem](), true, "Problem")
}

// fail renders an error, and logs what the answer keeps to itself.
func (e *edge) fail(ctx context.Context, err error) error {
	p := render(err)
	if p.Status >= http.StatusInternalServerError && !errors.Is(err, context.Canceled) {
		e.Log.ErrorContext(ctx, "request failed", "request", requestID(ctx), "code", p.Code, "error", err)
	}
	return p
}

// deny answers from a middleware.
func (e *edge) deny(ctx huma.Context, err error) {
	p := render(e.fail(ctx.Context(), err))
	p.RequestID = requestID(ctx.Context())
	for name, values := range p.GetHeaders() {
		ctx.SetHeader(name, values[0])
	}
	ctx.SetHeader("Content-Type", p.ContentType(""))
	ctx.SetStatus(p.Status)
	if err := e.api.Marshal(ctx.BodyWriter(), "application/json", p.Problem); err != nil {
		e.Log.WarnContext(ctx.Context(), "answer was not written", "request", requestID(ctx.Context()), "error", err)
	}
}

// limit refuses an address that calls too often.
func (e *edge) limit(l *perAddress) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		if !l.allow(ctx.RemoteAddr(), e.Now()) {
			e.deny(ctx, tooMany("too many requests from this address: wait a moment"))
			return
		}
		next(ctx)
	}
}

// heavy bounds how many requests that carry evidence are received and worked on
// at once.
func (e *edge) heavy(places chan struct{}) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
			next(ctx)
		default:
			p := newProblem(http.StatusServiceUnavailable, "busy", "the service appraises as much evidence as it can: try again")
			p.retryAfter = 2
			e.deny(ctx, p)
		}
	}
}
