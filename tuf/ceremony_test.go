package tuf_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"troth/tuf"
	"troth/tuf/client"
)

// travel is the stage as a file that was carried somewhere.
func travel(t *testing.T, s *tuf.Stage) *tuf.Stage {
	t.Helper()
	var b bytes.Buffer
	if _, err := s.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	carried, err := tuf.ParseStage(&b)
	if err != nil {
		t.Fatal(err)
	}
	return carried
}

// only gives a directory with some of the keys.
func only(t *testing.T, keys string, names ...string) tuf.Keys {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(keys, name+".pem"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".pem"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return tuf.Keys{Dir: dir}
}

func sign(t *testing.T, s *tuf.Stage, keys tuf.Keys) *tuf.Stage {
	t.Helper()
	carried := travel(t, s)
	if _, err := carried.Sign(keys); err != nil {
		t.Fatal(err)
	}
	return travel(t, carried)
}

func words(s *tuf.Stage) string { return strings.Join(s.Describe(), "\n") }

// ceremony is a repository whose server has only the online keys, and a client
// that follows it.
type ceremony struct {
	t          *testing.T
	repo       *tuf.Repository
	dir, keys  string // all keys, at their keepers
	online     tuf.Keys
	client     *client.Client
	now        time.Time
	downloaded int
}

func newCeremony(t *testing.T, o tuf.InitOptions) *ceremony {
	t.Helper()
	_, dir, keys := newRepository(t, o)
	c := &ceremony{t: t, dir: dir, keys: keys, now: start}
	c.online = only(t, keys, "snapshot", "timestamp")
	c.open()
	root, err := c.repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	c.client = follower(t, dir, root, func() time.Time { return c.now })
	return c
}

func (c *ceremony) open() {
	c.t.Helper()
	repo, err := tuf.OpenWith(c.dir, c.online)
	if err != nil {
		c.t.Fatal(err)
	}
	c.repo = repo
}

func (c *ceremony) stage(edit func(*tuf.Draft) error) *tuf.Stage {
	c.t.Helper()
	s, err := c.repo.Stage(c.now, edit)
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

func (c *ceremony) publish(copies ...*tuf.Stage) {
	c.t.Helper()
	if _, err := c.repo.PublishStage(c.now, copies...); err != nil {
		c.t.Fatal(err)
	}
	if err := c.client.Refresh(c.t.Context()); err != nil {
		c.t.Fatalf("the client after publishing: %v", err)
	}
}

// release stages, signs with each key and publishes.
func (c *ceremony) release(name, model string, counter uint64, signers ...string) {
	c.t.Helper()
	s, err := c.repo.StageRelease(c.t.Context(), release(name, model, counter), strings.NewReader(name), tuf.Files{}, c.now)
	if err != nil {
		c.t.Fatal(err)
	}
	var copies []*tuf.Stage
	for _, key := range signers {
		copies = append(copies, sign(c.t, s, only(c.t, c.keys, key)))
	}
	c.publish(copies...)
	c.has(name)
}

func (c *ceremony) has(names ...string) {
	c.t.Helper()
	for _, name := range names {
		c.downloaded++
		dest := filepath.Join(c.t.TempDir(), fmt.Sprint(c.downloaded))
		if err := c.client.Download(c.t.Context(), name, dest, nil); err != nil {
			c.t.Fatal(err)
		}
	}
}

// The whole life of a repository: three releases under a threshold, a rotation, a
// lost and a stolen key, recovery.
func TestLifeOfARepository(t *testing.T) {
	c := newCeremony(t, tuf.InitOptions{RootKeys: 3, RootThreshold: 2, TargetsKeys: 2, TargetsThreshold: 2})
	c.release("edge-1.img", "edge", 1, "targets", "targets-2")
	c.release("edge-2.img", "edge", 2, "targets-2", "targets")

	// A targets key is lost: another is made, and both root holders let it in.
	fresh, err := tuf.CreateKey(tuf.Keys{Dir: c.keys}, "targets-3", tuf.KeyECDSA)
	if err != nil {
		t.Fatal(err)
	}
	_, id, err := tuf.PublicKey(fresh)
	if err != nil {
		t.Fatal(err)
	}
	lost := keyID(t, c.keys, "targets-2")
	s := c.stage(func(d *tuf.Draft) error {
		return errors.Join(d.AddKey("targets", fresh), d.RemoveKey("targets", lost[:12]))
	})
	for _, want := range []string{"adds key " + id[:12], "takes key " + lost[:12] + " from targets", "root, version 1 to 2", "targets, version 3 to 4"} {
		if !strings.Contains(words(s), want) {
			t.Errorf("no %q in:\n%s", want, words(s))
		}
	}
	c.publish(sign(t, s, only(t, c.keys, "root", "targets")), sign(t, s, only(t, c.keys, "root-3", "targets-3")))
	c.release("edge-3.img", "edge", 3, "targets", "targets-3")

	// A root key is stolen: it alone can do nothing, and is replaced.
	stolen := sign(t, c.stage(func(d *tuf.Draft) error { return d.SetThreshold("root", 1) }), only(t, c.keys, "root"))
	var missing *tuf.MissingSignaturesError
	if _, err := c.repo.PublishStage(c.now, stolen); !errors.As(err, &missing) || !strings.Contains(err.Error(), "root has 1 of 2 signatures of the current root keys") {
		t.Fatalf("one stolen key of two: %v", err)
	}
	if err := c.repo.Discard(); err != nil {
		t.Fatal(err)
	}
	if fresh, err = tuf.CreateKey(tuf.Keys{Dir: c.keys}, "root-4", tuf.KeyEd25519); err != nil {
		t.Fatal(err)
	}
	s = c.stage(func(d *tuf.Draft) error {
		return errors.Join(d.AddKey("root", fresh), d.RemoveKey("root", keyID(t, c.keys, "root")))
	})
	c.publish(sign(t, s, only(t, c.keys, "root-2", "root-4")), sign(t, s, only(t, c.keys, "root-3")))

	// Online keys are replaced; the client is never shown anything it refuses.
	if fresh, err = tuf.CreateKey(c.online, "timestamp-2", tuf.KeyEd25519); err != nil {
		t.Fatal(err)
	}
	s = c.stage(func(d *tuf.Draft) error {
		return errors.Join(d.AddKey("timestamp", fresh), d.RemoveKey("timestamp", keyID(t, c.keys, "timestamp")))
	})
	c.publish(sign(t, s, only(t, c.keys, "root-2", "root-4")))

	// A device that slept through all of it, and every root is still there.
	first, err := os.ReadFile(filepath.Join(c.dir, "metadata", "1.root.json"))
	if err != nil {
		t.Fatal(err)
	}
	c.client = follower(t, c.dir, first, func() time.Time { return c.now })
	if err := c.client.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.has("edge-1.img", "edge-2.img", "edge-3.img")
}

func keyID(t *testing.T, keys, name string) string {
	t.Helper()
	id, err := tuf.KeyID(tuf.Keys{Dir: keys}, name+".pem")
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// A crash at each step of publishing a stage that changes every key leaves a
// repository that whoever opens it next completes or finds unchanged.
func TestPublishStageSurvivesCrashes(t *testing.T) {
	for crash := 1; ; crash++ {
		c := newCeremony(t, tuf.InitOptions{})
		if _, err := c.repo.StageRelease(t.Context(), release("fw-1", "edge", 1), strings.NewReader("one"), tuf.Files{}, start); err != nil {
			t.Fatal(err)
		}
		s := c.stage(func(d *tuf.Draft) error {
			for _, role := range []string{"root", "targets", "snapshot", "timestamp"} {
				fresh, err := tuf.CreateKey(tuf.Keys{Dir: c.keys}, role+"-new", tuf.KeyEd25519)
				if err != nil {
					return err
				}
				if err := errors.Join(d.AddKey(role, fresh), d.RemoveKey(role, keyID(t, c.keys, role))); err != nil {
					return err
				}
			}
			return nil
		})
		c.online = only(t, c.keys, "snapshot-new", "timestamp-new")
		c.open()
		n := 0
		c.repo.FailAfterStep(func(string) error {
			if n++; n == crash {
				return errCrash
			}
			return nil
		})
		signed := sign(t, s, only(t, c.keys, "root", "root-new", "targets-new"))
		_, err := c.repo.PublishStage(start, signed)
		if err == nil {
			if crash < 6 {
				t.Errorf("only %d steps", crash-1)
			}
			return
		}
		if !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		c.open()
		if _, err := c.repo.PublishStage(start); err != nil && !errors.Is(err, tuf.ErrPending) {
			t.Fatalf("crash %d, again: %v", crash, err)
		}
		if err := c.client.Refresh(t.Context()); err != nil {
			t.Fatalf("crash %d: %v", crash, err)
		}
		c.has("fw-1")
	}
}

func TestStageRefuses(t *testing.T) {
	c := newCeremony(t, tuf.InitOptions{TargetsKeys: 2, TargetsThreshold: 2})
	if _, err := c.repo.PublishStage(start); !errors.Is(err, tuf.ErrPending) {
		t.Errorf("publish nothing: %v", err)
	}
	if _, err := c.repo.Stage(start, func(*tuf.Draft) error { return nil }); !errors.Is(err, tuf.ErrPending) {
		t.Errorf("stage nothing: %v", err)
	}
	for what, tc := range map[string]struct {
		edit func(*tuf.Draft) error
		want error
	}{
		"too few keys left": {func(d *tuf.Draft) error { return d.RemoveKey("targets", keyID(t, c.keys, "targets")) }, tuf.ErrInvalid},
		"no such key":       {func(d *tuf.Draft) error { return d.RemoveKey("targets", "ffffffffffff") }, tuf.ErrInvalid},
		"threshold":         {func(d *tuf.Draft) error { return d.SetThreshold("root", 2) }, tuf.ErrInvalid},
		"zero":              {func(d *tuf.Draft) error { return d.SetThreshold("root", 0) }, tuf.ErrInvalid},
		"unknown role":      {func(d *tuf.Draft) error { return d.SetThreshold("acme", 1) }, tuf.ErrNoRole},
		"online renewal":    {func(d *tuf.Draft) error { return d.Renew("timestamp") }, tuf.ErrInvalid},
		"no bins":           {func(d *tuf.Draft) error { return d.Renew("bins") }, tuf.ErrNoRole},
		"no target":         {func(d *tuf.Draft) error { return d.Withdraw("x") }, tuf.ErrNotFound},
	} {
		if _, err := c.repo.Stage(start, tc.edit); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	s := c.stage(func(d *tuf.Draft) error { return d.Renew("targets") })
	if !strings.Contains(words(s), "renews the signature; nothing else changes") {
		t.Error(words(s))
	}
	if _, err := travel(t, s).Sign(c.online); !errors.Is(err, tuf.ErrStage) {
		t.Errorf("sign with keys that may not: %v", err)
	}
	old := sign(t, s, only(t, c.keys, "targets"))
	c.now = start.Add(time.Hour)
	c.stage(func(d *tuf.Draft) error { return d.Renew("root") })
	if _, err := c.repo.PublishStage(c.now, old); !errors.Is(err, tuf.ErrStage) {
		t.Errorf("signatures of another stage: %v", err)
	}
	full, err := tuf.Open(c.dir, c.keys)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := full.Publish(t.Context(), release("fw", "edge", 1), strings.NewReader("x"), c.now); !errors.Is(err, tuf.ErrPending) {
		t.Errorf("publish beside a stage: %v", err)
	}
	if err := full.Rotate(c.now); err != nil {
		t.Fatal(err)
	}
	if _, err := c.repo.PublishStage(c.now); !errors.Is(err, tuf.ErrStage) {
		t.Errorf("the root changed meanwhile: %v", err)
	}
}

// What was staged long ago is not published after its expiry.
func TestStaleStageIsNotPublished(t *testing.T) {
	c := newCeremony(t, tuf.InitOptions{})
	s := c.stage(func(d *tuf.Draft) error { return d.Renew("targets") })
	if _, err := c.repo.PublishStage(start.Add(100*24*time.Hour), sign(t, s, only(t, c.keys, "targets"))); !errors.Is(err, tuf.ErrExpired) {
		t.Errorf("%v", err)
	}
}

// Whoever carries the file cannot make a signer sign something else than what the
// words say, nor present another repository as this one.
func TestAttack_T1_StageIsWhatItSays(t *testing.T) {
	c := newCeremony(t, tuf.InitOptions{})
	c.release("fw-1", "edge", 1, "targets")
	s, err := c.repo.StageRelease(t.Context(), release("fw-2", "edge", 2), strings.NewReader("two"), tuf.Files{}, start)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := s.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	honest := words(travel(t, s))
	if !strings.Contains(honest, "publishes fw-2") || strings.Contains(honest, "fw-1") {
		t.Fatal(honest)
	}
	t.Run("words in the file count for nothing", func(t *testing.T) {
		lied, err := tuf.ParseStage(strings.NewReader(strings.Replace(text, "publishes fw-2", "publishes fw-9", 1)))
		if err != nil || words(lied) != honest {
			t.Errorf("%v: %s", err, words(lied))
		}
	})
	t.Run("a changed comparison is refused", func(t *testing.T) {
		// fw-1 taken out of what is called current, to hide that it is replaced.
		if _, err := tuf.ParseStage(strings.NewReader(strings.Replace(text, `"fw-1"`, `"fw-0"`, 1))); !errors.Is(err, tuf.ErrStage) {
			t.Errorf("%v", err)
		}
	})
	t.Run("a target that is nothing", func(t *testing.T) {
		known, next, _ := strings.Cut(text, `"next":`)
		spoilt := regexp.MustCompile(`(?s)"targets": ?\{\s*"fw-1"`).ReplaceAllString(next, `"targets": {"x": null, "fw-1"`)
		if spoilt == next {
			t.Fatal("the stage has no targets")
		}
		_, err := tuf.ParseStage(strings.NewReader(known + `"next":` + spoilt))
		if !errors.Is(err, tuf.ErrStage) {
			t.Errorf("%v", err)
		}
	})
	t.Run("another repository", func(t *testing.T) {
		other := newCeremony(t, tuf.InitOptions{})
		theirs, err := other.repo.Root()
		if err != nil {
			t.Fatal(err)
		}
		mine, err := c.repo.Root()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Trusts(theirs); !errors.Is(err, tuf.ErrStage) {
			t.Errorf("%v", err)
		}
		if err := s.Trusts(mine); err != nil {
			t.Error(err)
		}
	})
	t.Run("one key twice is one signature", func(t *testing.T) {
		once := sign(t, s, only(t, c.keys, "targets"))
		if again := sign(t, once, only(t, c.keys, "targets")); len(must(again.Needs())[0].Signed) != 1 {
			t.Errorf("%+v", must(again.Needs()))
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestEncryptedKeys(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "repo")
	keys := tuf.Keys{Dir: filepath.Join(base, "keys"), Passphrase: func(string) ([]byte, error) { return []byte("correct horse"), nil }}
	if err := tuf.Init(dir, tuf.InitOptions{KeysDir: keys.Dir, Passphrase: keys.Passphrase, Now: start}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(keys.Dir, "root.pem"))
	if err != nil || !strings.Contains(string(text), "ENCRYPTED SIGSTORE PRIVATE KEY") {
		t.Fatalf("%s %v", text, err)
	}
	for _, tc := range []struct {
		what string
		pass func(string) ([]byte, error)
		want string
	}{
		{"the passphrase", keys.Passphrase, ""},
		{"another", func(string) ([]byte, error) { return []byte("wrong"), nil }, "decrypt"},
		{"an empty one", func(string) ([]byte, error) { return nil, nil }, "empty"},
		{"none", nil, "key is missing"},
	} {
		repo, err := tuf.OpenWith(dir, tuf.Keys{Dir: keys.Dir, Passphrase: tc.pass})
		if err != nil {
			t.Fatal(err)
		}
		err = repo.Refresh(start.Add(20 * time.Hour))
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v", tc.what, err)
		}
		if tc.want == "" { // so that the others have something to sign
			dir2 := filepath.Join(t.TempDir(), "repo")
			if err := tuf.Init(dir2, tuf.InitOptions{KeysDir: keys.Dir, Passphrase: keys.Passphrase, Now: start}); err != nil {
				t.Fatal(err)
			}
			dir = dir2
		}
	}
}

func FuzzParseStage(f *testing.F) {
	dir, keys := filepath.Join(f.TempDir(), "repo"), filepath.Join(f.TempDir(), "keys")
	if err := tuf.Init(dir, tuf.InitOptions{KeysDir: keys, Now: start}); err != nil {
		f.Fatal(err)
	}
	repo, err := tuf.Open(dir, "")
	if err != nil {
		f.Fatal(err)
	}
	s, err := repo.Stage(start, func(d *tuf.Draft) error { return errors.Join(d.Renew("root"), d.Renew("targets")) })
	if err != nil {
		f.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := s.WriteTo(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(`{"troth_tuf_stage":1,"roots":[{"signed":{"_type":"root","roles":{"root":null}}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := tuf.ParseStage(bytes.NewReader(data))
		if err != nil {
			if !errors.Is(err, tuf.ErrStage) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		s.Describe()
		if _, err := s.Needs(); err != nil {
			t.Fatal(err)
		}
		var again bytes.Buffer
		if _, err := s.WriteTo(&again); err != nil {
			t.Fatal(err)
		}
		if _, err := tuf.ParseStage(&again); err != nil {
			t.Fatalf("does not survive a round trip: %v", err)
		}
	})
}
