package firmware_test

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"troth/internal/firmware"
	"troth/internal/fleet"
	"troth/internal/store"
	"troth/policies"
	"troth/policy"
	"troth/tuf"
	"troth/tuf/provenance"
	"troth/tuf/provenance/provenancetest"
)

// asking is the policy library with what publishing asks for.
func asking(t *testing.T, settings string) *policy.Engine {
	t.Helper()
	files := fstest.MapFS{}
	err := fs.WalkDir(policies.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(policies.FS, name)
		files[name] = &fstest.MapFile{Data: content}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	files["config/data.json"] = &fstest.MapFile{Data: []byte(`{"publish": ` + settings + `}`)}
	engine, err := policy.New(t.Context(), files, policy.Options{Deadline: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return engine
}

const bom = `{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"components":[{"type":"library","name":"x"}]}`

// judging is a repository whose service judges what it takes in.
type judging struct {
	*rig
	store   *store.Store
	current *policy.Current
}

func newJudging(t *testing.T, settings string, trust *provenance.Trust) *judging {
	t.Helper()
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "troth.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	j := &judging{store: db, current: policy.NewCurrent(asking(t, settings))}
	j.rig = newRig(t, func(c *firmware.Config) { c.Alerts, c.Policy, c.Trust = db, j.current, trust })
	j.init()
	return j
}

func (j *judging) publishWith(version string, counter uint64, files tuf.Files) {
	j.t.Helper()
	repository, err := tuf.Open(j.dir, j.keys)
	if err != nil {
		j.t.Fatal(err)
	}
	_, err = repository.PublishWithFiles(j.t.Context(), tuf.Release{
		Name: "edge-" + version + ".img", Model: "edge", Version: version, Counter: counter,
		Reference: &tuf.Reference{Bank: "sha256", PCRs: map[string]string{"9": fmt.Sprintf("%064x", counter)}},
	}, strings.NewReader("image "+version), files, j.clock)
	if err != nil {
		j.t.Fatal(err)
	}
}

// states are the releases as they are listed, and the open alerts about them.
func (j *judging) states() string {
	j.t.Helper()
	var b strings.Builder
	for _, r := range j.Catalog() {
		fmt.Fprintf(&b, "%s taken\n", r.Version)
	}
	for _, r := range j.Refused() {
		fmt.Fprintf(&b, "%s %s\n", r.Version, r.Code)
	}
	open, err := j.store.Alerts(j.t.Context(), fleet.AlertFilter{Key: fleet.KeyReleaseRefused, Open: true})
	if err != nil {
		j.t.Fatal(err)
	}
	slices.SortFunc(open, func(a, b fleet.Alert) int { return strings.Compare(a.Subject, b.Subject) })
	for _, a := range open {
		fmt.Fprintf(&b, "alert %s\n", a.Subject)
	}
	return strings.TrimSpace(b.String())
}

func (j *judging) wantStates(when, want string) {
	j.t.Helper()
	if got := j.states(); got != want {
		j.t.Errorf("%s:\n%s\nwant\n%s", when, got, want)
	}
}

// A release that lacks what policy asks is listed with its reason, matches nothing
// and is told of once; when policy asks less, or there is a better one, that ends.
func TestRefusedReleases(t *testing.T) {
	j := newJudging(t, `{"require_sbom": true}`, nil)
	j.publishWith("1.0", 1, tuf.Files{SBOM: strings.NewReader(bom)})
	j.publishWith("2.0", 2, tuf.Files{})
	j.refresh()
	j.wantStates("published", "1.0 taken\n2.0 sbom_missing\nalert release:edge/2.0")
	if _, ok := j.Catalog().Find("edge", "2.0"); ok {
		t.Error("it can be rolled out")
	}
	if r, known, _ := j.Catalog().Identify("edge", map[int]string{9: fmt.Sprintf("%064x", 2)}); known {
		t.Errorf("its reference values pass for %s", r.Version)
	}
	if why := j.Refused()[0].Reason; !strings.Contains(why, "There is none.") {
		t.Errorf("the reason is %q", why)
	}
	j.clock = j.clock.Add(2 * time.Minute)
	j.refresh()
	alerts, err := j.store.Alerts(t.Context(), fleet.AlertFilter{Key: fleet.KeyReleaseRefused})
	if err != nil || len(alerts) != 1 || alerts[0].Count != 1 {
		t.Errorf("told more than once: %+v, %v", alerts, err)
	}
	j.current.Swap(asking(t, `{}`))
	j.refresh()
	j.wantStates("asked less", "1.0 taken\n2.0 taken")
	j.current.Swap(asking(t, `{"min_approvals": 2}`))
	j.refresh()
	j.wantStates("asked for two", "1.0 approvals_missing\n2.0 approvals_missing\nalert release:edge/1.0\nalert release:edge/2.0")
	j.withdraw("2.0")
	j.clock = j.clock.Add(2 * time.Minute)
	j.refresh()
	j.wantStates("withdrawn", "1.0 approvals_missing\nalert release:edge/1.0")
}

// TestAttack_T1_ProvenanceAtIntake: who publishes without asking the policy is
// caught by the service. A stranger's provenance, that of another image, and one
// whose file was exchanged are not verified.
func TestAttack_T1_ProvenanceAtIntake(t *testing.T) {
	key, stranger := provenancetest.NewKey(t), provenancetest.NewKey(t)
	trust, err := provenance.NewTrust(nil, []crypto.PublicKey{key.Public}...)
	if err != nil {
		t.Fatal(err)
	}
	id, _ := provenance.KeyID(key.Public)
	j := newJudging(t, `{"provenance_builders": [{"builder": "ci", "key": "`+id+`"}]}`, trust)
	statement := func(version string) []byte { return provenancetest.Statement([]byte("image "+version), "ci", "git") }
	j.publishWith("1.0", 1, tuf.Files{Provenance: bytes.NewReader(key.Attest(statement("1.0")))})
	j.publishWith("2.0", 2, tuf.Files{Provenance: bytes.NewReader(stranger.Attest(statement("2.0")))})
	j.publishWith("3.0", 3, tuf.Files{Provenance: bytes.NewReader(key.Attest(statement("1.0")))})
	j.publishWith("4.0", 4, tuf.Files{})
	j.refresh()
	j.wantStates("published", "1.0 taken\n2.0 provenance_unproven\n3.0 provenance_unproven\n4.0 provenance_unproven\n"+
		"alert release:edge/2.0\nalert release:edge/3.0\nalert release:edge/4.0")
	left, err := filepath.Glob(filepath.Join(j.trust, "beside-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// A fault of the service makes no firmware unknown: what was taken in stays, and
// what is new waits.
func TestFaultsRefuseNothingThatWasTaken(t *testing.T) {
	j := newJudging(t, `{"require_sbom": true}`, nil)
	j.publishWith("1.0", 1, tuf.Files{SBOM: strings.NewReader(bom)})
	j.refresh()
	j.wantStates("published", "1.0 taken")

	good := *j.current.Load()
	j.Repository.Policy = broken{j.current}
	j.publishWith("2.0", 2, tuf.Files{SBOM: strings.NewReader(bom)})
	if err := j.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("%v", err)
	}
	j.wantStates("no answer", "1.0 taken\n2.0 policy_error\nalert release:edge/2.0")
	j.Repository.Policy = j.current
	j.current.Swap(&good)
	j.clock = j.clock.Add(2 * time.Minute)
	j.refresh()
	j.wantStates("mended", "1.0 taken\n2.0 taken")

	files, err := filepath.Glob(filepath.Join(j.dir, "targets", "*edge-1.0.img.cdx.json"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if err := os.Rename(files[0], files[0]+".away"); err != nil {
		t.Fatal(err)
	}
	j.current.Swap(asking(t, `{"require_sbom": true, "min_approvals": 1}`))
	if err := j.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("%v", err)
	}
	j.wantStates("a file is away", "1.0 taken\n2.0 taken")
	if err := os.Rename(files[0]+".away", files[0]); err != nil {
		t.Fatal(err)
	}
	j.refresh()
	j.wantStates("it is back", "1.0 taken\n2.0 taken")
}

// Without a policy bundle nothing is judged, and nothing taken in.
func TestWithoutAPolicyNothingIsTakenIn(t *testing.T) {
	j := newJudging(t, `{}`, nil)
	j.Repository.Policy = &policy.Current{}
	j.publishWith("1.0", 1, tuf.Files{})
	if err := j.Refresh(t.Context()); !errors.Is(err, policy.ErrNoBundle) || j.Loaded() || len(j.Catalog()) != 0 {
		t.Errorf("%v, loaded %t, %v", err, j.Loaded(), j.Catalog())
	}
}

type broken struct{ *policy.Current }

func (broken) Publish(context.Context, policy.PublishInput) (policy.PublishDecision, error) {
	return policy.PublishDecision{Code: policy.CodePolicy, Reason: "The policy could not be evaluated."}, errors.New("no answer")
}

func (broken) Digest() string { return "broken" }
