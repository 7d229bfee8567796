package cli

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"troth/attest/ear"
	"troth/internal/api"
)

// codeNotAffirmed: the token holds, and does not affirm the device.
const codeNotAffirmed = "not_affirming"

func (a *app) deviceResultCommand() *cobra.Command {
	var nonce string
	cmd := &cobra.Command{
		Use:   "result ID|NAME",
		Short: "Get a device's signed attestation result",
		Long: `Get a device's attestation result: a short-lived token, signed by the server, that says
how it stands to somebody who relies on the device. Without -o it is the token alone.

--nonce takes what the relying party sent: 8 to 64 bytes in base64url without padding.
It shows that the token was made after it, not that the device checked in after it.`,
		Example: `  troth device result press-7 > press-7.jwt
  troth result verify press-7.jwt --jwks https://troth.example:8443/.well-known/jwks.json`,
		Args: takes("ID|NAME"),
		RunE: a.action(func(ctx context.Context, args []string) error {
			if nonce != "" && !ear.ValidNonce(nonce) {
				return usagef("--nonce takes %d to %d bytes in base64url without padding", ear.MinNonce, ear.MaxNonce)
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			path := api.Path(api.PathResult, args[0])
			if nonce != "" {
				path += "?" + url.Values{"nonce": {nonce}}.Encode()
			}
			var r api.Result
			if err := client.Do(ctx, http.MethodGet, path, nil, &r); err != nil {
				return err
			}
			return a.printer().print(r, func(p *page) { p.line("%s", r.Token) })
		}),
	}
	cmd.Flags().StringVar(&nonce, "nonce", "", "the relying party's nonce, base64url")
	return cmd
}

func (a *app) resultCommand() *cobra.Command {
	return a.noun("result", "Verify attestation results",
		`An attestation result is a signed token (EAT attestation result, a JWT) that says how a
device stands. See troth device result.`,
		a.resultVerifyCommand())
}

// resultFlags are what a relying party knows.
type resultFlags struct {
	keys, issuer, device, nonce string
	skew                        time.Duration
}

func (a *app) resultVerifyCommand() *cobra.Command {
	var f resultFlags
	cmd := &cobra.Command{
		Use:   "verify FILE --jwks FILE|URL",
		Short: "Verify an attestation result, as a relying party does",
		Long: `Verify a token: signature (ES256) by a key of the set, form, times, that no status is
better than the claims behind it, and whatever of issuer, device and nonce is given. No
server is needed: --jwks takes the key set from a file, or from an https URL whose
certificate --ca or the system vouches for; no API token is sent there. FILE - reads
standard input.

Exit status: 0 verified, and the device is affirmed; 1 not verified, or it is warned of or
contraindicated; 3 verified, and nothing is asserted of the device, or no keys could be
had.`,
		Example: `  troth result verify press-7.jwt --jwks keys.json --device spiffe://troth.example/device/3f9c…
  troth result verify - --jwks https://troth.example:8443/.well-known/jwks.json --ca ca.pem`,
		Args: takes("FILE"),
		RunE: a.action(func(ctx context.Context, args []string) error { return a.resultVerify(ctx, args[0], f) }),
	}
	cmd.Flags().StringVar(&f.keys, "jwks", "", "`FILE` or https URL of the key set")
	cmd.Flags().StringVar(&f.issuer, "issuer", "", "not verified unless it was issued by this (iss)")
	cmd.Flags().StringVar(&f.device, "device", "", "not verified unless it is about this device: a SPIFFE id, or the device's id")
	cmd.Flags().StringVar(&f.nonce, "nonce", "", "not verified without this nonce")
	cmd.Flags().DurationVar(&f.skew, "skew", 0, "how far clocks may differ")
	return cmd
}

func (a *app) resultVerify(ctx context.Context, file string, f resultFlags) error {
	if f.keys == "" {
		return usagef("result verify needs --jwks")
	}
	if f.skew < 0 {
		return usagef("--skew must not be negative")
	}
	text, err := a.readFile(file, ear.MaxToken+2) // and a line's end
	if err != nil {
		return err
	}
	keys, err := a.keySet(ctx, f.keys)
	if err != nil {
		return err
	}
	r, err := ear.Verify(strings.TrimSpace(string(text)), keys, ear.Expectation{Now: a.Now(), Skew: f.skew, Issuer: f.issuer, Nonce: f.nonce})
	if err == nil && f.device != "" && r.Subject != f.device && !strings.HasSuffix(r.Subject, "/device/"+f.device) {
		return failf(exitNo, ear.CodeSubject, "not verified: the token is about %q, not about %q", r.Subject, f.device)
	}
	if err != nil {
		return failf(exitNo, ear.CodeOf(err), "not verified: %s", strings.TrimPrefix(err.Error(), ear.CodeOf(err)+": "))
	}
	if err := a.printer().print(r, func(p *page) { drawToken(p, r) }); err != nil {
		return err
	}
	return a.after(requireAffirming(r))
}

// requireAffirming is nil for what is affirmed.
func requireAffirming(r ear.Result) error {
	switch r.Status {
	case ear.Affirming:
		return nil
	case ear.None:
		return failf(exitUndecided, codeNotAffirmed, "the token holds, and asserts nothing of the device")
	default:
		return failf(exitNo, codeNotAffirmed, "the token holds, and does not affirm the device: %s", r.Status)
	}
}

// keySet reads a key set from a file, or over https without any credential.
func (a *app) keySet(ctx context.Context, from string) (ear.KeySet, error) {
	var text []byte
	if strings.Contains(from, "://") {
		u, err := url.Parse(from)
		if err != nil {
			return ear.KeySet{}, usagef("--jwks takes a file or an https URL, not %q", from)
		}
		var body bytes.Buffer
		if err := a.download(ctx, u, &body); err != nil {
			return ear.KeySet{}, err
		}
		text = body.Bytes()
	} else {
		var err error
		if text, err = a.readFile(from, ear.MaxKeySet); err != nil {
			return ear.KeySet{}, err
		}
	}
	keys, err := ear.ParseKeySet(text)
	if err != nil {
		return keys, failf(exitUndecided, ear.CodeKeySet, "%s", strings.TrimPrefix(err.Error(), ear.CodeKeySet+": "))
	}
	return keys, nil
}

// download fetches a public document; the CA is the one that was given, and a
// context's where it is of the same server.
func (a *app) download(ctx context.Context, u *url.URL, to *bytes.Buffer) error {
	path := u.EscapedPath()
	if u.RawQuery != "" {
		path += "?" + u.RawQuery
	}
	base := url.URL{Scheme: u.Scheme, Host: u.Host, User: u.User}
	server, err := serverURL(base.String())
	if err != nil {
		return usagef("--jwks takes a file or an https URL, not %q", u.Redacted())
	}
	given, err := a.givenTarget()
	if err != nil {
		return err
	}
	t := target{server: server, ca: given.ca} // and no token
	if known, err := a.target(); err == nil && t.ca == "" && known.server == server {
		t.ca = known.ca
	}
	client, err := a.connect(t)
	if err != nil {
		return err
	}
	return client.Copy(ctx, path, to)
}

// drawToken explains a token, the worst first.
func drawToken(p *page, r ear.Result) {
	issued, ends := time.Unix(r.IssuedAt, 0), time.Unix(r.ExpiresAt, 0)
	p.fields(
		[2]string{"Status", r.Status.String()}, [2]string{"About", r.Subject}, [2]string{"Issuer", r.Issuer},
		[2]string{"Verifier", r.Verifier.Developer + " " + r.Verifier.Build}, [2]string{"Issued", ago(issued, p.now)},
		[2]string{"Ends", ago(ends, p.now)}, [2]string{"Nonce", r.Nonce}, [2]string{"Token", r.ID},
	)
	for _, label := range sortedKeys(r.Submods) {
		appraisal := r.Submods[label]
		p.gap()
		t := &table{head: []string{strings.ToUpper(label), "TIER", "CLAIM"}}
		for _, aspect := range ear.Aspects() {
			if c, ok := appraisal.Vector[aspect]; ok {
				t.add(string(aspect), c.Tier().String(), fmt.Sprint(c))
			}
		}
		p.table(t, "No claims.")
		if d, ok := appraisal.VerifierClaims["troth"].(map[string]any); ok {
			p.gap()
			for _, name := range sortedKeys(d) {
				p.fields([2]string{name, jsonLine(d[name])})
			}
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// jsonLine is a value of a token on one line.
func jsonLine(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	if f, ok := v.(float64); ok {
		return fmt.Sprintf("%.0f", f)
	}
	text, err := jsonText(v)
	if err != nil {
		return "?"
	}
	return strings.Join(strings.Fields(string(text)), " ")
}
