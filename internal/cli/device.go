package cli

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"troth/internal/api"
	"troth/internal/fleet"
)

// pageSize is how many devices are asked for at once.
const pageSize = 1000

func (a *app) deviceCommand() *cobra.Command {
	cmd := a.noun("device", "Look at devices and change their lifecycle",
		`A device is one TPM. It is named by its id (the SHA-256 of its endorsement key's
public area), by a unique beginning of it of six digits or more, or by its name.`,
		a.deviceListCommand(), a.deviceGetCommand(), a.deviceRegisterCommand(),
		a.deviceActionCommand("quarantine", "quarantined", "Refuse a device access and renewal",
			`Quarantine a device: it is refused access and renewal until it is released, and its
certificate is revoked at the CA. Its own routes stay open to it, so that it can
prove that it was mended.`),
		a.deviceActionCommand("release", "released", "End a device's quarantine",
			"Release a device from its quarantine. It gets a new certificate at its next check-in."),
		a.deviceActionCommand("retire", "retired", "End a device's life, for ever",
			"Retire a device, for ever: it can never enrol again."),
		a.deviceEventsCommand(), a.deviceResultCommand())
	cmd.AddCommand(a.deviceCertificateCommands()...)
	return cmd
}

func (a *app) deviceListCommand() *cobra.Command {
	var model, lifecycle, verdict string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List devices",
		Long:  "List the devices of the fleet, all of them or those that every given flag matches.",
		Example: `  troth device list --verdict noncompliant
  troth device list --model edge-100 --lifecycle active -o json`,
		Args: takes(),
		RunE: a.action(func(ctx context.Context, _ []string) error {
			if err := oneOf("--lifecycle", lifecycle, lifecycles); err != nil {
				return err
			}
			if err := oneOf("--verdict", verdict, verdicts); err != nil {
				return err
			}
			return a.deviceList(ctx, url.Values{"model": {model}, "lifecycle": {lifecycle}, "verdict": {verdict}})
		}),
	}
	cmd.Flags().StringVar(&model, "model", "", "only devices of this hardware model")
	cmd.Flags().StringVar(&lifecycle, "lifecycle", "", "only devices that are "+strings.Join(lifecycles(), ", "))
	cmd.Flags().StringVar(&verdict, "verdict", "", "only devices whose verdict is "+strings.Join(verdicts(), ", "))
	complete(cmd, "lifecycle", lifecycles()...)
	complete(cmd, "verdict", verdicts()...)
	return cmd
}

func lifecycles() []string {
	return []string{string(fleet.Pending), string(fleet.Active), string(fleet.Quarantined), string(fleet.Retired)}
}

func verdicts() []string {
	return []string{string(fleet.Compliant), string(fleet.Noncompliant), string(fleet.Undecided), string(fleet.Unknown)}
}

// oneOf refuses a flag's value that is none of the allowed ones; an empty value
// was not given.
func oneOf(flag, value string, allowed func() []string) error {
	if value == "" || slices.Contains(allowed(), value) {
		return nil
	}
	return usagef("%s takes %s, not %q", flag, strings.Join(allowed(), ", "), value)
}

func (a *app) deviceList(ctx context.Context, filter url.Values) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	all, err := devices(ctx, client, filter)
	if err != nil {
		return err
	}
	return a.printer().print(api.DeviceList{Devices: all}, func(p *page) {
		t := &table{head: []string{"ID", "NAME", "MODEL", "LIFECYCLE", "VERDICT", "PRESENCE", "FIRMWARE", "SEEN"}}
		for _, d := range all {
			t.add(short(d.ID), dash(d.Name), dash(d.Model), d.Lifecycle, d.Verdict, d.Presence, dash(d.Firmware), agoOf(d.LastSeen, p.now))
		}
		p.table(t, "No devices.")
	})
}

// devices collects every page of a filtered list.
func devices(ctx context.Context, client *api.Client, filter url.Values) ([]api.Device, error) {
	all := []api.Device{}
	query := url.Values{"limit": {strconv.Itoa(pageSize)}}
	for k, v := range filter {
		if v[0] != "" {
			query[k] = v
		}
	}
	for after := ""; ; {
		var got api.DeviceList
		if err := client.Do(ctx, http.MethodGet, api.PathDevices+"?"+query.Encode(), nil, &got); err != nil {
			return nil, err
		}
		all = append(all, got.Devices...)
		if got.Next == "" {
			return all, nil
		}
		if got.Next == after {
			return nil, failf(exitUndecided, codeBadAnswer, "the server repeats a page of its list")
		}
		after = got.Next
		query.Set("after", after)
	}
}

