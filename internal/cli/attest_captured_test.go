package cli_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"troth/attest/eventlog"
)

// capturedEvidence is that of real boots, made by tools/capture.
const capturedEvidence = "../../attest/testdata/captured"

// TestCapturedScripts runs the offline commands on the evidence of real boots.
func TestCapturedScripts(t *testing.T) {
	source, err := filepath.Abs(capturedEvidence)
	must(t, err)
	log, err := os.ReadFile(filepath.Join(source, "uki", "eventlog"))
	must(t, err)
	made := map[string][]byte{"legacy": legacyLog(t, log), "eventlog.gz": gzipped(t, log)}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/captured",
		Setup: func(env *testscript.Env) error {
			if err := os.CopyFS(env.WorkDir, os.DirFS(source)); err != nil {
				return err
			}
			for name, content := range made {
				if err := os.WriteFile(filepath.Join(env.WorkDir, name), content, 0o600); err != nil {
					return err
				}
			}
			env.Setenv("HOME", env.WorkDir)
			for name, boot := range map[string]string{"UKI": "uki", "GRUB": "grub-no-log", "SHIM": "shim-grub"} {
				nonce, err := nonceOf(filepath.Join(source, boot, "manifest.json"))
				if err != nil {
					return err
				}
				env.Setenv(name, nonce)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status, "harmless": harmless},
	})
}

func nonceOf(manifest string) (string, error) {
	text, err := os.ReadFile(manifest)
	if err != nil {
		return "", err
	}
	var m struct {
		Nonce string `json:"nonce"`
	}
	return m.Nonce, json.Unmarshal(text, &m)
}

// legacyLog writes a log as firmware of TPM 1.2 times would have: with SHA-1
// digests alone, and no event that announces a format.
func legacyLog(t *testing.T, agile []byte) []byte {
	t.Helper()
	log, err := eventlog.Parse(agile)
	must(t, err)
	var out []byte
	le := binary.LittleEndian
	for _, e := range log.Events[1:] {
		out = le.AppendUint32(le.AppendUint32(out, uint32(e.PCR)), uint32(e.Type))
		out = append(append(out, e.Digests.In("sha1")...), le.AppendUint32(nil, uint32(len(e.Data)))...)
		out = append(out, e.Data...)
	}
	return out
}

func gzipped(t *testing.T, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(content)
	must(t, err)
	must(t, w.Close())
	return out.Bytes()
}
