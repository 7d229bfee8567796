package cli

import (
	"context"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"troth/internal/api"
)

func (a *app) deviceCertificateCommands() []*cobra.Command {
	return []*cobra.Command{
		a.deviceCertificatesCommand(),
		a.deviceActionCommand("rotate-key", "to replace its TLS key", "Have a device replace its TLS key",
			`Have a device make a new TLS key in its TPM at its next check-in. Its attestation
key vouches for the new one, and the old one's certificates end when the new one
is first used. Until then they open what they opened; they are not renewed.`),
		a.deviceActionCommand("revoke", "without a certificate", "End a device's certificates",
			`End the certificates of a device, here at once and then at the CA. The device has
to attest anew, which its agent does by itself, and has another certificate a
moment later if all is well: quarantine or retire the device to keep it out.`),
	}
}

func (a *app) deviceCertificatesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "certificates ID|NAME",
		Short: "Show a device's certificates, and whether the CA knows that they ended",
		Long: `Show every certificate that was ever asked for a device, newest first: its state,
when it ends or why it did, and whether the CA has confirmed its revocation.

States: intended (asked for), issued, restricted (the device is, or was, in
quarantine: good for its own routes alone, revoked for everybody else), revoked,
failed (nothing was signed, or nobody was given it), ambiguous (the CA's answer
was lost: it may have signed).`,
		Example: `  troth device certificates press-7
  troth device certificates press-7 -o json`,
		Args: takes("ID|NAME"),
		RunE: a.action(func(ctx context.Context, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			var list api.DeviceCertificates
			if err := client.Do(ctx, http.MethodGet, api.Path(api.PathCertificates, args[0]), nil, &list); err != nil {
				return err
			}
			return a.printer().print(list, func(p *page) { drawCertificates(p, list) })
		}),
	}
}

func drawCertificates(p *page, list api.DeviceCertificates) {
	t := &table{head: []string{"SERIAL", "STATE", "ASKED FOR", "ENDS", "KEY", "AT THE CA", "BECAUSE"}}
	for _, c := range list.Certificates {
		serial := c.Serial
		if len(serial) > 16 {
			serial = serial[:16]
		}
		t.add(dash(serial), c.State, ago(c.CreatedAt, p.now), agoOf(ends(c), p.now), short(c.Key), atCA(c, p.now), dash(c.Reason))
	}
	p.table(t, "No certificates.")
}

// ends is when a certificate ended before its time, or when it does by itself.
func ends(c api.DeviceCertificate) *time.Time {
	if c.EndedAt != nil {
		return c.EndedAt
	}
	return c.NotAfter
}

// atCA says in words what the CA knows of a certificate's end.
func atCA(c api.DeviceCertificate, now time.Time) string {
	over := c.NotAfter != nil && now.After(*c.NotAfter)
	switch {
	case c.RevokedAtCA != nil:
		return "revoked " + ago(*c.RevokedAtCA, now)
	case c.State == "issued" && c.RotateKey:
		return "valid; key to be replaced"
	case c.State == "issued" && !over:
		return "valid"
	case over:
		return "expired"
	case c.State == "ambiguous" && c.Serial == "":
		return "not known"
	case c.Serial == "":
		return "-"
	case c.Problem != "":
		return "valid: " + c.Problem
	default:
		return "valid: to be revoked"
	}
}
