package httpapi

import (
	"net/http"

	"troth/internal/api"
)

// served answers what the mux serves, and gives its refusals of other paths and
// methods the one form.
func served(mux *http.ServeMux) http.Handler {
	other := problems(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "" {
			other.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// problems turns the plain-text errors of net/http's own handlers into problems.
func problems(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&problemWriter{ResponseWriter: w, request: r}, r)
	})
}

type problemWriter struct {
	http.ResponseWriter
	request *http.Request
	refused bool
}

func (p *problemWriter) WriteHeader(status int) {
	if status < http.StatusBadRequest {
		p.ResponseWriter.WriteHeader(status)
		return
	}
	p.refused = true
	problem := &api.Problem{Code: "invalid_request", Detail: "the request cannot be answered as it is"}
	switch status {
	case http.StatusNotFound:
		problem.Code, problem.Detail = "not_found", "nothing is served at this path"
	case http.StatusMethodNotAllowed:
		problem.Code, problem.Detail = "method_not_allowed", "this path has other methods: "+p.Header().Get("Allow")
	case http.StatusRequestedRangeNotSatisfiable:
		problem.Code, problem.Detail = "range_not_satisfiable", "the file is shorter than the range that was asked for"
	case http.StatusInternalServerError:
		problem.Code, problem.Detail = "internal", "the service met an error that is its own: the request id leads to it in the log"
	}
	writeProblem(p.ResponseWriter, p.request, status, problem)
}

// Write drops the text of an error: the problem was written in its place.
func (p *problemWriter) Write(b []byte) (int, error) {
	if p.refused {
		return len(b), nil
	}
	return p.ResponseWriter.Write(b)
}

func (p *problemWriter) Unwrap() http.ResponseWriter { return p.ResponseWriter }
