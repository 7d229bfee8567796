package cli

import (
	"cmp"
	"context"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"troth/internal/api"
	"troth/internal/fleet"
)

func (a *app) tokenCommand() *cobra.Command {
	var req api.TokenRequest
	create := &cobra.Command{
		Use:   "create --operator NAME --role ROLE [--scope LABEL=VALUE,...]",
		Short: "Make a token for somebody else",
		Long: `Make an API token for an operator or a proxy. It is shown once, on standard
output; the server keeps only its hash. With a scope it is good for the devices
that have all of these labels: others do not exist for it, and what concerns the
whole fleet is refused.`,
		Example: `  troth token create --operator alice --role operator
  troth token create --operator bob --role operator --scope site=lyon
  troth token create --operator nginx --role proxy --hours 8760 -o json`,
		Args: takes(),
		RunE: a.action(func(ctx context.Context, _ []string) error { return a.tokenCreate(ctx, req) }),
	}
	create.Flags().StringVar(&req.Operator, "operator", "", "who it is for")
	create.Flags().StringVar(&req.Role, "role", "", "what they may do: "+strings.Join(roles(), ", "))
	create.Flags().StringVar(&req.Scope, "scope", "", "labels that a device must have, as site=lyon,line=3 (default: the whole fleet)")
	create.Flags().IntVar(&req.Hours, "hours", 0, "how long it is good for (default: as the server says)")
	complete(create, "role", roles()...)
	return a.noun("token", "Give others access", "A token lets an operator or a proxy use the API.", create)
}

func roles() []string {
	return []string{string(fleet.RoleAdmin), string(fleet.RoleSecurity), string(fleet.RoleOperator), string(fleet.RoleAuditor), string(fleet.RoleViewer), string(fleet.RoleProxy)}
}

func (a *app) tokenCreate(ctx context.Context, req api.TokenRequest) error {
	if req.Operator == "" || req.Role == "" {
		return usagef("token create needs --operator and --role")
	}
	if err := oneOf("--role", req.Role, roles); err != nil {
		return err
	}
	if _, err := fleet.ParseScope(req.Scope); err != nil {
		return usagef("--scope: %v", err)
	}
	if req.Hours < 0 || req.Hours > 8760 {
		return usagef("--hours takes 1 to 8760, not %d", req.Hours)
	}
	client, err := a.client()
	if err != nil {
		return err
	}
	var got api.Token
	if err := client.Do(ctx, http.MethodPost, api.PathTokens, req, &got); err != nil {
		return err
	}
	return a.printer().print(got, func(p *page) {
		p.fields([2]string{"Operator", got.Operator}, [2]string{"Role", got.Role}, [2]string{"Scope", cmp.Or(got.Scope, "the whole fleet")},
			[2]string{"Ends", ago(got.ExpiresAt, p.now)}, [2]string{"Token", got.Token})
		p.line("It is not shown again.")
	})
}
