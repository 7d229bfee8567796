package cli

import (
	"github.com/spf13/cobra"
)

// Limits on what is read of a file, in bytes; package attest has its own, which
// are stricter.
const (
	maxBlob     = 1 << 20
	maxEventLog = 16 << 20
	maxIMAList  = 128 << 20
)

func (a *app) attestCommand() *cobra.Command {
	return a.noun("attest", "Verify TPM evidence from files, with no server",
		`Verify what a TPM signed, and read what a machine measured, from files alone. What an
answer says is explained with each command; problem codes are stable.`,
		a.attestVerifyCommand(), a.attestEventLogCommand(), a.attestIMACommand(), a.attestEKCommand())
}
