package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"troth/internal/api"
)

func (a *app) vulnCommand() *cobra.Command {
	return a.noun("vuln", "Known vulnerabilities, and which releases and devices have them",
		`Records of known vulnerabilities come from OSV feeds (https://ossf.github.io/osv-schema/),
and are compared with the bills of materials that releases were published with.
What a device runs is what its quotes prove, not what it reports.`,
		a.vulnAffectedCommand(), a.vulnImportCommand(), a.vulnListCommand(), a.vulnShowCommand())
}

func severities() []string { return []string{"critical", "high", "medium", "low", "unrated"} }

// severityFlag adds --severity.
func severityFlag(cmd *cobra.Command, to *string, usage string) {
	cmd.Flags().StringVar(to, "severity", "", usage+": "+strings.Join(severities(), ", "))
	complete(cmd, "severity", severities()...)
}

func checkSeverity(s string) error {
	if s != "" && !slices.Contains(severities(), s) {
		return usagef("--severity takes %s, not %q", strings.Join(severities(), ", "), s)
	}
	return nil
}

func (a *app) vulnListCommand() *cobra.Command {
	var severity, after string
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List imported records",
		Long:    "List imported records of vulnerabilities, in the order of their ids, whether anything has them or not.",
		Example: "  troth vuln list --severity critical --limit 50",
		Args:    takes(),
		RunE: a.action(func(ctx context.Context, _ []string) error {
			if err := checkSeverity(severity); err != nil {
				return err
			}
			if limit < 1 || limit > 1000 {
				return usagef("--limit takes 1 to 1000, not %d", limit)
			}
			query := url.Values{"limit": {strconv.Itoa(limit)}}
			for key, value := range map[string]string{"severity": severity, "after": after} {
				if value != "" {
					query.Set(key, value)
				}
			}
			var got api.VulnerabilityList
			if err := a.fetch(ctx, api.PathVulnerabilities+"?"+query.Encode(), &got); err != nil {
				return err
			}
			return a.printer().print(got, func(p *page) { drawVulnerabilities(p, got) })
		}),
	}
	severityFlag(cmd, &severity, "only of this severity")
	cmd.Flags().StringVar(&after, "after", "", "only ids after this")
	cmd.Flags().IntVar(&limit, "limit", 200, "at most this many")
	return cmd
}

func (a *app) fetch(ctx context.Context, path string, out any) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	return client.Do(ctx, http.MethodGet, path, nil, out)
}

func drawVulnerabilities(p *page, got api.VulnerabilityList) {
	t := &table{head: []string{"ID", "SEVERITY", "MODIFIED", "WITHDRAWN", "NAMES", "SUMMARY"}}
	for _, v := range got.Vulnerabilities {
		t.add(v.ID, v.Severity, ago(v.Modified, p.now), yesNo(v.Withdrawn != nil), few(v.Names), brief(v.Summary))
	}
	p.table(t, "No records.")
	p.line("Records were last imported: %s.", agoOf(got.FeedAt, p.now))
	if got.Next != "" {
		p.line("There may be more: --after %s", got.Next)
	}
}

// few are the first of many names.
func few(names []string) string {
	if len(names) > 3 {
		return strings.Join(names[:3], " ") + fmt.Sprintf(" and %d others", len(names)-3)
	}
	return dash(strings.Join(names, " "))
}

// brief is a summary that fits into a table.
func brief(s string) string {
	if runes := []rune(clean(s)); len(runes) > 60 {
		return string(runes[:59]) + "…"
	}
	return dash(s)
}

func (a *app) vulnShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "A vulnerability, and what has it",
		Long: `Show every imported record with the id or another name (a CVE), the releases that
have the vulnerability, and the devices whose last quote proved one of these.`,
		Example: "  troth vuln show CVE-2024-5535 -o json",
		Args:    takes("ID"),
		RunE: a.action(func(ctx context.Context, args []string) error {
			var got api.VulnerabilityDetail
			if err := a.fetch(ctx, api.Path(api.PathVulnerability, args[0]), &got); err != nil {
				return err
			}
			return a.printer().print(got, func(p *page) {
				for _, v := range got.Records {
					p.line("%s  %s, modified %s", v.ID, v.Severity, ago(v.Modified, p.now))
					if v.Withdrawn != nil {
						p.line("  withdrawn %s", ago(*v.Withdrawn, p.now))
					}
					if len(v.Names) > 0 {
						p.line("  also %s", strings.Join(v.Names, " "))
					}
					p.line("  %s", dash(v.Summary))
				}
				p.line("")
				drawAffected(p, got.Affected)
			})
		}),
	}
}

func (a *app) vulnAffectedCommand() *cobra.Command {
	var severity string
	cmd := &cobra.Command{
		Use:   "affected [ID]",
		Short: "Which releases and devices have vulnerabilities",
		Long: `List which vulnerabilities affect which published releases, how many devices run
these by their last proof, and the first later release of the model without: the one
to patch to. With an ID (any name of a vulnerability) come the devices.

"maybe" means that nothing shows that the release does not have it: a version cannot
be ordered, or is not said. Releases of which nothing is known are listed below.`,
		Example: "  troth vuln affected --severity high\n  troth vuln affected CVE-2024-5535 -o json",
		Args:    cobra.MaximumNArgs(1),
		RunE: a.action(func(ctx context.Context, args []string) error {
			if err := checkSeverity(severity); err != nil {
				return err
			}
			query := url.Values{}
			if severity != "" {
				query.Set("severity", severity)
			}
			if len(args) == 1 {
				query.Set("name", args[0])
			}
			var got api.Affected
			if err := a.fetch(ctx, api.PathAffected+"?"+query.Encode(), &got); err != nil {
				return err
			}
			return a.printer().print(got, func(p *page) { drawAffected(p, got) })
		}),
	}
	severityFlag(cmd, &severity, "only of this severity, or graver")
	return cmd
}

func drawAffected(p *page, got api.Affected) {
	t := &table{head: []string{"VULNERABILITY", "SEVERITY", "MODEL", "RELEASE", "HAS IT", "DEVICES", "COMPONENT", "FIXED IN", "PATCH"}}
	for _, r := range got.Affected {
		has := "yes"
		if r.Undecided != "" {
			has = "maybe"
		}
		t.add(r.ID, r.Severity, r.Model, r.Version, has, strconv.Itoa(r.Running), r.Component, dash(r.FixedVersion), dash(r.FixedBy))
	}
	p.table(t, "No release is known to be affected.")
	if got.More > 0 {
		p.line("%d more are left out: ask for a --severity or one ID.", got.More)
	}
	for _, r := range got.Affected {
		for _, d := range r.Devices {
			p.line("  %s runs %s %s", nameOr(d.Name, d.ID), r.Model, r.Version)
		}
	}
	p.line("Records were last imported: %s.", agoOf(got.FeedAt, p.now))
	for _, r := range got.Releases {
		switch {
		case r.Problem != "":
			p.line("NOT KNOWN: %s %s: %s", r.Model, r.Version, explainProblem(r.Problem))
		case r.Nameless > 0:
			p.line("IN PART: %s %s: %d components have no package URL, beside %d that have", r.Model, r.Version, r.Nameless, r.Components)
		}
	}
}

func explainProblem(problem string) string {
	switch problem {
	case "no_sbom":
		return "it was published without a bill of materials (troth firmware publish --sbom)"
	case "no_feed":
		return "no records were imported (troth vuln import)"
	case "sbom_unavailable":
		return "its bill of materials cannot be read"
	}
	return problem
}
