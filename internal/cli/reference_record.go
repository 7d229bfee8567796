package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"troth/attest"
	"troth/attest/ima"
	"troth/attest/reference"
	"troth/internal/api"
	"troth/internal/atomicfile"
	"troth/internal/evidence"
	"troth/internal/fleet"
)

// golden is verified evidence of a golden device, and where it is from.
type golden struct {
	result        attest.Result
	eventLog, ima []byte
	from          reference.Provenance
}

type recordFlags struct {
	referenceFlags
	device, allowList string
	evidence          evidenceFlags
}

func (a *app) referenceRecordCommand() *cobra.Command {
	var r recordFlags
	cmd := &cobra.Command{
		Use:   "record (--device ID|NAME | --ak FILE --quote FILE --signature FILE --nonce HEX)",
		Short: "Record reference values from a golden device",
		Long: `Take over the PCR values of a golden device that runs a release as it should: of a
device that the service knows (its latest verified evidence, which is verified here
once more), or from files as troth attest verify takes them. Evidence that does not
verify is refused.

By default the PCRs are taken that devices of one model have in common: 0, 2, 4, 7, 8, 9,
11 and 12, as far as the event log extends them. Leave out with --select what differs
from device to device, as 8, 9 and 12 do where the kernel's command line names a disk.

--allow-list writes what the device ran, as its IMA list has it and sha256sum prints it.`,
		Example: `  troth reference record --device golden-1 --out edge-100-1.2.0.json
  troth reference record --ak ak.pub --quote quote.bin --signature sig.bin --nonce 6e6f6e6365 \
    --pcrs pcrs.json --event-log binary_bios_measurements --ima ascii_runtime_measurements \
    --select 4,9 --out reference.json --allow-list allowed.sha256`,
		Args: takes(),
		RunE: a.action(func(ctx context.Context, _ []string) error { return a.referenceRecord(ctx, r) }),
	}
	f := cmd.Flags()
	f.StringVar(&r.device, "device", "", "`ID|NAME` of a device that the service knows")
	f.StringVar(&r.evidence.ak, "ak", "", "`FILE` of the attestation key's public part")
	f.StringVar(&r.evidence.quote, "quote", "", "`FILE` of the quote")
	f.StringVar(&r.evidence.signature, "signature", "", "`FILE` of the quote's signature")
	f.StringVar(&r.evidence.nonce, "nonce", "", "qualifying data as signed, in hexadecimal")
	f.StringVar(&r.evidence.pcrs, "pcrs", "", "`FILE` of the quoted PCR values (JSON)")
	f.StringVar(&r.evidence.eventLog, "event-log", "", "`FILE` of the firmware event log")
	f.StringVar(&r.evidence.ima, "ima", "", "`FILE` of the IMA list, ASCII or binary")
	f.BoolVar(&r.evidence.sha1, "allow-sha1", false, "accept a quote that covers the SHA-1 bank too")
	f.StringVar(&r.allowList, "allow-list", "", "`FILE` to write the digests of what the device ran to")
	r.add(cmd, "what devices of a model have in common")
	return cmd
}

func (a *app) referenceRecord(ctx context.Context, r recordFlags) error {
	pcrs, err := r.pcrs()
	if err != nil {
		return err
	}
	g, err := a.golden(ctx, r)
	if err != nil {
		return err
	}
	f, err := reference.Record(g.result, g.eventLog, r.bank, pcrs)
	if err != nil {
		return failf(exitNo, codeReference, "%s", err)
	}
	g.from.Method, g.from.At = "recorded", a.Now().UTC().Truncate(time.Second)
	f.Provenance = &g.from
	var written func(*page)
	if r.allowList != "" {
		if written, err = writeAllowList(r.allowList, g); err != nil {
			return err
		}
	}
	return a.deliver(f, r.referenceFlags, func(p *page) { drawGolden(p, g) }, func(p *page) {
		if written != nil {
			written(p)
		}
	})
}

