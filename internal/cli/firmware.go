package cli

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"troth/attest/reference"
	"troth/internal/api"
	"troth/internal/evidence"
	"troth/tuf"
)

func (a *app) firmwareCommand() *cobra.Command {
	list := &cobra.Command{
		Use:   "list",
		Short: "List the releases that the server knows",
		Long: `List the firmware releases that the server read from its repository's signed
metadata. A release that was just published appears once the server looked again.
One that policy does not take in is listed as refused, with the reason: no device is
told to install it.`,
		Example: "  troth firmware list -o json",
		Args:    takes(),
		RunE:    a.action(func(ctx context.Context, _ []string) error { return a.firmwareList(ctx) }),
	}
	return a.noun("firmware", "Publish firmware, see what is published",
		"A firmware release is a signed file with a version, a counter and the PCR values that prove its installation.",
		list, a.firmwarePublishCommand())
}

func (a *app) firmwareList(ctx context.Context) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	var got api.ReleaseList
	if err := client.Do(ctx, http.MethodGet, api.PathReleases, nil, &got); err != nil {
		return err
	}
	return a.printer().print(got, func(p *page) { drawReleases(p, got) })
}

func drawReleases(p *page, got api.ReleaseList) {
	t := &table{head: []string{"MODEL", "VERSION", "COUNTER", "SECURITY", "BYTES", "TARGET", "NOTES"}}
	for _, r := range got.Releases {
		version := r.Version
		if r.Refused {
			version += " (refused)"
		}
		t.add(r.Model, version, strconv.FormatUint(r.Counter, 10), yesNo(r.Security), strconv.FormatInt(r.Length, 10), r.Target, dash(r.Notes))
	}
	p.table(t, "No releases.")
	for _, r := range got.Releases {
		if r.Refused {
			p.line("Refused: %s of %s. %s (%s)", r.Version, r.Model, r.RefusedReason, r.RefusedCode)
		}
	}
}

// codeInvalidReference: a file of reference values cannot be signed.
const codeInvalidReference = "reference_invalid"

// readReference takes what is signed of a file of reference values.
func (a *app) readReference(file string) (tuf.Reference, error) {
	text, err := a.readFile(file, reference.MaxFile)
	if err != nil {
		return tuf.Reference{}, err
	}
	f, err := reference.ParseFile(text)
	if err != nil {
		return tuf.Reference{}, failf(exitUsage, codeInvalidReference, "%s: %s; troth reference makes such files", file, err)
	}
	out := tuf.Reference{Bank: f.Bank, PCRs: map[string]string{}}
	for pcr, value := range f.PCRs {
		out.PCRs[strconv.Itoa(pcr)] = value.String()
	}
	if f.Bank != evidence.Bank {
		return out, failf(exitUsage, codeInvalidReference, "%s: the values are of bank %s, and the service compares %s: make them with --bank %s", file, f.Bank, evidence.Bank, evidence.Bank)
	}
	return out, nil
}

// released is a target as the API would show it.
func released(t tuf.Target) api.Release {
	out := api.Release{Target: t.Name, Length: t.Length, SHA256: t.Hashes["sha256"]}
	if t.Release == nil {
		return out
	}
	out.Model, out.Version, out.Counter = t.Release.Model, t.Release.Version, t.Release.Counter
	out.Security, out.Notes = t.Release.Security, t.Release.Notes
	out.Minimum, out.DowngradeFrom = t.Release.Minimum, t.Release.DowngradeFrom
	if t.Release.Reference != nil {
		out.Reference = map[int]string{}
		for index, value := range t.Release.Reference.PCRs {
			if n, err := strconv.Atoi(index); err == nil {
				out.Reference[n] = value
			}
		}
	}
	return out
}

// explainTUF ranks what a repository refuses.
func explainTUF(err error) error {
	var said *failure
	var missing *tuf.MissingKeyError
	var unsigned *tuf.MissingSignaturesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &said): // by policy
		return said
	case errors.As(err, &missing):
		return failf(exitUsage, "missing_key", "%s", missing)
	case errors.As(err, &unsigned):
		return failf(exitNo, "signatures_missing", "%s", unsigned)
	case errors.Is(err, tuf.ErrTwin):
		return failf(exitNo, "release_twin", "%s", err)
	case errors.Is(err, tuf.ErrDelegation):
		return failf(exitNo, "release_delegated", "%s", err)
	case errors.Is(err, tuf.ErrNoRole):
		return failf(exitNo, "no_role", "%s", err)
	case errors.Is(err, tuf.ErrStage):
		return failf(exitNo, "stage_mismatch", "%s", err)
	case errors.Is(err, tuf.ErrPending):
		return failf(exitNo, "stage_pending", "%s", err)
	case errors.Is(err, tuf.ErrInvalid):
		return failf(exitUsage, "release_invalid", "%s", err)
	case errors.Is(err, tuf.ErrCounter):
		return failf(exitNo, "release_counter", "%s", err)
	case errors.Is(err, tuf.ErrExists):
		return failf(exitNo, "exists", "%s", err)
	case errors.Is(err, tuf.ErrNotFound):
		return failf(exitNo, "no_repository", "%s", err)
	case errors.Is(err, tuf.ErrExpired):
		return failf(exitNo, "role_expired", "%s", err)
	case errors.Is(err, tuf.ErrLocked):
		return failf(exitUndecided, "locked", "%s", err)
	default:
		return failf(exitUndecided, "repository", "%s", err)
	}
}
