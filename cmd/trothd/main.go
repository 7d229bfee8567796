// Command trothd is the Troth service.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"troth/internal/server"
	"troth/internal/version"
)

func main() { os.Exit(run()) }

// errUsage marks mistakes on the command line (exit status 2).
var errUsage = errors.New("usage")

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use: "trothd", Short: "Troth: attestation and compliance for fleets of devices",
		SilenceUsage: true, SilenceErrors: true, Version: version.String(),
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	root.AddCommand(serve(), recoverAccess(), useBasePolicy(), caCommand())
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "trothd:", err)
	if errors.Is(err, errUsage) {
		return 2
	}
	return 3
}

// where says which service a command is about.
type where struct{ config, dataDir string }

func (w *where) flags(c *cobra.Command) {
	c.Flags().StringVar(&w.config, "config", "", "YAML configuration `file`; a key that is not known is an error")
	c.Flags().StringVar(&w.dataDir, "data-dir", "", "`directory` of database, CA and keys; made if missing")
}

func (w *where) load() (server.Config, error) {
	c := server.Config{}
	if w.config != "" {
		loaded, err := server.Load(w.config)
		if err != nil {
			return c, fmt.Errorf("%w: %w", errUsage, err)
		}
		c = loaded
	}
	if w.dataDir != "" {
		c.DataDir = w.dataDir
	}
	return c, nil
}

func recoverAccess() *cobra.Command {
	var w where
	c := &cobra.Command{
		Use:   "recover (--data-dir DIR | --config FILE)",
		Short: "Make a bootstrap token where every administrator's token is lost",
		Long: `Make a bootstrap token where every administrator's token is lost or has expired.

It is good for one "troth login" within 24 hours, and is an event in the trail. The
service may be running.`,
		Example: "  trothd recover --data-dir /var/lib/troth",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := w.load()
			if err != nil {
				return err
			}
			token, err := server.Recover(cmd.Context(), c)
			if err == nil {
				fmt.Println(token)
			}
			return err
		},
	}
	w.flags(c)
	return c
}

func serve() *cobra.Command {
	var w where
	var listen, level string
	c := &cobra.Command{
		Use:   "serve (--data-dir DIR | --config FILE)",
		Short: "Serve devices and operators until told to stop",
		Long: `Serve devices and operators until told to stop (SIGINT, SIGTERM).

With --data-dir alone everything has a working default: an SQLite database, a CA
in a file, the built-in policies. The address, the path of the CA certificate and,
until somebody has logged in, a bootstrap token are written to standard output;
the log goes to standard error.`,
		Example: `  trothd serve --data-dir /var/lib/troth
  trothd serve --config /etc/troth/troth.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := w.load()
			if err != nil {
				return err
			}
			if listen != "" {
				c.Listen = listen
			}
			var l slog.Level
			if err := l.UnmarshalText([]byte(level)); err != nil {
				return fmt.Errorf("%w: --log-level: %w", errUsage, err)
			}
			log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: l}))
			s, err := server.New(cmd.Context(), c, version.String(), log)
			if err != nil {
				return err
			}
			return errors.Join(s.Run(cmd.Context(), os.Stdout), s.Close())
		},
	}
	w.flags(c)
	c.Flags().StringVar(&listen, "listen", "", "`address` to serve on (default 127.0.0.1:8443)")
	c.Flags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	return c
}
