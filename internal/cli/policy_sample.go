package cli

import (
	"context"
	"encoding/json"
	"time"

	"github.com/spf13/cobra"

	"troth/policy"
)

func (a *app) policySampleCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "sample KIND",
		Short: "Write an input to try policies on",
		Long: `Write the facts of a device of which all is well, as the service would give them to
policy for a decision of the kind: to change, and to give to eval and explain. It is
JSON, whatever -o says.`,
		Example: "  troth policy sample posture > gate-1.json\n  troth policy sample access > visit.json",
		Args:    takesKind(1),
		RunE: a.action(func(_ context.Context, args []string) error {
			document, err := policy.Document(sampleOf(policy.Kind(args[0]), a.Now().UTC().Truncate(time.Second)))
			if err != nil {
				return err
			}
			var plain json.RawMessage = document
			return printer{out: a.Stdout, format: formatJSON}.print(plain, nil)
		}),
	}
}

// takesKind wants a kind of decision before n-1 other arguments.
func takesKind(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		var kinds []string
		for _, k := range policy.Kinds() {
			kinds = append(kinds, string(k))
		}
		if len(args) == 0 || len(args) > n {
			return usagef("%s takes a kind of decision: %s", cmd.CommandPath(), join(kinds))
		}
		return oneOf("the kind of decision", args[0], func() []string { return kinds })
	}
}

// sampleOf is a plausible input of the kind.
func sampleOf(kind policy.Kind, now time.Time) policy.Input {
	const digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	device := policy.DeviceInput{ID: digest, Name: "gate-1", Model: "gw-100", Labels: map[string]string{"site": "kiel"}, Lifecycle: "active", Firmware: "1.2.0"}
	firmware := policy.FirmwareInput{Known: true, Version: "1.2.0", Counter: 3, Reported: "1.2.0", LatestVersion: "1.2.0", LatestCounter: 3, LatestSecurityCounter: 3}
	attestation := policy.AttestationInput{
		Verified: true,
		EventLog: policy.EventLogInput{Given: true, Replayed: true},
		Boot: policy.BootInput{
			Known: true, Complete: []string{"option_roms", "command_lines"},
			BootLoaders:  []policy.ImageInput{{Digest: digest, Path: "\\EFI\\BOOT\\BOOTX64.EFI"}},
			CommandLines: []policy.CommandLineInput{{PCR: 8, Text: "/vmlinuz root=/dev/sda2 ro lockdown=integrity", Digest: digest, Verified: true}},
			GPT:          policy.GPTInput{Known: true, DiskGUID: "6a2f41a3-c54c-fce8-32d2-0324e1c32e22", Partitions: 3, Digest: digest, Verified: true},
		},
		SecureBoot: policy.SecureBootInput{Known: true, Enabled: true},
		IMA:        policy.IMAInput{Given: true, Replayed: true, Entries: 120, BootAggregate: "verified", JudgedBy: digest},
		Clock:      policy.ClockInput{ResetCount: 7, RestartCount: 2, Clock: 86_400_000, Safe: true},
		PCRs:       map[string]string{"4": digest, "7": digest},
	}
	switch kind {
	case policy.KindEnroll:
		device.Lifecycle, device.Firmware = "", ""
		return policy.EnrollInput{
			Now: now, Evidence: digest, Device: device, Attestation: attestation, Registered: true,
			EK: policy.EKInput{Certificate: true, Verified: true, Manufacturer: "ACME"},
		}
	case policy.KindRenew:
		return policy.RenewInput{
			Now: now, Evidence: digest, Device: device, Verdict: "compliant", VerdictAge: 60,
			Certificate: policy.RenewedCertificate{NotBefore: now.Add(-16 * time.Hour), NotAfter: now.Add(8 * time.Hour), KeyAge: 86400},
		}
	case policy.KindAccess:
		return policy.AccessInput{
			Now: now, Device: device, Presence: "online", Verdict: "compliant", VerdictAge: 60, Action: "GET", Resource: "/readings",
		}
	case policy.KindRemediate:
		return policy.RemediateInput{Now: now, Evidence: digest, Device: device, Verdict: "compliant", Firmware: firmware}
	case policy.KindOperator:
		return policy.OperatorInput{Now: now, Operator: "ada", Role: "operator", Action: "device.quarantine", Resource: digest}
	case policy.KindRollout:
		return policy.RolloutInput{
			Now: now, Step: policy.RolloutStart, By: "ada", Devices: policy.RolloutCount{Total: 40},
			Rollout: policy.RolloutFacts{ID: "r1", Model: "gw-100", Version: "1.3.0", Counter: 4, CreatedBy: "ada", Percent: []int{10, 100}, MaxFailurePercent: 10, Soak: 600, DeviceTimeout: 3600},
		}
	case policy.KindPublish:
		return policy.PublishInput{
			Now: now, Evidence: digest, Where: policy.AtPublish, Publisher: "ada",
			Release:   policy.ReleaseInput{Target: "gw-100-1.3.0.img", SHA256: digest, Length: 64 << 20, Model: "gw-100", Version: "1.3.0", Counter: 4, PCRs: []int{4, 9, 11}, AllowList: true},
			SBOM:      policy.SBOMInput{Given: true, Readable: true, Components: 210, Identified: 208},
			Approvals: policy.ApprovalsInput{Role: "targets", Threshold: 1, Keys: []string{digest}},
		}
	}
	return policy.PostureInput{
		Now: now, Evidence: digest, Device: device, Attestation: attestation, Firmware: firmware,
		Reported:    map[string]any{"hostname": "gate-1"},
		Previous:    policy.PreviousInput{Verdict: "compliant", Clock: policy.ClockInput{ResetCount: 7, RestartCount: 2, Clock: 86_100_000, Safe: true}},
		Certificate: policy.CertificateInput{NotAfter: now.Add(12 * time.Hour)},
	}
}
