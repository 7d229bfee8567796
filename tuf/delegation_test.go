package tuf_test

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"troth/tuf"
	"troth/tuf/client"
)

// supplied is a repository in which acme signs acme-1, and beta signs beta-1.
func supplied(t *testing.T, o tuf.InitOptions) *ceremony {
	t.Helper()
	c := newCeremony(t, o)
	s := c.stage(func(d *tuf.Draft) error {
		for _, name := range []string{"acme", "beta"} {
			key, err := tuf.CreateKey(tuf.Keys{Dir: c.keys}, name, tuf.KeyEd25519)
			if err != nil {
				return err
			}
			if err := d.Delegate(tuf.Delegation{Name: name, Models: []string{name + "-1"}, Paths: []string{name + "/*"}, Keys: []crypto.PublicKey{key}, Threshold: 1}); err != nil {
				return err
			}
		}
		return nil
	})
	c.publish(sign(t, s, only(t, c.keys, "targets")))
	return c
}

func TestSuppliersPublishTheirModels(t *testing.T) {
	for _, bits := range []int{0, 3} {
		t.Run(fmt.Sprintf("bins %d", bits), func(t *testing.T) {
			c := supplied(t, tuf.InitOptions{BinBits: bits})
			c.release("acme/1", "acme-1", 1, "acme")
			c.release("beta/1", "beta-1", 1, "beta")
			c.release("acme/2", "acme-1", 2, "acme")
			own := "targets"
			if bits > 0 {
				own = "releases"
			}
			c.release("ours/1", "ours", 1, own)
			catalog, err := c.client.Catalog(t.Context())
			if err != nil || len(catalog.Problems) > 0 || len(catalog.Targets) != 4 {
				t.Fatalf("%+v %v", catalog, err)
			}
			list, err := c.repo.Releases()
			if err != nil || len(list) != 4 {
				t.Errorf("%v %v", list, err)
			}
			// With the supplier's key at hand, in one step too.
			keys := only(t, c.keys, "acme", "snapshot", "timestamp")
			repo, err := tuf.OpenWith(c.dir, keys)
			if err != nil {
				t.Fatal(err)
			}
			publish(t, repo, release("acme/3", "acme-1", 3), "three", start)
			var missing *tuf.MissingKeyError
			if _, err := repo.Publish(t.Context(), release("beta/2", "beta-1", 2), strings.NewReader("x"), start); !errors.As(err, &missing) || missing.Role != "beta" {
				t.Errorf("acme's key for beta: %v", err)
			}
			if err := c.client.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.has("acme/3")
		})
	}
}

// A supplier's keys sign for that supplier's models only: paths and the signed
// model must agree, at publishing, on the device and in the service's catalogue.
func TestAttack_T1_SupplierSignsAnothersModel(t *testing.T) {
	c := supplied(t, tuf.InitOptions{})
	c.release("beta/1", "beta-1", 1, "beta")
	c.release("acme/1", "acme-1", 1, "acme")
	for _, tc := range []struct{ name, model string }{{"acme/x", "beta-1"}, {"beta/x", "acme-1"}, {"acme/x", "ours"}, {"ours/x", "acme-1"}, {"acme/a/b", "acme-1"}} {
		if _, err := c.repo.StageRelease(t.Context(), release(tc.name, tc.model, 9), strings.NewReader("x"), tuf.Files{}, start); !errors.Is(err, tuf.ErrDelegation) {
			t.Errorf("%s for %s: %v", tc.name, tc.model, err)
		}
	}
	// acme has its own tool, and the online keys of the server as well.
	c.forge("acme", func(targets map[string]*metadata.TargetFiles) {
		entry := *targets["acme/1"]
		for name, model := range map[string]string{"acme/other-model": "beta-1", "beta/2": "acme-1", "beta/3": "beta-1", "ours": "ours"} {
			forged := entry
			raw := release(name, model, 99)
			custom := jsonOf(t, raw)
			forged.Custom = &custom
			targets[name] = &forged
		}
	})
	if err := c.client.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.client.Lookup(t.Context(), "acme/other-model"); client.Code(err) != client.CodeDelegation {
		t.Errorf("a release of another's model: %v", err)
	}
	for _, name := range []string{"beta/2", "beta/3", "ours"} {
		if _, err := c.client.Lookup(t.Context(), name); client.Code(err) != client.CodeNotFound {
			t.Errorf("%s, outside of acme's paths: %v", name, err)
		}
	}
	catalog, err := c.client.Catalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, target := range catalog.Targets {
		names = append(names, target.Name)
	}
	if got := strings.Join(names, " "); got != "acme/1 beta/1" || len(catalog.Problems) != 1 || client.Code(catalog.Problems[0]) != client.CodeDelegation {
		t.Errorf("the catalogue has %s, problems %v", got, catalog.Problems)
	}
	if list, err := c.repo.Releases(); err != nil || len(list) != 2 {
		t.Errorf("%v %v", list, err)
	}
	// What it did so far is over once it is taken from it.
	s := c.stage(func(d *tuf.Draft) error { return d.Undelegate("acme") })
	c.publish(sign(t, s, only(t, c.keys, "targets")))
	if _, err := c.client.Lookup(t.Context(), "acme/1"); client.Code(err) != client.CodeNotFound {
		t.Errorf("still there: %v", err)
	}
	if catalog, err = c.client.Catalog(t.Context()); err != nil || len(catalog.Targets) != 1 {
		t.Errorf("%+v %v", catalog.Targets, err)
	}
}

