package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"troth/internal/api"
	"troth/osv"
)

// codeFeed: a feed of vulnerabilities cannot be read, or records in it cannot be
// used.
const codeFeed = "feed_invalid"

// Bounds of a request, and of what is told.
const (
	batchRecords = 1000
	batchBytes   = 4 << 20
	toldRefused  = 100
)

func (a *app) vulnImportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE|DIR",
		Short: "Import a feed of known vulnerabilities",
		Long: `Import records in the OSV format: a JSON file with one record, or one on each line
(JSON lines), a ZIP archive of JSON files as osv.dev exports them, or a directory of
these. No network is used but to the server.

Each record is taken whole or refused; why is said, and the others go on. A record
that was imported before is replaced, unless it is older; one that was withdrawn no
longer counts. When all is sent, the server compares all releases: the answer of
troth vuln affected is then up to date.

Exit status 1 if a record was refused.`,
		Example: "  troth vuln import Debian-all.zip\n  troth vuln import advisories/",
		Args:    takes("FILE|DIR"),
		RunE:    a.action(func(ctx context.Context, args []string) error { return a.vulnImport(ctx, args[0]) }),
	}
}

// imported is the answer of vuln import.
type imported struct {
	Read      int             `json:"read"`
	Added     int             `json:"added"`
	Updated   int             `json:"updated"`
	Unchanged int             `json:"unchanged"`
	Older     int             `json:"older"`
	Withdrawn int             `json:"withdrawn"`
	Refused   int             `json:"refused"`
	Reasons   []refusedRecord `json:"reasons,omitempty"` // of the first that were refused
}

type refusedRecord struct {
	Where  string `json:"where"`
	Reason string `json:"reason"`
}

// importer sends records in batches.
type importer struct {
	ctx    context.Context
	client *api.Client
	batch  api.VulnerabilityImport
	where  []string // ids of the batch
	bytes  int
	done   imported
}

func (a *app) vulnImport(ctx context.Context, name string) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	path, err := filepath.Abs(name)
	if err != nil {
		return failf(exitUsage, codeFile, "%s", err)
	}
	i := &importer{ctx: ctx, client: client}
	feed := osv.Feed{Record: i.record, Refuse: i.refuse}
	if err := feed.ReadFeed(os.DirFS(filepath.Dir(path)), filepath.Base(path)); err != nil {
		return explainFeed(err)
	}
	i.batch.Last = true
	if err := i.send(); err != nil {
		return err
	}
	if err := a.printer().print(i.done, func(p *page) { drawImported(p, i.done) }); err != nil {
		return err
	}
	if i.done.Refused > 0 {
		return a.after(failf(exitNo, codeFeed, "%d of %d records were refused", i.done.Refused, i.done.Read))
	}
	return nil
}

// explainFeed leaves the server's answers as they are.
func explainFeed(err error) error {
	var path *os.PathError
	if errors.Is(err, osv.ErrFeed) || errors.As(err, &path) {
		return failf(exitUsage, codeFeed, "%s", err)
	}
	return err
}

func drawImported(p *page, done imported) {
	p.line("%d records read: %d added, %d updated, %d unchanged, %d older than what is kept, %d refused.", done.Read, done.Added, done.Updated, done.Unchanged, done.Older, done.Refused)
	if done.Withdrawn > 0 {
		p.line("%d of those added and updated were withdrawn, and no longer count.", done.Withdrawn)
	}
	for _, r := range done.Reasons {
		p.line("  refused: %s: %s", r.Where, r.Reason)
	}
	if more := done.Refused - len(done.Reasons); more > 0 {
		p.line("  and %d others", more)
	}
}

func (i *importer) refuse(where string, why error) error {
	i.done.Read++
	i.refused(where, why.Error())
	return i.ctx.Err()
}

func (i *importer) refused(where, why string) {
	i.done.Refused++
	if len(i.done.Reasons) < toldRefused {
		i.done.Reasons = append(i.done.Reasons, refusedRecord{Where: where, Reason: why})
	}
}

// record queues what is kept of a record: a server needs no more of it.
func (i *importer) record(r osv.Record) error {
	i.done.Read++
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode record %s: %w", r.ID, err)
	}
	if len(i.batch.Records) == batchRecords || i.bytes+len(text) > batchBytes {
		if err := i.send(); err != nil {
			return err
		}
	}
	i.batch.Records, i.where = append(i.batch.Records, text), append(i.where, r.ID)
	i.bytes += len(text)
	return nil
}

func (i *importer) send() error {
	if len(i.batch.Records) == 0 && !i.batch.Last {
		return nil
	}
	var got api.VulnerabilityImportAnswer
	if err := i.client.Do(i.ctx, http.MethodPost, api.PathVulnerabilities, i.batch, &got); err != nil {
		return err
	}
	i.done.Added += got.Added
	i.done.Updated += got.Updated
	i.done.Unchanged += got.Unchanged
	i.done.Older += got.Older
	i.done.Withdrawn += got.Withdrawn
	for _, r := range got.Refused {
		where := "?"
		if r.Index >= 0 && r.Index < len(i.where) {
			where = i.where[r.Index]
		}
		i.refused(where, r.Reason)
	}
	i.batch.Records, i.where, i.bytes = nil, nil, 0
	return nil
}
