package httpapi

import (
	"context"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"troth/internal/api"
	"troth/internal/fleet"
)

type requestIDKey struct{}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// answerTime bounds the work for one answer: a dependency that hangs is away. It
// is shorter than the patience of clients, so that they hear it from us.
const answerTime = 20 * time.Second

// envelope is around every request: an id, safe headers, a log line, and an
// honest answer where a handler panics.
func (e *edge) envelope(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := fleet.NewID()
		ctx := context.WithValue(r.Context(), requestIDKey{}, id)
		if !strings.HasPrefix(r.URL.Path, api.PathTUF) { // a download takes as long as it takes
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, answerTime)
			defer cancel()
		}
		r = r.WithContext(ctx)
		h := w.Header()
		h.Set("X-Request-Id", id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		h.Set("Strict-Transport-Security", "max-age=31536000")
		rec := &recorder{ResponseWriter: w}
		start := e.Now()
		defer func() {
			if p := recover(); p != nil {
				e.Log.ErrorContext(ctx, "panic", "request", id, "panic", p, "stack", string(debug.Stack()))
				if rec.status == 0 {
					writeProblem(rec, r, http.StatusInternalServerError, &api.Problem{Code: "internal", Detail: "the service met an error that is its own: the request id leads to it in the log"})
				}
			}
			e.Log.DebugContext(ctx, "request", "request", id, "method", r.Method, "path", r.URL.Path, "status", rec.status, "duration", e.Now().Sub(start))
		}()
		next.ServeHTTP(rec, r)
	})
}

type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Flush is for gRPC, which asks for it by this name.
func (r *recorder) Flush() { _ = http.NewResponseController(r.ResponseWriter).Flush() }

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// perAddress limits requests by the address that they come from.
type perAddress struct {
	limit rate.Limit
	burst int
	mu    sync.Mutex
	seen  map[string]*rate.Limiter
}

// maxAddresses bounds the memory of a perAddress; past it, it forgets.
const maxAddresses = 10000

func newPerAddress(limit rate.Limit, burst int) *perAddress {
	return &perAddress{limit: limit, burst: burst, seen: map[string]*rate.Limiter{}}
}

func (p *perAddress) allow(remote string, now time.Time) bool {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l, ok := p.seen[host]
	if !ok {
		if len(p.seen) >= maxAddresses {
			clear(p.seen)
		}
		l = rate.NewLimiter(p.limit, p.burst)
		p.seen[host] = l
	}
	return l.AllowN(now, 1)
}
