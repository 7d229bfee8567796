package cli

import (
	"context"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"troth/internal/api"
)

func (a *app) alertCommand() *cobra.Command {
	var all bool
	list := &cobra.Command{
		Use:     "list",
		Short:   "List alerts",
		Long:    "List the alerts that are not resolved, newest first; with --all the resolved ones too.",
		Example: "  troth alert list --all -o json",
		Args:    takes(),
		RunE:    a.action(func(ctx context.Context, _ []string) error { return a.alertList(ctx, all) }),
	}
	list.Flags().BoolVar(&all, "all", false, "resolved ones too")
	ack := &cobra.Command{
		Use:     "ack ID",
		Short:   "Say that an alert was seen",
		Long:    "Acknowledge an alert. It is resolved by itself once its cause is gone.",
		Example: "  troth alert ack 01J9ZK3V",
		Args:    takes("ID"),
		RunE: a.action(func(ctx context.Context, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			var got api.Alert
			if err := client.Do(ctx, http.MethodPost, api.Path(api.PathAlertAcknowledge, args[0]), nil, &got); err != nil {
				return err
			}
			return a.printer().print(got, func(p *page) {
				p.line("Alert %s (%s) is %s by %s.", got.ID, got.Title, got.State, dash(got.AcknowledgedBy))
			})
		}),
	}
	return a.noun("alert", "See what needs a person",
		"An alert is something that a person should see. The same cause raises one alert, however often it is seen.", list, ack)
}

func (a *app) alertList(ctx context.Context, all bool) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	path := api.PathAlerts
	if all {
		path += "?all=true"
	}
	var got api.AlertList
	if err := client.Do(ctx, http.MethodGet, path, nil, &got); err != nil {
		return err
	}
	return a.printer().print(got, func(p *page) {
		t := &table{head: []string{"ID", "SEVERITY", "STATE", "SUBJECT", "TITLE", "COUNT", "OPENED", "REASON"}}
		for _, l := range got.Alerts {
			subject := l.Subject
			if l.Device != "" {
				subject = nameOr(l.DeviceName, l.Device)
			}
			t.add(l.ID, l.Severity, l.State, subject, l.Title, strconv.Itoa(l.Count), ago(l.OpenedAt, p.now), l.Reason)
		}
		p.table(t, "No alerts.")
	})
}
