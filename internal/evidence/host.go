package evidence

import (
	"encoding/json"
	"fmt"

	"troth/policy"
)

// The bounds of what a device can put into a policy's input by its own words.
const (
	maxHostSockets = 256
	maxHostNames   = 16
	maxHostName    = 128 // bytes
)

// HostFacts are what the agent read of its system, from the report that it sent
// with its quote. A report without them is no error: its agent is older, or was
// not told to read any. An error: what is there does not have the documented form.
func HostFacts(report []byte) (policy.HostInput, error) {
	var r struct {
		Host *policy.HostInput `json:"host"`
	}
	if err := json.Unmarshal(report, &r); err != nil {
		return policy.HostInput{}, fmt.Errorf("read facts of the host: %w", err)
	}
	if r.Host == nil {
		return policy.HostInput{}, nil
	}
	h := *r.Host
	h.Reported = true
	for _, text := range []*string{
		&h.Agent.Version, &h.Kernel.Release, &h.Kernel.Lockdown, &h.Kernel.CorePattern,
		&h.SSH.RootLogin, &h.SSH.Passwords, &h.SSH.Keyboard,
	} {
		*text = short(*text, maxHostName)
	}
	for _, v := range []*policy.VolumeFact{h.Volumes.Root, h.Volumes.Tmp, h.Volumes.Boot, h.Volumes.Data} {
		if v != nil {
			v.Mount, v.Filesystem, v.Backing = short(v.Mount, maxHostName), short(v.Filesystem, maxHostName), short(v.Backing, maxHostName)
		}
	}
	for _, names := range []*[]string{&h.Kernel.LSMs, &h.Accounts.Superusers, &h.Accounts.Passwordless, &h.Consoles.Serial} {
		*names = shortNames(*names)
	}
	s := &h.Sockets
	if len(s.Listening) > maxHostSockets {
		s.Listening, s.Cut = s.Listening[:maxHostSockets], true
	}
	for i := range s.Listening {
		l := &s.Listening[i]
		l.Protocol, l.Scope = short(l.Protocol, maxHostName), short(l.Scope, maxHostName)
	}
	return h, nil
}

func shortNames(names []string) []string {
	names = names[:min(len(names), maxHostNames)]
	for i := range names {
		names[i] = short(names[i], maxHostName)
	}
	return names
}