func (a *app) deviceGetCommand() *cobra.Command {
	var strict bool
	cmd := &cobra.Command{
		Use:   "get ID|NAME",
		Short: "Show one device with its posture",
		Long: `Show one device: what it is, how it stands, and the outcome of every control.

With --require-compliant the exit status answers for scripts: 0 compliant, 1 not
compliant, 3 no verdict that may be acted on.`,
		Example: `  troth device get 3f9c1d
  troth device get press-7 --require-compliant && open-the-gate`,
		Args: takes("ID|NAME"),
		RunE: a.action(func(ctx context.Context, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			d, err := device(ctx, client, args[0])
			if err != nil {
				return err
			}
			if err := a.printer().print(d, func(p *page) { drawDevice(p, d) }); err != nil {
				return err
			}
			if strict {
				return a.after(requireCompliant(d))
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&strict, "require-compliant", false, "fail unless the device is active and compliant")
	return cmd
}

// requireCompliant says whether a device may be relied on.
func requireCompliant(d api.Device) error {
	switch {
	case d.Lifecycle != string(fleet.Active):
		return failf(exitNo, codeVerdict, "device %s is %s", nameOr(d.Name, d.ID), d.Lifecycle)
	case d.Verdict == string(fleet.Compliant):
		return nil
	case d.Verdict == string(fleet.Noncompliant):
		return failf(exitNo, codeVerdict, "device %s is not compliant", nameOr(d.Name, d.ID))
	default:
		return failf(exitUndecided, codeNoVerdict, "device %s has no verdict that may be acted on: %s", nameOr(d.Name, d.ID), d.Verdict)
	}
}

func device(ctx context.Context, client *api.Client, id string) (d api.Device, err error) {
	err = client.Do(ctx, http.MethodGet, api.Path(api.PathDevice, id), nil, &d)
	return d, err
}

// devIDText is what the manufacturer certified by an IDevID or IAK.
func devIDText(d *api.IDevID) string {
	if d == nil {
		return ""
	}
	text := d.Manufacturer
	if text == "" {
		text = "not verified"
	}
	for _, part := range [][2]string{{"model", d.Model}, {"serial", d.Serial}, {"by", d.Kind}, {"problem", d.Problem}} {
		if part[1] != "" {
			text += ", " + part[0] + " " + part[1]
		}
	}
	return text
}

func drawDevice(p *page, d api.Device) {
	p.fields(
		[2]string{"ID", d.ID}, [2]string{"Name", d.Name}, [2]string{"Model", d.Model}, [2]string{"Labels", labelText(d.Labels)},
		[2]string{"Lifecycle", d.Lifecycle}, [2]string{"Because", d.LifecycleReason}, [2]string{"Presence", d.Presence},
		[2]string{"Verdict", d.Verdict}, [2]string{"Verdict since", agoOf(d.VerdictSince, p.now)},
		[2]string{"Firmware", d.Firmware}, [2]string{"TPM maker", d.Manufacturer},
		[2]string{"Device maker", devIDText(d.IDevID)},
		[2]string{"Enrolled", agoOf(d.EnrolledAt, p.now)}, [2]string{"Last seen", agoOf(d.LastSeen, p.now)},
		[2]string{"Certificate ends", agoOf(d.CertificateEnds, p.now)},
	)
	if d.Posture == nil {
		return
	}
	p.gap()
	t := &table{head: []string{"CONTROL", "OUTCOME", "SEVERITY", "SINCE", "REASON"}}
	for _, c := range d.Posture.Controls {
		since := "-"
		if c.Since != nil {
			since = ago(*c.Since, p.now)
		}
		reason := c.Reason
		if c.Advisory {
			reason += " (advisory)"
		}
		if c.EnforcedAt != nil && c.EnforcedAt.After(p.now) {
			reason = fmt.Sprintf("%s; counts %s", reason, ago(*c.EnforcedAt, p.now))
		}
		t.add(c.ID, c.Outcome, c.Severity, since, reason)
	}
	p.table(t, "No controls.")
	p.gap()
	p.fields([2]string{"Posture of", ago(d.Posture.At, p.now)}, [2]string{"Evidence", d.Posture.Evidence},
		[2]string{"Policy", d.Posture.Policy}, [2]string{"Input", d.Posture.Input})
}

func labelText(labels map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, k+"="+labels[k])
	}
	return strings.Join(out, ",")
}

func (a *app) deviceActionCommand(action, done, brief, long string) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:     action + " ID|NAME --reason TEXT",
		Short:   brief,
		Long:    long + "\nThe reason is kept in the audit trail.",
		Example: "  troth device " + action + ` press-7 --reason "ticket 4711"`,
		Args:    takes("ID|NAME"),
		RunE: a.action(func(ctx context.Context, args []string) error {
			if strings.TrimSpace(reason) == "" || len(reason) > 500 {
				return usagef("--reason takes 1 to 500 characters")
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			var d api.Device
			err = client.Do(ctx, http.MethodPost, api.Path(api.PathDeviceAction, args[0], action), api.ReasonRequest{Reason: reason}, &d)
			if err != nil {
				return err
			}
			return a.printer().print(d, func(p *page) {
				p.line("Device %s (%s) is %s: now %s.", nameOr(d.Name, d.ID), short(d.ID), done, d.Lifecycle)
			})
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who ask later")
	return cmd
}

func (a *app) deviceEventsCommand() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:     "events ID|NAME",
		Short:   "Show what happened to a device",
		Long:    "Show the audit trail of one device, newest first.",
		Example: "  troth device events press-7 --limit 20",
		Args:    takes("ID|NAME"),
		RunE: a.action(func(ctx context.Context, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			d, err := device(ctx, client, args[0])
			if err != nil {
				return err
			}
			return a.showEvents(ctx, client, d.ID, limit)
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", 50, "at most this many")
	return cmd
}
