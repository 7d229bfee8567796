package e2e

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"troth/internal/agent"
)

// A service that is overwhelmed says when to come back. A device waits that long,
// also where it would have tried again sooner by itself.
func TestAgentWaitsAsLongAsItIsAsked(t *testing.T) {
	t.Parallel()
	const asked = 4 * time.Second // its own first retries are after one and two
	asks := make(chan time.Time, 64)
	overwhelmed := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asks <- time.Now()
		w.Header().Set("Retry-After", "4")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	defer overwhelmed.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: overwhelmed.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	a := newAttacker(t, everyones(t))
	stop := a.runAgent(t.TempDir(), func(c *agent.Config) { c.Server, c.ServerCA = overwhelmed.URL, ca })
	var last time.Time
	for range 3 {
		select {
		case now := <-asks:
			if waited := now.Sub(last); waited < asked {
				t.Errorf("it came back after %v", waited)
			}
			last = now
		case <-time.After(15 * time.Second):
			t.Fatal("it does not come back")
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
