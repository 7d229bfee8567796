package cli

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

// contextLine is a context without its secrets.
type contextLine struct {
	Name      string    `json:"name"`
	Current   bool      `json:"current"`
	Server    string    `json:"server"`
	Operator  string    `json:"operator"`
	Role      string    `json:"role"`
	ExpiresAt time.Time `json:"expires_at"`
}

type contextList struct {
	Contexts []contextLine `json:"contexts"`
}

func (a *app) contextCommand() *cobra.Command {
	list := &cobra.Command{
		Use:     "list",
		Short:   "List the servers that were logged in to",
		Long:    "List the contexts: the servers that were logged in to. Tokens are not shown.",
		Example: "  troth context list",
		Args:    takes(),
		RunE:    a.action(func(context.Context, []string) error { return a.contextList() }),
	}
	use := &cobra.Command{
		Use:     "use NAME",
		Short:   "Make a context the current one",
		Long:    "Make a context the current one: commands without --context talk to its server.",
		Example: "  troth context use prod",
		Args:    takes("NAME"),
		RunE: a.action(func(_ context.Context, args []string) error {
			c, err := a.loadConfig()
			if err != nil {
				return err
			}
			if _, ok := c.Contexts[args[0]]; !ok {
				return failf(exitNo, codeNoContext, "there is no context %q: see troth context list", args[0])
			}
			c.Current = args[0]
			if err := a.saveConfig(c); err != nil {
				return err
			}
			return a.contextList()
		}),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			c, err := a.loadConfig()
			if err != nil {
				return nil, cobra.ShellCompDirectiveError
			}
			return slices.Sorted(maps.Keys(c.Contexts)), cobra.ShellCompDirectiveNoFileComp
		},
	}
	return a.noun("context", "Choose among servers",
		"A context is a server, who the operator is there, and the token; login makes one.", list, use)
}

func (a *app) contextList() error {
	c, err := a.loadConfig()
	if err != nil {
		return err
	}
	all := contextList{Contexts: []contextLine{}}
	for _, name := range slices.Sorted(maps.Keys(c.Contexts)) {
		k := c.Contexts[name]
		all.Contexts = append(all.Contexts, contextLine{
			Name: name, Current: name == c.Current, Server: k.Server, Operator: k.Operator, Role: k.Role, ExpiresAt: k.ExpiresAt,
		})
	}
	return a.printer().print(all, func(p *page) {
		t := &table{head: []string{"", "NAME", "SERVER", "OPERATOR", "ROLE", "TOKEN ENDS"}}
		for _, l := range all.Contexts {
			mark := ""
			if l.Current {
				mark = "*"
			}
			t.add(mark, l.Name, l.Server, l.Operator, l.Role, ago(l.ExpiresAt, p.now))
		}
		p.table(t, "No contexts: run troth login.")
	})
}
