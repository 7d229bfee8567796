package cli

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

type version struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Built   string `json:"commit_time,omitempty"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Say which troth this is",
		Long:    "Say the version of this program and what it was built from. No server is asked.",
		Example: "  troth version -o json",
		Args:    takes(),
		RunE: a.action(func(context.Context, []string) error {
			v := buildVersion()
			return a.printer().print(v, func(p *page) {
				p.line("troth %s %s %s/%s %s", v.Version, v.Commit, v.OS, v.Arch, v.Go)
			})
		}),
	}
}

func buildVersion() version {
	v := version{Version: "unknown", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Version = info.Main.Version
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.time":
			v.Built = s.Value
		}
	}
	return v
}