// A supplier whose signatures lapse takes nobody else with it.
func TestOneSupplierLapses(t *testing.T) {
	c := supplied(t, tuf.InitOptions{})
	c.release("acme/1", "acme-1", 1, "acme")
	c.now = start.Add(80 * 24 * time.Hour)
	if err := c.repo.Refresh(c.now); err != nil {
		t.Fatal(err)
	}
	s := c.stage(func(d *tuf.Draft) error { return d.Renew("targets") })
	c.publish(sign(t, s, only(t, c.keys, "targets")))
	c.release("beta/1", "beta-1", 1, "beta")
	c.now = start.Add(91 * 24 * time.Hour)
	if err := c.repo.Refresh(c.now); err != nil {
		t.Fatal(err)
	}
	if err := c.client.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	catalog, err := c.client.Catalog(t.Context())
	if err != nil || len(catalog.Problems) != 1 || client.Code(catalog.Problems[0]) != client.CodeExpired {
		t.Errorf("%v %v", catalog.Problems, err)
	}
	c.has("beta/1")
	if _, err := c.client.Lookup(t.Context(), "acme/1"); client.Code(err) != client.CodeExpired {
		t.Errorf("%v", err)
	}
}

func TestDelegateRefuses(t *testing.T) {
	c := supplied(t, tuf.InitOptions{})
	key, err := tuf.CreateKey(tuf.Keys{Dir: c.keys}, "gamma", tuf.KeyEd25519)
	if err != nil {
		t.Fatal(err)
	}
	good := func(change func(*tuf.Delegation)) tuf.Delegation {
		d := tuf.Delegation{Name: "gamma", Models: []string{"gamma-1"}, Paths: []string{"gamma/*"}, Keys: []crypto.PublicKey{key}, Threshold: 1}
		change(&d)
		return d
	}
	for what, tc := range map[string]struct {
		d    tuf.Delegation
		want error
	}{
		"another's model":   {good(func(d *tuf.Delegation) { d.Models = []string{"acme-1"} }), tuf.ErrExists},
		"another's paths":   {good(func(d *tuf.Delegation) { d.Paths = []string{"acme/*"} }), tuf.ErrExists},
		"all models":        {good(func(d *tuf.Delegation) { d.Models = []string{"*"} }), tuf.ErrInvalid},
		"all names":         {good(func(d *tuf.Delegation) { d.Paths = []string{"*"} }), tuf.ErrInvalid},
		"all folders":       {good(func(d *tuf.Delegation) { d.Paths = []string{"*/x"} }), tuf.ErrInvalid},
		"a path upwards":    {good(func(d *tuf.Delegation) { d.Paths = []string{"../*"} }), tuf.ErrInvalid},
		"no keys":           {good(func(d *tuf.Delegation) { d.Keys = nil }), tuf.ErrInvalid},
		"a key twice":       {good(func(d *tuf.Delegation) { d.Keys = append(d.Keys, key); d.Threshold = 2 }), tuf.ErrInvalid},
		"threshold":         {good(func(d *tuf.Delegation) { d.Threshold = 2 }), tuf.ErrInvalid},
		"a top-level name":  {good(func(d *tuf.Delegation) { d.Name = "snapshot" }), tuf.ErrInvalid},
		"a bin's name":      {good(func(d *tuf.Delegation) { d.Name = "bin-0" }), tuf.ErrInvalid},
		"a path for a name": {good(func(d *tuf.Delegation) { d.Name = "../root" }), tuf.ErrInvalid},
	} {
		if _, err := c.repo.Stage(start, func(d *tuf.Draft) error { return d.Delegate(tc.d) }); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// forge publishes role's targets as edit leaves them, with the role's own key and
// the online ones, as another tool would.
func (c *ceremony) forge(role string, edit func(map[string]*metadata.TargetFiles)) {
	c.t.Helper()
	timestamp := must(metadata.Timestamp().FromFile(filepath.Join(c.dir, "metadata", "timestamp.json")))
	version := timestamp.Signed.Meta["snapshot.json"].Version
	snapshot := must(metadata.Snapshot().FromFile(filepath.Join(c.dir, "metadata", fmt.Sprintf("%d.snapshot.json", version))))
	targets := must(metadata.Targets().FromFile(filepath.Join(c.dir, "metadata", fmt.Sprintf("%d.%s.json", snapshot.Signed.Meta[role+".json"].Version, role))))
	edit(targets.Signed.Targets)
	targets.Signed.Version++
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(c.dir, "metadata", name), data, 0o644); err != nil {
			c.t.Fatal(err)
		}
	}
	write(fmt.Sprintf("%d.%s.json", targets.Signed.Version, role), signedBy(c, targets, role))
	snapshot.Signed.Meta[role+".json"] = metadata.MetaFile(targets.Signed.Version)
	snapshot.Signed.Version++
	write(fmt.Sprintf("%d.snapshot.json", snapshot.Signed.Version), signedBy(c, snapshot, "snapshot"))
	timestamp.Signed.Meta["snapshot.json"] = metadata.MetaFile(snapshot.Signed.Version)
	timestamp.Signed.Version++
	write("timestamp.json", signedBy(c, timestamp, "timestamp"))
}

