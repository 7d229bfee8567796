package install

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// hookLater is the exit status of a hook that cannot now: EX_TEMPFAIL of
// sysexits.h. Every other one but 0 is a failure of this release.
const hookLater = 75

// Exec is a program of the integrator's as a Tool. Its contract is in
// docs/integrator-guide.md, "Updates on your hardware".
type Exec struct {
	Path  string        // absolute
	Limit time.Duration // for an installation; 0 means 30 minutes
}

// hookAnswer is what a hook writes to standard output.
type hookAnswer struct {
	Slot   string `json:"slot"`
	SHA256 string `json:"sha256"`
}

// Booted is Tool's: the hook's verb "status".
func (e Exec) Booted(ctx context.Context) (string, error) {
	answer, err := e.run(ctx, "status", shortTime, nil, nil)
	if err != nil {
		return "", err
	}
	return parseSlot(answer.Slot)
}

// Write is Tool's: the hook's verb "install".
func (e Exec) Write(ctx context.Context, image *os.File, r Release) (string, error) {
	limit := e.Limit
	if limit <= 0 {
		limit = longTime
	}
	answer, err := e.run(ctx, "install", limit, image, []string{
		"TROTH_VERSION=" + r.Version,
		"TROTH_COUNTER=" + strconv.FormatUint(r.Counter, 10),
		"TROTH_SHA256=" + r.SHA256,
		"TROTH_LENGTH=" + strconv.FormatInt(r.Length, 10),
	})
	if err != nil {
		return "", err
	}
	if b, err := hex.DecodeString(answer.SHA256); err != nil || len(b) != 32 {
		return "", fmt.Errorf("%s install does not say the digest of what it wrote", e.Path)
	}
	return strings.ToLower(answer.SHA256), nil
}

// Confirm is Tool's.
func (e Exec) Confirm(ctx context.Context) error {
	_, err := e.run(ctx, "confirm", shortTime, nil, nil)
	return err
}

// Revert is Tool's.
func (e Exec) Revert(ctx context.Context) error {
	_, err := e.run(ctx, "revert", shortTime, nil, nil)
	return err
}

func (e Exec) run(ctx context.Context, verb string, limit time.Duration, image *os.File, env []string) (hookAnswer, error) {
	out, err := command{
		argv: []string{e.Path, verb}, env: append(env, "TROTH_CONTRACT=1"), stdin: image, limit: limit,
	}.run(ctx)
	if exited(err) == hookLater {
		return hookAnswer{}, fmt.Errorf("%w: %w", ErrLater, err)
	}
	if err != nil {
		return hookAnswer{}, err
	}
	if verb == "confirm" || verb == "revert" {
		return hookAnswer{}, nil
	}
	return parseHookAnswer(out)
}

// parseHookAnswer reads one JSON object and nothing after it.
func parseHookAnswer(b []byte) (hookAnswer, error) {
	var a hookAnswer
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&a); err != nil {
		return hookAnswer{}, fmt.Errorf("parse the hook's answer: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return hookAnswer{}, errors.New("parse the hook's answer: something follows the JSON object")
	}
	return a, nil
}

// parseSlot takes a slot's name: it is shown to people and compared.
func parseSlot(s string) (string, error) {
	if s == "" || len(s) > 128 {
		return "", fmt.Errorf("slot name %.40q is not 1 to 128 bytes", s)
	}
	for _, r := range s {
		if r <= ' ' || r > '~' {
			return "", fmt.Errorf("slot name %.40q is not printable ASCII", s)
		}
	}
	return s, nil
}
