package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"troth/attest"
	"troth/internal/agent"
)

// The agent sends systemd's log of its own measurements with the event log that it
// continues: what systemd measured is then explained.
func TestAgentSendsUserspaceLog(t *testing.T) {
	t.Parallel()
	measured := bytes.Repeat([]byte{0xee}, sha256.Size)
	record := func(pcr int, digest []byte) []byte {
		return fmt.Appendf(nil, "\x1e"+`{"pcr":%d,"digests":[{"hashAlg":"sha256","digest":"%x"}],"content_type":"systemd","content":{"string":"cryptsetup:root","bootId":"8d1f5b2c3a4e4d1f9d4b6c7a8e9f0a1b","timestamp":1234567,"eventType":"volume-key"}}`+"\n", pcr, digest)
	}
	for name, tt := range map[string]struct {
		pcr     int
		records int // that the service counts
	}{
		"of a word that was not measured": {11, 0}, // only a volume key's digest may be another's than its name's
		"of a volume key":                 {15, 1},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAttacker(t, everyones(t))
			extend(t, a, tt.pcr)
			log := filepath.Join(t.TempDir(), "tpm2-measure.log")
			if err := os.WriteFile(log, record(tt.pcr, measured), 0o600); err != nil {
				t.Fatal(err)
			}
			said := &journal{}
			stop := a.runAgent(t.TempDir(), func(c *agent.Config) { c.UserspaceLog, c.Log = log, said.logger() })
			if tt.records == 0 {
				eventually(t, 15*time.Second, "the log is refused", func() (string, bool) {
					return said.text(), said.has(attest.CodeUserspaceLogData)
				})
				a.service.kept(t, a.id).nothing(t)
			} else {
				eventually(t, 15*time.Second, "the device checks in with the log", func() (string, bool) {
					p := a.service.kept(t, a.id).Posture
					if p == nil {
						return said.text(), false
					}
					var r struct {
						EventLog struct {
							UnexplainedPCRs []int `json:"unexplained_pcrs"`
						} `json:"event_log"`
						Userspace attest.UserspaceResult `json:"userspace_log"`
					}
					if err := json.Unmarshal(p.Attestation, &r); err != nil {
						t.Fatal(err)
					}
					u := r.Userspace
					return string(p.Attestation), u.Replayed && u.Records == tt.records && len(r.EventLog.UnexplainedPCRs) == 0
				})
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}
