package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Program is the command line with all that it touches of the process.
type Program struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Now            func() time.Time
	Getenv         func(string) string
}

// Run is Program.Run with the clock and the environment of this process.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return Program{Stdin: stdin, Stdout: stdout, Stderr: stderr, Now: time.Now, Getenv: os.Getenv}.Run(ctx, args)
}

// Run executes one command line (without the program's name) and returns the
// exit status: 0 done, 1 no, 2 used wrongly, 3 could not be decided.
func (p Program) Run(ctx context.Context, args []string) int {
	a := &app{Program: p, flags: globalFlags{format: formatTable, timeout: defaultTimeout}}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(p.Stdin)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	var known *failure
	if !a.began && !errors.As(err, &known) {
		err = usagef("%s", err) // cobra's own complaint about the command line
	}
	return a.fail(err)
}

const defaultTimeout = 30 * time.Second

type globalFlags struct {
	context, server, ca, tokenFile string
	format                         string
	timeout                        time.Duration
}

// app is one run of the program.
type app struct {
	Program
	flags globalFlags
	began bool // a command's own code was reached: the command line was well formed
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "troth",
		Short: "Prove what the devices of a fleet are and run",
		Long: `troth is the operator's tool of Troth: devices, firmware, rollouts, alerts and
reports of a trothd; and, without any server, the verification of TPM evidence,
of firmware repositories and of policies.

Exit status: 0 done; 1 the answer is no (not found, refused, not verified, not
compliant); 2 used wrongly; 3 could not be decided (server unreachable or broken).

Environment: TROTH_CONFIG (file of contexts; otherwise troth/config.yaml below
XDG_CONFIG_HOME or ~/.config), TROTH_CONTEXT, TROTH_SERVER, TROTH_CA, TROTH_TOKEN,
TROTH_TOKEN_FILE. A flag wins over its variable, a variable over the context.`,
		Example: `  troth login --server https://troth.example:8443 --ca ca.pem --token-file token
  troth device list --verdict noncompliant
  troth rollout create --model edge-100 --version 1.2.0 --waves 20,100 --start`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.checkGlobals() },
		Args:              needsVerb,
		RunE:              a.action(nil),
	}
	f := root.PersistentFlags()
	f.StringVarP(&a.flags.format, "output-format", "o", formatTable, "answer as table, json or yaml")
	f.StringVar(&a.flags.context, "context", "", "context to use (default: the current one)")
	f.StringVar(&a.flags.server, "server", "", "trothd to talk to, as https://HOST:PORT")
	f.StringVar(&a.flags.ca, "ca", "", "PEM `FILE` of the CAs that the server may be signed by (default: the context's, or the system's)")
	f.StringVar(&a.flags.tokenFile, "token-file", "", "`FILE` with the API token; - reads standard input")
	f.DurationVar(&a.flags.timeout, "timeout", defaultTimeout, "longest wait for one answer of the server")
	complete(root, "output-format", formatTable, formatJSON, formatYAML)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usagef("%s", err) })
	root.AddCommand(
		a.loginCommand(), a.whoamiCommand(), a.contextCommand(),
		a.deviceCommand(), a.manufacturerCommand(), a.alertCommand(),
		a.rolloutCommand(), a.firmwareCommand(), a.vulnCommand(), a.referenceCommand(), a.tufCommand(),
		a.reportCommand(), a.eventCommand(), a.decisionCommand(), a.tokenCommand(), a.caCommand(),
		a.attestCommand(), a.resultCommand(), a.withPolicyLife(a.policyCommand()),
		a.versionCommand(),
	)
	return root
}

func (a *app) checkGlobals() error {
	switch a.flags.format {
	case formatTable, formatJSON, formatYAML:
	default:
		wrong := a.flags.format
		a.flags.format = formatTable
		return usagef("-o takes table, json or yaml, not %q", wrong)
	}
	if a.flags.timeout <= 0 {
		return usagef("--timeout must be positive, not %s", a.flags.timeout)
	}
	return nil
}

// action makes a command's code of run. A command without any (nil) only holds
// others: naming none of them is a mistake that its help answers.
func (a *app) action(run func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.began = true
		if run == nil {
			cmd.SetOut(a.Stderr)
			_ = cmd.Help()
			return usagef("%s needs a command", cmd.CommandPath())
		}
		return run(cmd.Context(), args)
	}
}

// noun groups verbs.
func (a *app) noun(name, short, long string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short, Long: long, Args: needsVerb, RunE: a.action(nil)}
	for _, v := range verbs {
		cmd.AddCommand(v)
	}
	cmd.Example = verbs[0].Example
	return cmd
}

func needsVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return usagef("%s has no command %q; did you mean %q?", cmd.CommandPath(), args[0], near[0])
	}
	return usagef("%s has no command %q", cmd.CommandPath(), args[0])
}

// takes wants exactly the named arguments. An argument that would vanish from
// the path of a request is refused, lest it name another resource.
func takes(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != len(names) {
			if len(names) == 0 {
				return usagef("%s takes no arguments, not %q", cmd.CommandPath(), args)
			}
			return usagef("%s takes %s: %d of %d arguments are given", cmd.CommandPath(), join(names), len(args), len(names))
		}
		for i, arg := range args {
			if arg == "" || arg == "." || arg == ".." {
				return usagef("%q is no %s", arg, names[i])
			}
		}
		return nil
	}
}

// complete lists a flag's values to the shell.
func complete(cmd *cobra.Command, flag string, values ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// terminal reports whether w is one.
func terminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
