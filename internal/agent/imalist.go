package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"

	"troth/attest/ima"
	"troth/internal/api"
)

// The lists that the kernel gives. The binary one says where each entry ends; in
// the other that must be found out, as names may hold newlines.
const (
	imaBinary = "/sys/kernel/security/ima/binary_runtime_measurements"
	imaASCII  = "/sys/kernel/security/ima/ascii_runtime_measurements"
)

// DefaultIMA is the path of the IMA list that this process can read, the binary
// one by preference.
func DefaultIMA() string {
	for _, path := range []string{imaBinary, imaASCII} {
		if f, err := os.Open(path); err == nil {
			_ = f.Close() // only read
			return path
		}
	}
	return imaBinary
}

// imaList is where the agent stands in the kernel's IMA list. It is not kept
// across restarts: the service knows how far it counted.
type imaList struct {
	counted int   // entries that the service has counted
	offset  int64 // of the entry after them, in bytes; 0: not known
	whole   bool  // what continued was refused, so the next is sent whole

	sent struct { // last
		from    int
		offset  int64
		content []byte
	}
}

// told takes how many entries the service has counted.
func (l *imaList) told(entries int) {
	if entries != l.counted {
		l.counted, l.offset = entries, 0
	}
}

// accepted takes how many entries the service has counted with those that were
// sent, and finds the next in what was sent.
func (l *imaList) accepted(entries int) {
	sent := l.sent
	*l = imaList{counted: entries}
	if at, err := ima.Offset(sent.content, entries-sent.from); err == nil && entries >= sent.from {
		l.offset = sent.offset + int64(at)
	}
}

// refused takes that the service did not accept what was sent: because what it
// counted is of another boot, or the list is another than it was. The whole list
// says more.
func (l *imaList) refused(err error) {
	var p *api.Problem
	if errors.As(err, &p) && (p.Code == "log_required" || p.Status == http.StatusForbidden) {
		*l = imaList{whole: true}
	}
}

// read returns the list from the first entry that the service has not counted,
// and that entry's index. It is whole, from 0, where that entry is not found; nil
// where there is no list.
func (l *imaList) read(path string) (content []byte, from int, err error) {
	offset := l.offset
	if l.whole || l.counted == 0 {
		offset = 0
	} else if from = l.counted; offset == 0 {
		whole, err := readLog(path, 0)
		if err != nil || whole == nil {
			return nil, 0, err
		}
		at, err := ima.Offset(whole, from)
		if err != nil { // fewer entries: another boot's
			return l.remember(whole, 0, 0), 0, nil //nolint:nilerr // the whole list says the rest
		}
		l.offset = int64(at)
		return l.remember(whole[at:], from, l.offset), from, nil
	}
	content, err = readLog(path, offset)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		from, offset = 0, 0
		content, err = readLog(path, 0)
	}
	if err != nil || content == nil {
		return nil, 0, err
	}
	return l.remember(content, from, offset), from, nil
}

func (l *imaList) remember(content []byte, from int, offset int64) []byte {
	l.sent.content, l.sent.from, l.sent.offset = content, from, offset
	return content
}

// readLog reads a measurement log from an offset; nil where there is none. An
// offset past its end is io.ErrUnexpectedEOF. The kernel makes the log as it is
// read, so what comes before the offset is read too, and dropped.
func readLog(path string, offset int64) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the service sees that there is none
	}
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	if n, err := io.CopyN(io.Discard, f, offset); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read log: %s after %d of %d bytes: %w", path, n, offset, err)
	}
	var content bytes.Buffer
	if _, err := content.ReadFrom(io.LimitReader(f, maxLog+1)); err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	switch {
	case offset+int64(content.Len()) > maxLog:
		return nil, fmt.Errorf("read log: %s has more than %d bytes", path, maxLog)
	case content.Len() > 0:
		return content.Bytes(), nil
	case offset > 0: // nothing was added
		return []byte{}, nil
	}
	return nil, nil
}

// imaLog is the list as it is sent: from what is not counted on.
func (a *Agent) imaLog() (*api.Log, int, [sha256.Size]byte, error) {
	content, from, err := a.list.read(a.IMA)
	if err != nil || content == nil {
		return nil, 0, [sha256.Size]byte{}, err
	}
	l, sum := a.named(content)
	return l, from, sum, nil
}

// named is a log by its digest; the content is left out where the service holds
// it already.
func (a *Agent) named(content []byte) (*api.Log, [sha256.Size]byte) {
	sum := sha256.Sum256(content)
	l := &api.Log{SHA256: hex.EncodeToString(sum[:])}
	if !a.held[l.SHA256] {
		l.Content = content
	}
	return l, sum
}
