package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"

	"troth/internal/api"
)

// userspaceLog is where systemd keeps the log of what it measures
// (systemd.io/TPM2_PCR_MEASUREMENTS).
const userspaceLog = "/run/log/systemd/tpm2-measure.log"

// DefaultUserspaceLog is the path of systemd's log of its own measurements; empty
// where there may be one, but not for this process to read. Where none of its PCRs
// is extended, it is not missed, and otherwise the service says so.
func DefaultUserspaceLog() string {
	f, err := os.Open(userspaceLog)
	if errors.Is(err, fs.ErrPermission) {
		return ""
	}
	if err == nil {
		_ = f.Close() // only read
	}
	return userspaceLog
}

// userspaceLog is systemd's log as it is sent. It continues the event log, and is
// sent with that only.
func (a *Agent) userspaceLog() (l *api.Log, sum [sha256.Size]byte, err error) {
	content, err := readLog(a.UserspaceLog, 0)
	if err != nil || content == nil {
		return nil, sum, err
	}
	l, sum = a.named(content)
	return l, sum, nil
}

// stillThere reports whether systemd measured nothing since its log was read.
func (a *Agent) stillThere(read *api.Log) bool {
	if read == nil {
		return true
	}
	content, err := readLog(a.UserspaceLog, 0)
	sum := sha256.Sum256(content)
	return err == nil && hex.EncodeToString(sum[:]) == read.SHA256
}
