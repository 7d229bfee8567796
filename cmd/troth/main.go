// Command troth is the operator's tool of Troth; see package internal/cli.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"troth/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := cli.Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}
