package cli

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"troth/internal/api"
)

func (a *app) eventCommand() *cobra.Command {
	var subject string
	var limit int
	list := &cobra.Command{
		Use:     "list",
		Short:   "List events",
		Long:    "List what was done in the fleet and by whom, newest first.",
		Example: "  troth event list --subject rollout:01J9ZK3V --limit 20",
		Args:    takes(),
		RunE: a.action(func(ctx context.Context, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			return a.showEvents(ctx, client, subject, limit)
		}),
	}
	list.Flags().StringVar(&subject, "subject", "", "only what happened to this: a device's id, rollout:ID")
	list.Flags().IntVar(&limit, "limit", 50, "at most this many")
	return a.noun("event", "Read the audit trail",
		"An event is one line of the audit trail: who did what, to what, when.", list)
}

func (a *app) showEvents(ctx context.Context, client *api.Client, subject string, limit int) error {
	if limit < 1 || limit > 1000 {
		return usagef("--limit takes 1 to 1000, not %d", limit)
	}
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	if subject != "" {
		query.Set("subject", subject)
	}
	var got api.EventList
	if err := client.Do(ctx, http.MethodGet, api.PathEvents+"?"+query.Encode(), nil, &got); err != nil {
		return err
	}
	return a.printer().print(got, func(p *page) {
		t := &table{head: []string{"WHEN", "ACTOR", "ACTION", "SUBJECT", "DETAIL"}}
		for _, e := range got.Events {
			t.add(ago(e.At, p.now), e.Actor, e.Action, short(e.Subject), e.Detail)
		}
		p.table(t, "No events.")
	})
}
