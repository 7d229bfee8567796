package httpapi_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"troth/internal/fleet"
	"troth/internal/httpapi"
)

func TestAttack_S2_TooLargeBody(t *testing.T) {
	s := newService(t)
	admin := s.token(fleet.RoleAdmin)
	d := s.device(fleet.Active)
	cert := s.issue(d.ID, d.ID, fleet.CertificateIssued)
	const mebi = 1 << 20
	tests := []struct {
		path string
		as   credential
		size int
	}{
		{"/v1/enrollments", credential{}, mebi},
		{"/v1/login", admin, mebi},
		{"/v1/manufacturers", admin, mebi},
		{"/v1/registrations", admin, 8 * mebi},
		{"/v1/device/renew", cert, mebi},
		{"/v1/device/check-in", cert, 32 * mebi},
	}
	for _, tt := range tests {
		a := s.must(tt.as, "POST", tt.path, `{"x":"`+strings.Repeat("a", tt.size)+`"}`)
		if a.status != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: status %d: %.200s", tt.path, a.status, a.body)
		}
		isProblem(t, tt.path, a, "request_too_large")
	}
}

func TestAttack_S2_TooManyEnrolments(t *testing.T) {
	s := newService(t)
	refused := 0
	for range 300 {
		rec := s.local("POST", "/v1/enrollments", "{}", "192.0.2.1:1000")
		if rec.status != http.StatusTooManyRequests {
			continue
		}
		if refused++; refused == 1 {
			isProblem(t, "enrolments", rec, "too_many_requests")
			retryAfter(t, rec)
		}
	}
	if refused != 100 {
		t.Errorf("%d of 300 at once were refused, want 100", refused)
	}
	if rec := s.local("POST", "/v1/enrollments", "{}", "192.0.2.2:1000"); rec.status == http.StatusTooManyRequests {
		t.Error("another address pays for it")
	}
	s.later(time.Second)
	if rec := s.local("POST", "/v1/enrollments", "{}", "192.0.2.1:2000"); rec.status == http.StatusTooManyRequests {
		t.Error("a second later it is still refused")
	}
}

func TestAttack_S7_GuessingTokens(t *testing.T) {
	s := newService(t)
	good := s.token(fleet.RoleViewer)
	var last answer
	for i := range 11 {
		last = s.must(bearer(fmt.Sprintf("troth_%043d", i)), "GET", "/v1/whoami", "")
		if i < 10 && last.status != http.StatusUnauthorized {
			t.Fatalf("guess %d: status %d", i, last.status)
		}
	}
	if last.status != http.StatusTooManyRequests {
		t.Fatalf("guess 11: status %d", last.status)
	}
	isProblem(t, "guess 11", last, "too_many_requests")
	retryAfter(t, last)
	if a := s.must(good, "GET", "/v1/whoami", ""); a.status != http.StatusOK {
		t.Errorf("who has a token is locked out by who guesses: status %d", a.status)
	}
}

func retryAfter(t *testing.T, a answer) {
	t.Helper()
	if n, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || n < 1 {
		t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
	}
}

// slow sends a request's head and a part of its body, and then waits.
func (s *service) slow(c credential, path string) io.ReadCloser {
	s.t.Helper()
	config := &tls.Config{RootCAs: s.roots(), Time: s.now, ServerName: "127.0.0.1"}
	if c.cert != nil {
		config.Certificates = []tls.Certificate{*c.cert}
	}
	dialer := tls.Dialer{Config: config}
	conn, err := dialer.DialContext(s.t.Context(), "tcp", s.server.Listener.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{", path); err != nil {
		s.t.Fatal(err)
	}
	return conn
}

func TestAttack_S2_SlowBody(t *testing.T) {
	t.Parallel()
	s := newService(t)
	conn := s.slow(credential{}, "/v1/enrollments")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusRequestTimeout {
		t.Fatalf("status %d: %s", resp.StatusCode, body)
	}
	isProblem(t, "a slow body", answer{resp.StatusCode, resp.Header, body}, "request_timeout")
}

// Strangers who hold all the places of enrolment take none from the fleet.
func TestAttack_S2_SlowEnrolmentsBlockNoCheckIn(t *testing.T) {
	t.Parallel()
	s := newService(t)
	d := s.device(fleet.Active)
	cert := s.issue(d.ID, d.ID, fleet.CertificateIssued)
	busy := false
	for range 70 {
		s.slow(credential{}, "/v1/enrollments/x/complete")
	}
	for end := time.Now().Add(4 * time.Second); !busy && time.Now().Before(end); {
		a := s.must(credential{}, "POST", "/v1/enrollments/x/complete", "{}")
		if busy = a.status == http.StatusServiceUnavailable; busy {
			isProblem(t, "one more enrolment", a, "busy")
			retryAfter(t, a)
		}
	}
	if !busy {
		t.Fatal("70 enrolments at once, and there is room for more")
	}
	if a := s.must(cert, "POST", "/v1/device/check-in", "{}"); a.status == http.StatusServiceUnavailable {
		t.Errorf("a check-in is refused: %s", a.body)
	}
}

func TestAttack_S2_Panic(t *testing.T) {
	s := newService(t, func(c *httpapi.Config) {
		c.Ready = func(context.Context) map[string]error { panic("the password is hunter2") }
		c.Records = broken{c.Records}
	})
	admin := s.token(fleet.RoleAdmin)
	for _, path := range []string{"/readyz", "/v1/events"} {
		a := s.must(admin, "GET", path, "")
		if a.status != http.StatusInternalServerError || strings.Contains(string(a.body), "hunter2") {
			t.Errorf("%s: status %d: %s", path, a.status, a.body)
		}
		isProblem(t, path, a, "internal")
		if id := a.problem(t).RequestID; !strings.Contains(s.log.String(), id) {
			t.Errorf("%s: the request id leads nowhere in the log", path)
		}
	}
	if n := strings.Count(s.log.String(), "hunter2"); n < 2 {
		t.Errorf("the log has %d of 2 causes", n)
	}
}

type broken struct{ httpapi.Records }

func (broken) Events(context.Context, string, int) ([]fleet.Event, error) {
	panic("the password is hunter2")
}
