package agent

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
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
		a.list.told(n.IMAEntries)
	}
	evidence, err := a.evidence("checkin", a.session.credential.DeviceID, a.nonce, a.session.clientKey, a.selection)
	if err != nil {
		return answer, err
	}
	request := api.CheckInRequest{Nonce: a.nonce, Evidence: evidence}
	a.nonce = nil // used up, whatever comes back
	if err := a.session.client.Do(ctx, http.MethodPost, api.PathCheckIn, request, &answer); err != nil {
		a.list.refused(err)
		return answer, err
	}
	a.nonce = answer.Nonce
	a.list.accepted(answer.IMAEntries)
	a.hold(evidence)
	a.Log.Debug("checked in", "verdict", answer.Verdict, "firmware", answer.Firmware)
	return answer, nil
}

// attempts to quote while the kernel keeps measuring files.
const attempts = 3

// evidence quotes the TPM over everything that is said with it. The quote binds
// the digests of the logs, so they are read first; where the IMA list or systemd's
// log grew while the TPM quoted, PCRs may be ahead of it, and it is all done again. Who
// enrols begins the list anew.
func (a *Agent) evidence(purpose, device string, nonce, clientKey []byte, selection api.Selection) (api.Evidence, error) {
	var e api.Evidence
	if purpose != "checkin" {
		a.list = imaList{}
	}
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
		if _, _, sum, err := a.imaLog(); err == nil && sum == binding.IMA && a.stillThere(e.Userspace) {
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
	eventLog, err := readLog(a.EventLog, 0)
	if err != nil {
		return e, b, err
	}
	if eventLog != nil {
		e.EventLog, b.EventLog = a.named(eventLog)
		if e.Userspace, b.Userspace, err = a.userspaceLog(); err != nil {
			return e, b, err
		}
	}
	e.IMA, e.IMAFrom, b.IMA, err = a.imaLog()
	b.IMAFrom = uint64(e.IMAFrom)
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

// hold remembers that the service has the logs.
func (a *Agent) hold(e api.Evidence) {
	if e.EventLog != nil {
		a.held[e.EventLog.SHA256] = true
	}
	if e.Userspace != nil {
		a.held[e.Userspace.SHA256] = true
	}
	if e.IMA != nil && e.IMAFrom == 0 {
		a.held[e.IMA.SHA256] = true
	}
}

// reported is what the device says of itself.
func (a *Agent) reported() api.Reported {
	r := api.Reported{
		AgentVersion: a.Version, OS: runtime.GOOS, Arch: runtime.GOARCH, Health: a.health, TrustBundle: a.holds(),
		Update: api.ReportedUpdate{State: a.update.State, Version: a.update.Version, Error: a.update.Error},
	}
	r.Hostname, _ = os.Hostname() // a device without one has none
	if a.Host != nil {
		r.Host = a.Host.Read()
		r.Host.Agent.Version = a.Version
	}
	if a.slots != nil {
		if s, name, _, err := a.slots.Running(); err == nil {
			r.Firmware = api.ReportedSlot{Slot: name, Version: s.Version}
		}
	}
	return r
}
