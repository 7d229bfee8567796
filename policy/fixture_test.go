package policy_test

import (
	"io/fs"
	"maps"
	"testing"
	"testing/fstest"
	"time"

	"troth/policies"
	"troth/policy"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// library is the policy library with some of its files replaced.
func library(t testing.TB, changed map[string]string) fs.FS {
	t.Helper()
	files := fstest.MapFS{}
	err := fs.WalkDir(policies.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(policies.FS, name)
		files[name] = &fstest.MapFile{Data: content}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range changed {
		files[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return files
}

// tiny is a bundle of short modules, one for each kind of decision, some of them replaced.
func tiny(changed map[string]string) fs.FS {
	allow := "decision := {\"allow\": true, \"code\": \"\", \"reason\": \"Yes.\"}\n"
	modules := map[string]string{
		"enroll":    "package troth.enroll\n" + allow,
		"renew":     "package troth.renew\ndecision := {\"allow\": true, \"code\": \"\", \"reason\": \"Yes.\", \"rotate_key\": false}\n",
		"access":    "package troth.access\n" + allow,
		"operator":  "package troth.operator\n" + allow,
		"publish":   "package troth.publish\ndecision := {\"allow\": true, \"code\": \"\", \"reason\": \"Yes.\", \"requirements\": []}\n",
		"rollout":   "package troth.rollout\n" + allow,
		"remediate": "package troth.remediate\ndecision := {\"actions\": []}\n",
		"posture": `package troth.posture
decision := {"verdict": "compliant", "controls": controls}
` + control("a", `{"id": "a", "outcome": "pass", "reason": "Well."}`),
	}
	maps.Copy(modules, changed)
	files := fstest.MapFS{}
	for name, content := range modules {
		files["troth/"+name+".rego"] = &fstest.MapFile{Data: []byte(content)}
	}
	return files
}

// control is a rule with metadata that gives the answer.
func control(id, answer string) string {
	return "# METADATA\n# title: A control\n# description: Controls.\n# custom:\n#   id: " + id +
		"\n#   severity: high\n#   remediation: none\ncontrols contains " + answer + "\n\n"
}

// engine has a deadline that a busy machine does not reach.
func engine(t testing.TB, bundle fs.FS) *policy.Engine {
	t.Helper()
	e, err := policy.New(t.Context(), bundle, policy.Options{Deadline: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// healthy is the posture of a device of which all is well.
func healthy() policy.PostureInput {
	return policy.PostureInput{
		Now:      now,
		Evidence: "e3b0c442",
		Device:   policy.DeviceInput{ID: "aa", Name: "gate-1", Model: "gw-100", Lifecycle: "active"},
		Attestation: policy.AttestationInput{
			Verified:   true,
			EventLog:   policy.EventLogInput{Given: true, Replayed: true},
			SecureBoot: policy.SecureBootInput{Known: true, Enabled: true},
			IMA:        policy.IMAInput{Given: true, Replayed: true, Entries: 3},
			Clock:      policy.ClockInput{ResetCount: 7, RestartCount: 2, Clock: 5000, Safe: true},
			Boot:       policy.BootInput{Known: true, Exit: policy.ExitInput{Known: true, Invoked: true, Succeeded: true}},
		},
		Firmware: policy.FirmwareInput{
			Known: true, Version: "1.2.0", Counter: 3, Reported: "1.2.0",
			LatestVersion: "1.2.0", LatestCounter: 3, LatestSecurityCounter: 3,
			Vulnerabilities: policy.ReleaseVulnerabilitiesInput{Problem: "no_feed"},
		},
		Reported:    map[string]any{"hostname": "gate-1"},
		Host:        hardened(),
		Certificate: policy.CertificateInput{NotBefore: now.Add(-12 * time.Hour), NotAfter: now.Add(12 * time.Hour), KeySince: now.Add(-12 * time.Hour)},
		Endorsement: policy.EndorsementInput{Known: true, Manufacturer: "ACME"},
	}
}

// hardened is what the agent of a hardened system reports.
func hardened() policy.HostInput {
	return policy.HostInput{
		Reported: true, Agent: policy.AgentFacts{Version: "1.4.0", Root: new(bool)},
		Kernel: policy.KernelFacts{
			Lockdown: "integrity", LSMs: []string{"capability", "apparmor"}, Tainted: new(uint64), KptrRestrict: ptr(2), DmesgRestrict: ptr(1),
			UnprivilegedBPF: ptr(2), PtraceScope: ptr(2), KexecDisabled: ptr(1), ModulesDisabled: ptr(0), ModuleSigEnforce: ptr(true),
			RandomizeVA: ptr(2), SuidDumpable: ptr(0), SysRq: ptr(0),
		},
		Network: policy.NetworkFacts{
			Forwards: ptr(false), ReversePath: ptr(1), AcceptsRedirects: ptr(false), AcceptsSourceRoutes: ptr(false), SYNCookies: ptr(1),
		},
		Sockets: policy.SocketsFacts{Known: true, Listening: []policy.SocketFact{{Protocol: "tcp", Port: 22, Scope: "any"}}},
		Volumes: policy.VolumeFacts{
			Root: &policy.VolumeFact{Mount: "/", ReadOnly: true, Backing: "verity"},
			Tmp:  &policy.VolumeFact{Mount: "/tmp", NoSUID: true, NoDev: true, Backing: "memory"},
			Data: &policy.VolumeFact{Mount: "/var", NoSUID: true, NoDev: true, Backing: "crypt"},
		},
		Swap:     policy.SwapFacts{Known: true},
		Accounts: policy.AccountFacts{Known: true, Superusers: []string{"root"}, Shadow: true},
		SSH:      policy.SSHFacts{Known: true, Installed: true, RootLogin: "no", Passwords: "no", Keyboard: "no"},
		Consoles: policy.ConsoleFacts{Known: true},
		USB:      policy.USBFacts{Known: true, Present: true},
		Upkeep:   policy.UpkeepFacts{TimeSynchronised: ptr(true), UptimeDays: ptr(3), FreePercent: ptr(61)},
	}
}

func ptr[T any](v T) *T { return &v }

func newcomer() policy.EnrollInput {
	return policy.EnrollInput{
		Now:         now,
		Evidence:    "e3b0c442",
		Device:      policy.DeviceInput{ID: "aa", Model: "gw-100"},
		EK:          policy.EKInput{Certificate: true, Verified: true, Manufacturer: "ACME"},
		Attestation: policy.AttestationInput{Verified: true},
	}
}

func visitor() policy.AccessInput {
	return policy.AccessInput{
		Now: now, Device: policy.DeviceInput{ID: "aa", Lifecycle: "active"},
		Presence: "online", Verdict: policy.Compliant, VerdictAge: 60, Action: "GET", Resource: "/",
	}
}