func (a *app) golden(ctx context.Context, r recordFlags) (golden, error) {
	e := r.evidence
	files := e.ak != "" || e.quote != "" || e.signature != "" || e.nonce != "" || e.pcrs != "" || e.eventLog != "" || e.ima != ""
	switch {
	case r.device != "" && files:
		return golden{}, usagef("reference record takes a --device or files, not both")
	case r.device != "":
		return a.goldenDevice(ctx, r.device)
	case e.ak == "" || e.quote == "" || e.signature == "" || e.nonce == "":
		return golden{}, usagef("reference record needs --device, or --ak, --quote, --signature and --nonce")
	}
	nonce, err := hex.DecodeString(strings.TrimSpace(e.nonce))
	if err != nil {
		return golden{}, usagef("--nonce takes hexadecimal digits: %s", err)
	}
	given, err := a.readEvidence(e)
	if err != nil {
		return golden{}, err
	}
	g := golden{eventLog: given.EventLog, ima: given.IMA}
	if g.result = attest.Appraise(given, attest.Expectation{QualifyingData: nonce, AllowSHA1: e.sha1}); !g.result.Verified {
		return golden{}, notVerified(g.result)
	}
	sum := sha256.Sum256(given.Quote)
	g.from.Evidence = hex.EncodeToString(sum[:])
	return g, nil
}

// goldenDevice fetches the latest evidence of a device, and verifies it here.
func (a *app) goldenDevice(ctx context.Context, device string) (golden, error) {
	client, err := a.client()
	if err != nil {
		return golden{}, err
	}
	var kept api.KeptEvidence
	if err := client.Do(ctx, http.MethodGet, api.Path(api.PathEvidence, device), nil, &kept); err != nil {
		return golden{}, err
	}
	g := golden{from: reference.Provenance{Device: kept.Device, Name: kept.Name, Evidence: kept.SHA256, VerifiedAt: &kept.VerifiedAt}}
	if sum := sha256.Sum256(kept.Document); hex.EncodeToString(sum[:]) != kept.SHA256 {
		return golden{}, failf(exitNo, "evidence_altered", "the evidence that the server sent is not the one that it names")
	}
	if g.result, err = evidence.Again(ctx, contentOf(kept), kept.Document); err != nil {
		return golden{}, failf(exitNo, "evidence_incomplete", "the evidence that the server sent cannot be verified: %s", err)
	}
	if !g.result.Verified {
		return golden{}, notVerified(g.result)
	}
	if g.eventLog, g.ima, err = kept.Logs(); err != nil {
		return golden{}, failf(exitUndecided, codeBadAnswer, "%s", err)
	}
	if kept.Lifecycle != string(fleet.Active) {
		g.from.Notes = append(g.from.Notes, "the device is "+kept.Lifecycle)
	}
	return g, nil
}

// content finds the logs that evidence names in what came with it.
type content map[string][]byte

func contentOf(kept api.KeptEvidence) content {
	c := content{}
	for _, l := range kept.Content {
		c[l.SHA256] = l.Content
	}
	return c
}

// Blob is evidence.Blobs.
func (c content) Blob(_ context.Context, digest string) ([]byte, error) {
	b, ok := c[digest]
	if !ok {
		return nil, fleet.Errorf(fleet.NotFound, "not_found", "%.16s… did not come with the evidence", digest)
	}
	return b, nil
}

func drawGolden(p *page, g golden) {
	p.gap()
	who := "the evidence in the files"
	if g.from.Device != "" {
		who = "device " + nameOr(g.from.Name, g.from.Device) + " (" + short(g.from.Device) + ")"
	}
	p.line("Recorded from %s.", who)
	if at := g.from.VerifiedAt; at != nil {
		p.line("The service verified its evidence %s (%s).", ago(*at, p.now), at.UTC().Format(time.RFC3339))
	}
	p.line("Evidence %s", g.from.Evidence)
}

func writeAllowList(file string, g golden) (func(*page), error) {
	if g.ima == nil || g.result.IMA == nil {
		return nil, usagef("--allow-list needs an IMA list, and the evidence has none")
	}
	list, err := ima.Parse(g.ima)
	if err != nil {
		return nil, failf(exitNo, attest.CodeIMAMalformed, "the IMA list cannot be read: %s", err)
	}
	lines, left := reference.AllowList(list, g.result.IMA.Entries)
	if len(lines) == 0 {
		return nil, failf(exitNo, codeReference, "the IMA list has no SHA-256 digest of a file")
	}
	if err := atomicfile.Write(file, lines, 0o644); err != nil {
		return nil, failf(exitUsage, codeFile, "%s", err)
	}
	return func(p *page) {
		p.line("Written to %s: %s that it ran; %s left out (violations, other algorithms, boot_aggregate).",
			file, number(strings.Count(string(lines), "\n"), "file", "files"), number(left, "entry", "entries"))
	}, nil
}
