package cli

import (
	"context"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"troth/internal/api"
)

func (a *app) deviceRegisterCommand() *cobra.Command {
	var one api.Registration
	var labels []string
	var file string
	cmd := &cobra.Command{
		Use:   "register (--ek-hash H [--name N] [--model M] [--label K=V]... | --csv FILE)",
		Short: "Make devices known before they are seen",
		Long: `Register devices by the SHA-256 of their endorsement key's public area
(TPMT_PUBLIC), so that they may enrol where registration is required. A device
that was registered before is left as it is.

A CSV file has a header that names its columns: ek_hash, and any of name, model,
labels; labels are written as k=v;k=v. Up to 10,000 devices are registered, all of
them or none: if a line is wrong, every wrong line is named and nothing is sent.`,
		Example: `  troth device register --ek-hash $(cat ek.sha256) --name press-7 --model edge-100 --label site=kiel
  troth device register --csv devices.csv`,
		Args: takes(),
		RunE: a.action(func(ctx context.Context, _ []string) error {
			if (file == "") == (one.EKHash == "") {
				return usagef("device register takes either --ek-hash or --csv")
			}
			if file != "" {
				if one.Name != "" || one.Model != "" || len(labels) > 0 {
					return usagef("with --csv, name, model and labels stand in the file")
				}
				return a.registerCSV(ctx, file)
			}
			var err error
			if one.Labels, err = parseLabels(labels); err != nil {
				return usagef("%s", err)
			}
			if one, err = checkRegistration(one); err != nil {
				return usagef("%s", err)
			}
			return a.register(ctx, []api.Registration{one})
		}),
	}
	f := cmd.Flags()
	f.StringVar(&one.EKHash, "ek-hash", "", "SHA-256 of the EK's TPMT_PUBLIC, 64 hexadecimal digits")
	f.StringVar(&one.Name, "name", "", "what people call it")
	f.StringVar(&one.Model, "model", "", "hardware model")
	f.StringArrayVar(&labels, "label", nil, "a label `K=V`; may be given more than once")
	f.StringVar(&file, "csv", "", "register the devices of a CSV `FILE`; - reads standard input")
	return cmd
}

func (a *app) registerCSV(ctx context.Context, file string) error {
	in := a.Stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return failf(exitUsage, codeFile, "%s", err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	devices, bad, err := readRegistrations(in)
	if err != nil {
		return failf(exitUsage, codeCSV, "%s: %s; nothing was sent", file, err)
	}
	if len(bad) > 0 {
		f := failf(exitUsage, codeCSV, "%s has %d bad line(s); nothing was sent", file, len(bad))
		f.details = bad
		return f
	}
	return a.register(ctx, devices)
}

func (a *app) register(ctx context.Context, devices []api.Registration) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	var got api.RegistrationAnswer
	err = client.Do(ctx, http.MethodPost, api.PathRegistrations, api.RegistrationRequest{Devices: devices}, &got)
	if err != nil {
		return err
	}
	return a.printer().print(got, func(p *page) {
		p.line("Registered %d; known before %d.", got.Registered, got.Known)
	})
}

// parseLabels reads labels K=V.
func parseLabels(words []string) (map[string]string, error) {
	if len(words) == 0 {
		return nil, nil
	}
	labels := map[string]string{}
	for _, w := range words {
		k, v, ok := strings.Cut(w, "=")
		k, v = strings.TrimSpace(k), strings.TrimSpace(v)
		if !ok || k == "" {
			return nil, badField("label", w, "is not of the form K=V")
		}
		if _, twice := labels[k]; twice {
			return nil, badField("label", k, "is there twice")
		}
		labels[k] = v
	}
	return labels, nil
}
