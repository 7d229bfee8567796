package tuf

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/cjson"
)

// The index of a repository with hash bins: what publishing must know of all
// releases of a model, whichever bins they are in, without reading the bins. It
// is made from the signed metadata, and is made anew when it is not of the state
// that the metadata is in, or was written before the machine last started (it is
// never synced to disk). Devices and the service never see it.
//
//	.index/state      which snapshot content it is of
//	.index/<3 hex>    lines "key value", by the first digits of the key
const (
	indexDir   = ".index"
	indexState = "state"

	indexFormat = "2" // another one is made anew
	bootID      = "/proc/sys/kernel/random/boot_id"
)

// twinKey names a set of reference values of a model.
func twinKey(rel Release) (string, error) {
	values, err := cjson.EncodeCanonical(rel.Reference)
	if err != nil {
		return "", fmt.Errorf("encode reference values: %w", err)
	}
	return indexKey("reference", rel.Model, string(values)), nil
}

func counterKey(model string) string { return indexKey("counter", model) }

// numberKey names one counter of a model.
func numberKey(model string, counter uint64) string {
	return indexKey("number", model, strconv.FormatUint(counter, 10))
}

func indexKey(words ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(words, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// indexOf names the state of the roles: what the snapshot says of each, and the
// machine's boot.
func (v *view) indexOf() (string, error) {
	boot, err := os.ReadFile(bootID)
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	meta, err := json.Marshal(v.Snapshot.Signed.Meta)
	if err != nil {
		return "", fmt.Errorf("encode snapshot: %w", err)
	}
	sum := sha256.Sum256(append(meta, string(boot)+indexFormat...))
	return hex.EncodeToString(sum[:]), nil
}

func (r *Repository) indexPath(name string) string { return filepath.Join(r.dir, indexDir, name) }

// openIndex makes the index that of the view. The caller holds the lock.
func (v *view) openIndex() error {
	want, err := v.indexOf()
	if err != nil {
		return err
	}
	if have, err := os.ReadFile(v.r.indexPath(indexState)); err == nil && string(have) == want {
		return nil
	}
	if err := os.RemoveAll(v.r.indexPath("")); err != nil {
		return fmt.Errorf("remove old index: %w", err)
	}
	bins, err := v.bins()
	if err != nil {
		return err
	}
	shards := map[string]*bytes.Buffer{}
	counters := map[string]uint64{}
	names := map[string]string{}
	add := func(key, value string) {
		if shards[key[:3]] == nil {
			shards[key[:3]] = &bytes.Buffer{}
		}
		fmt.Fprintf(shards[key[:3]], "%s %s\n", key, value)
	}
	for _, bin := range bins {
		err := v.each([]string{bin}, func(_ string, t Target) error {
			if t.Release == nil {
				return nil
			}
			key, err := twinKey(*t.Release)
			if err != nil {
				return err
			}
			add(key, t.Name)
			add(numberKey(t.Release.Model, t.Release.Counter), t.Name)
			if m := t.Release.Model; t.Release.Counter > counters[m] {
				counters[m], names[m] = t.Release.Counter, t.Name
			}
			return nil
		})
		if err != nil {
			return err
		}
		delete(v.Targets, bin) // one bin at a time in memory
	}
	for model, counter := range counters {
		add(counterKey(model), fmt.Sprintf("%d %s", counter, names[model]))
	}
	if err := os.MkdirAll(v.r.indexPath(""), 0o700); err != nil {
		return fmt.Errorf("make index: %w", err)
	}
	for shard, lines := range shards {
		if err := os.WriteFile(v.r.indexPath(shard), lines.Bytes(), 0o600); err != nil {
			return fmt.Errorf("write index: %w", err)
		}
	}
	return v.r.closeIndex(want)
}

// closeIndex says which state the index is of.
func (r *Repository) closeIndex(state string) error {
	if err := os.WriteFile(r.indexPath(indexState), []byte(state), 0o600); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return nil
}

// lookup gives the value of a key; "" if it has none.
func (r *Repository) lookup(key string) (string, error) {
	text, err := os.ReadFile(r.indexPath(key[:3]))
	if err != nil && !os.IsNotExist(err) {
		return "", fmt.Errorf("read index: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if k, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " "); ok && k == key {
			return value, nil
		}
	}
	return "", nil
}

// conflict says which release of the bins stands against rel, by the index.
func (r *Repository) conflict(rel Release) error {
	last, err := r.lookup(counterKey(rel.Model))
	if err != nil {
		return err
	}
	if last != "" {
		number, name, _ := strings.Cut(last, " ")
		counter, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return fmt.Errorf("read index: %w", err)
		}
		if !rel.mayFollow(counter) {
			return counterError(rel, counter, name)
		}
	}
	if name, err := r.lookup(numberKey(rel.Model, rel.Counter)); err != nil || name != "" {
		return errors.Join(err, counterError(rel, rel.Counter, name))
	}
	key, err := twinKey(rel)
	if err != nil {
		return err
	}
	twin, err := r.lookup(key)
	if err == nil && twin != "" {
		err = twinError(rel, twin)
	}
	return err
}

// remember adds a release that was just published. Until closeIndex the index
// counts for nothing.
func (r *Repository) remember(rel Release) error {
	key, err := twinKey(rel)
	if err != nil {
		return err
	}
	if err := r.note(key, rel.Name); err != nil {
		return err
	}
	if err := r.note(numberKey(rel.Model, rel.Counter), rel.Name); err != nil {
		return err
	}
	last, err := r.lookup(counterKey(rel.Model))
	if err != nil {
		return err
	}
	number, _, _ := strings.Cut(last, " ")
	if counter, err := strconv.ParseUint(number, 10, 64); err == nil && counter > rel.Counter {
		return nil
	}
	return r.note(counterKey(rel.Model), fmt.Sprintf("%d %s", rel.Counter, rel.Name))
}

// note replaces the value of a key.
func (r *Repository) note(key, value string) error {
	path := r.indexPath(key[:3])
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("read index: %w", err)
	}
	var lines bytes.Buffer
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, key) {
			lines.WriteString(line)
		}
	}
	fmt.Fprintf(&lines, "%s %s\n", key, value)
	if err := os.WriteFile(path, lines.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return nil
}

func twinError(rel Release, name string) error {
	return fmt.Errorf("%w: %s of %s could not be told from it (%s)", ErrTwin, rel.Version, rel.Model, name)
}

func counterError(rel Release, counter uint64, name string) error {
	return fmt.Errorf("%w: %s has %d (%s)", ErrCounter, rel.Model, counter, name)
}
