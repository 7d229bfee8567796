package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"runtime"

	"troth/attest"
	"troth/internal/api"
)

// checkIn proves the device's state once.
func (a *Agent) checkIn(ctx context.Context) (api.CheckInAnswer, error) {
	var answer api.CheckInAnswer
	if a.nonce == nil || a.selection == nil {
		var n api.Nonce
		if err := a.session.client.Do(ctx, http.MethodPost, api.PathNonce, nil, &n); err != nil {
			return answer, err
		}
		a.nonce, a.selection = n.Nonce, n.Selection
	}
	evidence, err := a.evidence("checkin", a.session.credential.DeviceID, a.nonce, a.session.clientKey, a.selection)
	if err != nil {
		return answer, err
	}
	request := api.CheckInRequest{Nonce: a.nonce, Evidence: evidence}
	a.nonce = nil // used up, whatever comes back
	if err := a.session.client.Do(ctx, http.MethodPost, api.PathCheckIn, request, &answer); err != nil {
		return answer, err
	}
	a.nonce = answer.Nonce
	a.hold(evidence)
	a.Log.Debug("checked in", "verdict", answer.Verdict, "firmware", answer.Firmware)
	return answer, nil
}

// attempts to quote while the kernel keeps measuring files.
const attempts = 3

// evidence quotes the TPM over everything that is said with it. The quote binds
// the digests of the logs, so they are read first; where the IMA list grew
// while the TPM quoted, PCR 10 may be ahead of it, and it is all done again.
func (a *Agent) evidence(purpose, device string, nonce, clientKey []byte, selection api.Selection) (api.Evidence, error) {
	var e api.Evidence
	for range attempts {
		var binding attest.Binding
		var err error
		if e, binding, err = a.gather(purpose, device, nonce, clientKey); err != nil {
			return e, err
		}
		quote, err := a.tpm.Quote(a.identity.AK, binding.QualifyingData(), selection)
		if err != nil {
			return e, fmt.Errorf("quote: %w", err)
		}
		e.Quote, e.Signature, e.PCRs = quote.Attest, quote.Signature, hexPCRs(quote.PCRs)
		if _, sum, err := a.log(a.IMA); err == nil && sum == binding.IMA {
			break
		}
	}
	return e, nil
}

// gather collects what the quote is to bind.
func (a *Agent) gather(purpose, device string, nonce, clientKey []byte) (api.Evidence, attest.Binding, error) {
	reported, err := json.Marshal(a.reported())
	if err != nil {
		return api.Evidence{}, attest.Binding{}, fmt.Errorf("encode reported state: %w", err)
	}
	e := api.Evidence{Reported: reported}
	b := attest.Binding{Purpose: purpose, Nonce: nonce, DeviceID: device, ClientKey: clientKey, Reported: reported}
	if e.EventLog, b.EventLog, err = a.log(a.EventLog); err != nil {
		return e, b, err
	}
	e.IMA, b.IMA, err = a.log(a.IMA)
	return e, b, err
}

func hexPCRs(in map[string]map[int][]byte) api.PCRs {
	out := api.PCRs{}
	for bank, values := range in {
		out[bank] = map[int]string{}
		for index, digest := range values {
			out[bank][index] = hex.EncodeToString(digest)
		}
	}
	return out
}

// maxLog bounds a log that is read, in bytes.
const maxLog = 64 << 20

// log reads a measurement log; the content is left out where the service holds
// it already.
func (a *Agent) log(path string) (*api.Log, [sha256.Size]byte, error) {
	if path == "" {
		return nil, [sha256.Size]byte{}, nil
	}
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(content) == 0 {
		return nil, [sha256.Size]byte{}, nil // the service sees that there is none
	}
	if err != nil {
		return nil, [sha256.Size]byte{}, fmt.Errorf("read log: %w", err)
	}
	if len(content) > maxLog {
		return nil, [sha256.Size]byte{}, fmt.Errorf("read log: %s has more than %d bytes", path, maxLog)
	}
	sum := sha256.Sum256(content)
	l := &api.Log{SHA256: hex.EncodeToString(sum[:])}
	if !a.held[l.SHA256] {
		l.Content = content
	}
	return l, sum, nil
}

// hold remembers that the service has the logs.
func (a *Agent) hold(e api.Evidence) {
	for _, l := range []*api.Log{e.EventLog, e.IMA} {
		if l != nil {
			a.held[l.SHA256] = true
		}
	}
}

// reported is what the device says of itself.
func (a *Agent) reported() api.Reported {
	r := api.Reported{
		AgentVersion: a.Version, OS: runtime.GOOS, Arch: runtime.GOARCH, Health: a.health,
		Update: api.ReportedUpdate{State: a.update.State, Version: a.update.Version, Error: a.update.Error},
	}
	r.Hostname, _ = os.Hostname() // a device without one has none
	if a.slots != nil {
		if s, name, _, err := a.slots.Running(); err == nil {
			r.Firmware = api.ReportedSlot{Slot: name, Version: s.Version}
		}
	}
	return r
}
