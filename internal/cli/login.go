package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"troth/internal/api"
	"troth/internal/atomicfile"
	"troth/internal/fleet"
)

// loggedIn is the answer of login; the token stays in the file.
type loggedIn struct {
	Context   string    `json:"context"`
	Server    string    `json:"server"`
	Operator  string    `json:"operator"`
	Role      string    `json:"role"`
	ExpiresAt time.Time `json:"expires_at"`
	Config    string    `json:"config"`
}

func (a *app) loginCommand() *cobra.Command {
	var token, operator string
	cmd := &cobra.Command{
		Use:   "login --server URL",
		Short: "Log in to a trothd and keep the token in a context",
		Long: `Log in to a trothd and make it the current context.

A bootstrap token, which trothd prints once, is spent: trothd answers with a
token for the operator. Any other token is kept as it is, once trothd knows it.
The token is read from --token-file, TROTH_TOKEN or standard input (without echo
on a terminal); --token shows it to everybody who may list processes.

The CAs of --ca are kept in the context, and only they are believed for it.`,
		Example: `  troth login --server https://troth.example:8443 --ca ca.pem --token-file bootstrap-token
  printf %s "$TOKEN" | troth login --server https://troth.example:8443 --context prod`,
		Args: takes(),
		RunE: a.action(func(ctx context.Context, _ []string) error { return a.login(ctx, token, operator) }),
	}
	cmd.Flags().StringVar(&token, "token", "", "the token itself (better: --token-file)")
	cmd.Flags().StringVar(&operator, "operator", "", "name to log in as with a bootstrap token (default: USER)")
	return cmd
}

func (a *app) login(ctx context.Context, token, operator string) error {
	t, err := a.loginTarget(token)
	if err != nil {
		return err
	}
	conf, err := a.loadConfig()
	if err != nil {
		return err
	}
	path, err := a.checkConfigPlace()
	if err != nil {
		return err
	}
	client, err := a.connect(t)
	if err != nil {
		return err
	}
	got, err := a.exchange(ctx, client, operator)
	if err != nil {
		return err
	}
	name := first(a.flags.context, a.Getenv("TROTH_CONTEXT"), "default")
	if conf.Contexts == nil {
		conf.Contexts = map[string]configContext{}
	}
	conf.Current = name
	conf.Contexts[name] = configContext{
		Server: t.server, CA: t.ca, Operator: got.Operator, Role: got.Role, Token: got.Token, ExpiresAt: got.ExpiresAt,
	}
	if err := a.saveConfig(conf); err != nil {
		return err
	}
	done := loggedIn{Context: name, Server: t.server, Operator: got.Operator, Role: got.Role, ExpiresAt: got.ExpiresAt, Config: path}
	return a.printer().print(done, func(p *page) {
		p.line("Logged in to %s as %s (%s). The token ends %s.", done.Server, done.Operator, done.Role, ago(done.ExpiresAt, p.now))
		p.line("Context %s is in %s.", done.Context, done.Config)
	})
}

// loginTarget is what flags and environment say; --server may be left out to
// log in again to a context.
func (a *app) loginTarget(token string) (target, error) {
	t, err := a.givenTarget()
	if err != nil {
		return target{}, err
	}
	if t.server == "" {
		again, err := a.target()
		if err != nil {
			return target{}, usagef("login needs --server https://HOST:PORT")
		}
		t.server, t.ca = again.server, again.ca
	}
	switch {
	case token != "":
		t.token, err = checkToken(token)
	case t.token == "":
		t.token, err = a.askToken()
	}
	return t, err
}

// exchange turns the client's token into the one to keep. A bootstrap token is
// good for nothing but logging in, so whoami tells the two apart.
func (a *app) exchange(ctx context.Context, client *api.Client, operator string) (api.Token, error) {
	var who api.WhoAmI
	err := client.Do(ctx, http.MethodGet, api.PathWhoAmI, nil, &who)
	if err == nil && who.Role != string(fleet.RoleBootstrap) {
		return api.Token{Token: client.Token, Operator: who.Operator, Role: who.Role, ExpiresAt: who.ExpiresAt}, nil
	}
	if err != nil && !unwelcome(err) {
		return api.Token{}, err
	}
	name := first(operator, a.Getenv("USER"))
	if name == "" {
		return api.Token{}, usagef("a bootstrap token needs --operator NAME")
	}
	var got api.Token
	if err := client.Do(ctx, http.MethodPost, api.PathLogin, api.LoginRequest{Operator: name}, &got); err != nil {
		return api.Token{}, err
	}
	if got.Token, err = checkToken(got.Token); err != nil {
		return api.Token{}, failf(exitUndecided, codeBadAnswer, "the server answered without a token")
	}
	return got, nil
}

// unwelcome reports whether a server said that a token may not ask this.
func unwelcome(err error) bool {
	var p *api.Problem
	return errors.As(err, &p) && (p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden)
}

// checkConfigPlace makes sure that a token can be kept before a bootstrap token
// is spent for it.
func (a *app) checkConfigPlace() (string, error) {
	path, err := a.configPath()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", failf(exitUndecided, codeConfig, "contexts cannot be kept: %s", err)
	}
	probe := path + ".probe"
	if err := atomicfile.WriteFrom(probe, 0o600, func(io.Writer) error { return nil }); err != nil {
		return "", failf(exitUndecided, codeConfig, "contexts cannot be kept: %s", err)
	}
	if err := os.Remove(probe); err != nil {
		return "", fmt.Errorf("remove probe: %w", err)
	}
	return path, nil
}

func (a *app) whoamiCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "whoami",
		Short:   "Say who the token belongs to",
		Long:    "Ask the server whose token this is, what role it has and when it ends.",
		Example: "  troth whoami -o json",
		Args:    takes(),
		RunE: a.action(func(ctx context.Context, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			var who api.WhoAmI
			if err := client.Do(ctx, http.MethodGet, api.PathWhoAmI, nil, &who); err != nil {
				return err
			}
			return a.printer().print(who, func(p *page) {
				p.fields([2]string{"Operator", who.Operator}, [2]string{"Role", who.Role},
					[2]string{"Server", client.Base}, [2]string{"Token ends", ago(who.ExpiresAt, p.now)})
			})
		}),
	}
}
