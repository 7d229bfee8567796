package tuf_test

import (
	"crypto"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"troth/tuf"
	"troth/tuf/client"
)

// A client finds the bundle as it was signed, and reads it as one; a release beside
// it stays a release.
func TestPublishPolicy(t *testing.T) {
	for name, bits := range map[string]int{"flat": 0, "in hash bins": 2} {
		t.Run(name, func(t *testing.T) {
			now, dir, keys := time.Now(), t.TempDir(), t.TempDir()
			if err := tuf.Init(dir, tuf.InitOptions{KeysDir: keys, Now: now, BinBits: bits}); err != nil {
				t.Fatal(err)
			}
			repo, err := tuf.Open(dir, keys)
			if err != nil {
				t.Fatal(err)
			}
			publish := func(name string, counter uint64) error {
				_, err := repo.PublishPolicy(t.Context(), tuf.PolicyBundle{Name: name, Version: "v", Counter: counter}, strings.NewReader("archive"), now)
				return err
			}
			for _, row := range []struct {
				name    string
				counter uint64
				want    error
			}{
				{"policies/fleet-7.tar.gz", 7, nil},
				{"policies/fleet-7.tar.gz", 8, tuf.ErrExists},
				{"policies/other.tar.gz", 7, tuf.ErrCounter},
				{"policies/other.tar.gz", 6, tuf.ErrCounter},
				{"policies/other.tar.gz", 0, tuf.ErrInvalid},
				{"firmware/fleet-8.tar.gz", 8, tuf.ErrInvalid},
				{"policies/../fleet-8.tar.gz", 8, tuf.ErrInvalid},
				{"policies/fleet-8.tar.gz", 8, nil},
			} {
				if err := publish(row.name, row.counter); !errors.Is(err, row.want) {
					t.Errorf("%s, counter %d: %v, want %v", row.name, row.counter, err, row.want)
				}
			}
			root, err := repo.Root()
			if err != nil {
				t.Fatal(err)
			}
			c, err := client.New(client.Config{
				Dir: t.TempDir(), Root: root, Now: time.Now,
				MetadataURL: "file://" + filepath.Join(dir, "metadata"), TargetsURL: "file://" + filepath.Join(dir, "targets"),
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			found, err := c.Lookup(t.Context(), "policies/fleet-8.tar.gz")
			if err != nil {
				t.Fatal(err)
			}
			if b, err := found.PolicyBundle(); err != nil || b.Counter != 8 || b.Version != "v" || found.Release != nil {
				t.Errorf("%+v, %v, release %v", b, err, found.Release)
			}
		})
	}
}

// delegated lets a role of its own sign below policies/, for a model.
func delegated(t *testing.T, model string) *ceremony {
	t.Helper()
	c := newCeremony(t, tuf.InitOptions{})
	s := c.stage(func(d *tuf.Draft) error {
		key, err := tuf.CreateKey(tuf.Keys{Dir: c.keys}, "security", tuf.KeyEd25519)
		if err != nil {
			return err
		}
		return d.Delegate(tuf.Delegation{Name: "security", Models: []string{model}, Paths: []string{"policies/*"}, Keys: []crypto.PublicKey{key}, Threshold: 1})
	})
	c.publish(sign(t, s, only(t, c.keys, "targets")))
	return c
}

// A team that signs policies needs no key of the firmware's.
func TestPolicyKeysOfTheirOwn(t *testing.T) {
	c := delegated(t, tuf.PolicyModel)
	repo, err := tuf.OpenWith(c.dir, only(t, c.keys, "security", "snapshot", "timestamp"))
	if err != nil {
		t.Fatal(err)
	}
	b := tuf.PolicyBundle{Name: "policies/fleet-1.tar.gz", Version: "1", Counter: 1}
	if _, err := repo.PublishPolicy(t.Context(), b, strings.NewReader("one"), c.now); err != nil {
		t.Fatal(err)
	}
	if err := c.client.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if target, err := c.client.Lookup(t.Context(), b.Name); err != nil || target.Model() != tuf.PolicyModel {
		t.Errorf("%+v, %v", target, err)
	}
	var missing *tuf.MissingKeyError
	firmware, err := tuf.OpenWith(c.dir, only(t, c.keys, "targets", "snapshot", "timestamp"))
	if err != nil {
		t.Fatal(err)
	}
	b.Name, b.Counter = "policies/fleet-2.tar.gz", 2
	if _, err := firmware.PublishPolicy(t.Context(), b, strings.NewReader("two"), c.now); !errors.As(err, &missing) || missing.Role != "security" {
		t.Errorf("with the firmware's keys: %v", err)
	}
}

// A supplier to whom the names below policies/ are delegated signs its model there,
// and no policy.
func TestAttack_P3_SupplierSignsAPolicy(t *testing.T) {
	c := delegated(t, "acme-1")
	repo, err := tuf.OpenWith(c.dir, only(t, c.keys, "security", "snapshot", "timestamp"))
	if err != nil {
		t.Fatal(err)
	}
	b := tuf.PolicyBundle{Name: "policies/fleet-1.tar.gz", Version: "1", Counter: 1}
	if _, err := repo.PublishPolicy(t.Context(), b, strings.NewReader("one"), c.now); !errors.Is(err, tuf.ErrDelegation) {
		t.Errorf("publishing: %v", err)
	}
	custom := json.RawMessage(`{"policy": {"name": "policies/fleet-1.tar.gz", "version": "1", "counter": 1}}`)
	c.release("policies/acme.img", "acme-1", 1, "security")
	c.forge("security", func(targets map[string]*metadata.TargetFiles) {
		copied := *targets["policies/acme.img"]
		copied.Path, copied.Custom = b.Name, &custom
		targets[b.Name] = &copied
	})
	if err := c.client.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if target, err := c.client.Lookup(t.Context(), b.Name); client.Code(err) != client.CodeDelegation {
		t.Errorf("the client finds %+v, %v", target, err)
	}
}

func TestAttack_P3_ATargetThatIsNoPolicyBundle(t *testing.T) {
	sum := map[string]string{"sha256": strings.Repeat("a", 64)}
	for name, target := range map[string]tuf.Target{
		"nothing signed":      {Name: "policies/a", Length: 1, Hashes: sum},
		"a release":           {Name: "policies/a", Length: 1, Hashes: sum, Custom: json.RawMessage(`{"name": "policies/a", "counter": 9}`)},
		"another name":        {Name: "policies/a", Length: 1, Hashes: sum, Custom: json.RawMessage(`{"policy": {"name": "policies/b", "version": "1", "counter": 9}}`)},
		"outside of policy":   {Name: "acme/a", Length: 1, Hashes: sum, Custom: json.RawMessage(`{"policy": {"name": "acme/a", "version": "1", "counter": 9}}`)},
		"no counter":          {Name: "policies/a", Length: 1, Hashes: sum, Custom: json.RawMessage(`{"policy": {"name": "policies/a", "version": "1"}}`)},
		"larger than allowed": {Name: "policies/a", Length: tuf.MaxPolicyBytes + 1, Hashes: sum, Custom: json.RawMessage(`{"policy": {"name": "policies/a", "version": "1", "counter": 9}}`)},
		"no hash":             {Name: "policies/a", Length: 1, Custom: json.RawMessage(`{"policy": {"name": "policies/a", "version": "1", "counter": 9}}`)},
	} {
		if b, err := target.PolicyBundle(); !errors.Is(err, tuf.ErrInvalid) {
			t.Errorf("%s: %+v, %v", name, b, err)
		}
	}
}