func signedBy[T metadata.Roles](c *ceremony, md *metadata.Metadata[T], key string) []byte {
	text := must(os.ReadFile(filepath.Join(c.keys, key+".pem")))
	private := must(cryptoutils.UnmarshalPEMToPrivateKey(text, cryptoutils.SkipPassword))
	md.ClearSignatures()
	must(md.Sign(must(signature.LoadSigner(private, crypto.SHA256))))
	return must(md.ToBytes(false))
}

// A supplier's names may have no room for the index of a release's chunks: the
// release is published without.
func TestDelegatedIndexOfChunks(t *testing.T) {
	for _, tc := range []struct {
		paths string
		want  bool
	}{{"acme/*", true}, {"acme/*.img", false}} {
		c := newCeremony(t, tuf.InitOptions{})
		s := c.stage(func(d *tuf.Draft) error {
			key, err := tuf.CreateKey(tuf.Keys{Dir: c.keys}, "acme", tuf.KeyEd25519)
			if err != nil {
				return err
			}
			return d.Delegate(tuf.Delegation{Name: "acme", Models: []string{"acme-1"}, Paths: []string{tc.paths}, Keys: []crypto.PublicKey{key}, Threshold: 1})
		})
		c.publish(sign(t, s, only(t, c.keys, "targets")))
		repo, err := tuf.OpenWith(c.dir, only(t, c.keys, "acme", "snapshot", "timestamp"))
		if err != nil {
			t.Fatal(err)
		}
		published, err := repo.Publish(t.Context(), release("acme/1.img", "acme-1", 1), bytes.NewReader(largeImage(1)), start)
		if err != nil {
			t.Fatal(err)
		}
		if got := published.Release.Chunks != nil; got != tc.want {
			t.Errorf("names %s: an index is published: %t", tc.paths, got)
		}
		if err := c.client.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.has("acme/1.img")
	}
}
