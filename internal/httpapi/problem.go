package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"troth/internal/api"
	"troth/internal/fleet"
)

// problem is the one renderer of errors: a Problem that huma can write.
type problem struct {
	*api.Problem
	retryAfter int // seconds; 0: not said
}

func (p problem) GetStatus() int { return p.Status }

func (p problem) ContentType(string) string { return api.ProblemType }

func (p problem) MarshalJSON() ([]byte, error) { return json.Marshal(p.Problem) }

func (p problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	return h
}

var statusOf = map[fleet.Kind]int{
	fleet.Internal:     http.StatusInternalServerError,
	fleet.Invalid:      http.StatusBadRequest,
	fleet.Refused:      http.StatusForbidden,
	fleet.Unauthorized: http.StatusUnauthorized,
	fleet.NotFound:     http.StatusNotFound,
	fleet.Conflict:     http.StatusConflict,
	fleet.Unavailable:  http.StatusServiceUnavailable,
}

// retryAfter is when to come back to a dependency that is away, in seconds.
const retryAfter = 5

// render turns any error into a problem. What is internal stays internal: the
// cause is logged, and the answer names only the request.
func render(err error) problem {
	var p problem
	if errors.As(err, &p) {
		return p
	}
	var e *fleet.Error
	if errors.Is(err, context.DeadlineExceeded) && !fleet.IsKind(err, fleet.Unavailable) {
		e = fleet.Because(err, fleet.Unavailable, "timeout", "the service waited too long for what it depends on: try again")
		err = e
	}
	if !errors.As(err, &e) || e.Kind == fleet.Internal && e.Code == "" {
		return newProblem(http.StatusInternalServerError, "internal", "the service met an error that is its own: the request id leads to it in the log")
	}
	p = newProblem(statusOf[e.Kind], e.Code, e.Message)
	if e.Kind == fleet.Unavailable {
		p.retryAfter = retryAfter
	}
	return p
}

func newProblem(status int, code, detail string) problem {
	return problem{Problem: &api.Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: detail}}
}

func tooMany(detail string) problem {
	p := newProblem(http.StatusTooManyRequests, "too_many_requests", detail)
	p.retryAfter = 1
	return p
}

// transformProblem gives every error the one form, huma's own included, and the
// request's id.
func transformProblem(ctx huma.Context, _ string, v any) (any, error) {
	switch e := v.(type) {
	case problem:
		e.RequestID = requestID(ctx.Context())
		return e.Problem, nil
	case *huma.ErrorModel:
		p := newProblem(e.Status, "invalid_request", "the request does not have the documented form")
		switch {
		case e.Status == http.StatusRequestEntityTooLarge:
			p.Code, p.Detail = "request_too_large", "the request is larger than this route takes"
		case e.Status == http.StatusRequestTimeout:
			p.Code, p.Detail = "request_timeout", "the request took too long to arrive"
		case e.Status >= http.StatusInternalServerError:
			p.Code, p.Detail = "internal", "the service met an error that is its own: the request id leads to it in the log"
		}
		if e.Status < http.StatusInternalServerError {
			for _, detail := range e.Errors {
				p.Errors = append(p.Errors, detail.Location+": "+detail.Message)
			}
		}
		p.RequestID = requestID(ctx.Context())
		return p.Problem, nil
	default:
		return v, nil
	}
}

// writeProblem is for the few routes that huma does not serve.
func writeProblem(w http.ResponseWriter, r *http.Request, status int, p *api.Problem) {
	p.Type, p.Title, p.Status, p.RequestID = "about:blank", http.StatusText(status), status, requestID(r.Context())
	w.Header().Set("Content-Type", api.ProblemType)
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(p)
}
