package cli

import (
	"bytes"
	"context"
	"io"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"troth/internal/api"
	"troth/internal/atomicfile"
)

// reportWritten is the answer of a report that went to a file.
type reportWritten struct {
	File   string `json:"file"`
	Format string `json:"format"`
}

func (a *app) reportCommand() *cobra.Command {
	var format, output string
	compliance := &cobra.Command{
		Use:   "compliance",
		Short: "Write the compliance report of the fleet",
		Long: `Write the compliance report of the fleet: every device, every control, and the
digest of the evidence behind each outcome. The format is that of --format, or else
of the output file's name, or json with -o json, or else html. A report that could
not be fetched whole leaves the output file as it was.`,
		Example: `  troth report compliance --output report.html
  troth report compliance --format csv > report.csv`,
		Args: takes(),
		RunE: a.action(func(ctx context.Context, _ []string) error { return a.compliance(ctx, format, output) }),
	}
	compliance.Flags().StringVar(&format, "format", "", "html, json or csv")
	compliance.Flags().StringVar(&output, "output", "", "write to `FILE` instead of standard output")
	complete(compliance, "format", reportFormats()...)
	return a.noun("report", "Write reports", "A report says how the fleet stands, for people who were not there.", compliance)
}

func reportFormats() []string { return []string{"html", "json", "csv"} }

func (a *app) compliance(ctx context.Context, format, output string) error {
	if err := oneOf("--format", format, reportFormats); err != nil {
		return err
	}
	if format == "" {
		format = a.guessFormat(output)
	}
	client, err := a.client()
	if err != nil {
		return err
	}
	path := api.PathComplianceReport + "?" + url.Values{"format": {format}}.Encode()
	if output == "" || output == "-" {
		var doc bytes.Buffer
		if err := client.Copy(ctx, path, &doc); err != nil {
			return err
		}
		text := doc.Bytes()
		if terminal(a.Stdout) {
			text = cleanDocument(text)
		}
		_, err := a.Stdout.Write(text)
		return err
	}
	var remote error
	err = atomicfile.WriteFrom(output, 0o644, func(w io.Writer) error {
		remote = client.Copy(ctx, path, w)
		return remote
	})
	if remote != nil {
		return remote
	}
	if err != nil {
		return failf(exitUndecided, codeFile, "the report cannot be kept: %s", err)
	}
	done := reportWritten{File: output, Format: format}
	return a.printer().print(done, func(p *page) { p.line("The report is in %s.", done.File) })
}

func (a *app) guessFormat(output string) string {
	if ext := strings.TrimPrefix(filepath.Ext(output), "."); ext != "" {
		for _, f := range reportFormats() {
			if strings.EqualFold(ext, f) {
				return f
			}
		}
	}
	if output == "" && a.flags.format == formatJSON {
		return "json"
	}
	return "html"
}
