package cli

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"troth/internal/api"
)

const maxPEM = 1 << 20

func (a *app) manufacturerCommand() *cobra.Command {
	list := &cobra.Command{
		Use:     "list",
		Short:   "List the makers of TPMs that are trusted",
		Long:    "List the makers of TPMs whose endorsement key certificates are believed.",
		Example: "  troth manufacturer list",
		Args:    takes(),
		RunE:    a.action(func(ctx context.Context, _ []string) error { return a.manufacturerList(ctx) }),
	}
	add := &cobra.Command{
		Use:   "add NAME FILE.pem",
		Short: "Trust a maker of TPMs",
		Long: `Trust the endorsement key certificates of a maker of TPMs: the file has its root
and intermediate certificates in PEM; - reads standard input.`,
		Example: "  troth manufacturer add acme acme-roots.pem",
		Args:    takes("NAME", "FILE.pem"),
		RunE: a.action(func(ctx context.Context, args []string) error {
			return a.manufacturerAdd(ctx, args[0], args[1])
		}),
	}
	return a.noun("manufacturer", "Say whose TPMs are trusted",
		"A manufacturer is a maker of TPMs. A device whose EK certificate chains to one of them may enrol.", list, add)
}

func (a *app) manufacturerList(ctx context.Context) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	var got api.ManufacturerList
	if err := client.Do(ctx, http.MethodGet, api.PathManufacturers, nil, &got); err != nil {
		return err
	}
	return a.printer().print(got, func(p *page) {
		t := &table{head: []string{"NAME", "CERTIFICATES", "ADDED", "BY"}}
		for _, m := range got.Manufacturers {
			t.add(m.Name, strconv.Itoa(len(certificates([]byte(m.PEM)))), ago(m.AddedAt, p.now), dash(m.AddedBy))
		}
		p.table(t, "No manufacturers.")
	})
}

func (a *app) manufacturerAdd(ctx context.Context, name, file string) error {
	text, err := a.readFile(file, maxPEM)
	if err != nil {
		return err
	}
	if bytes.Contains(text, []byte("PRIVATE KEY")) {
		return failf(exitUsage, codeFile, "%s holds a private key, which is not to be sent to anybody; nothing was sent", file)
	}
	found := certificates(text)
	if len(found) == 0 {
		return failf(exitUsage, codeFile, "%s holds no PEM certificate", file)
	}
	client, err := a.client()
	if err != nil {
		return err
	}
	var got api.Manufacturer
	err = client.Do(ctx, http.MethodPost, api.PathManufacturers, api.ManufacturerRequest{Name: name, PEM: string(text)}, &got)
	if err != nil {
		return err
	}
	return a.printer().print(got, func(p *page) {
		p.line("TPMs of %s are trusted by %d certificate(s):", got.Name, len(found))
		for _, der := range found {
			if c, err := x509.ParseCertificate(der); err == nil {
				p.line("  %s, until %s", c.Subject, c.NotAfter.UTC().Format("2006-01-02"))
			}
		}
	})
}

// certificates are the DER certificates of a PEM text.
func certificates(text []byte) (found [][]byte) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return found
		}
		if block.Type == "CERTIFICATE" {
			found = append(found, block.Bytes)
		}
	}
}
