package api_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"troth/internal/api"
)

func TestRetryAfter(t *testing.T) {
	const now = "Tue, 24 Nov 2026 12:00:00 GMT"
	for _, tc := range []struct {
		header, date string
		want         time.Duration
	}{
		{"", now, 0},
		{"0", now, 0},
		{"7", now, 7 * time.Second},
		{"7", "", 7 * time.Second},
		{"-7", now, 0},
		{"7.5", now, 0},
		{"99999999999999999999999", now, 0},
		{"9223372036854775807", now, 24 * time.Hour},
		{"Tue, 24 Nov 2026 12:01:30 GMT", now, 90 * time.Second},
		{"Tue, 24 Nov 2026 11:01:30 GMT", now, 0},
		{"Tue, 24 Nov 2099 11:01:30 GMT", now, 24 * time.Hour},
		{"Tue, 24 Nov 2026 12:01:30 GMT", "yesterday", 0},
		{"soon", now, 0},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Retry-After"], w.Header()["Date"] = []string{tc.header}, []string{tc.date}
			w.WriteHeader(http.StatusServiceUnavailable)
		}))
		c := &api.Client{Base: server.URL, HTTP: server.Client()}
		err := c.Do(t.Context(), http.MethodGet, "/", nil, nil)
		if got := api.RetryAfterOf(err); err == nil || got != tc.want {
			t.Errorf("Retry-After %q at %q: %v (%v), want %v", tc.header, tc.date, got, err, tc.want)
		}
		server.Close()
	}
	if got := api.RetryAfterOf(nil); got != 0 {
		t.Errorf("of no error: %v", got)
	}
}
