package firmware_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troth/internal/fleet"
	"troth/tuf"
)

// TestAttack_T6_TamperedSBOM: a bill of materials is the signed one, or nothing is
// known of the release.
func TestAttack_T6_TamperedSBOM(t *testing.T) {
	const text = `{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"components":[{"type":"library","name":"x","purl":"pkg:npm/x@1.0.0"}]}`
	r := newRig(t)
	r.init()
	r.publish("1.0", 1)
	repository, err := tuf.Open(r.dir, r.keys)
	if err != nil {
		t.Fatal(err)
	}
	_, err = repository.PublishWithFiles(t.Context(), tuf.Release{
		Name: "edge-2.0.img", Model: "edge", Version: "2.0", Counter: 2,
		Reference: &tuf.Reference{Bank: "sha256", PCRs: map[string]string{"4": strings.Repeat("b", 64)}},
	}, strings.NewReader("image"), tuf.Files{SBOM: strings.NewReader(text)}, r.clock)
	if err != nil {
		t.Fatal(err)
	}
	r.refresh()
	if got, err := r.SBOM(t.Context(), r.release("1.0")); got != nil || err != nil {
		t.Errorf("a release without one: %q, %v", got, err)
	}
	release := r.release("2.0")
	if got, err := r.SBOM(t.Context(), release); string(got) != text || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	dir, name := filepath.Split(release.SBOM.Target)
	path := filepath.Join(r.dir, "targets", dir, release.SBOM.SHA256+"."+name)
	for what, tamper := range map[string]func() error{
		"another version": func() error {
			return os.WriteFile(path, []byte(strings.Replace(text, "1.0.0", "2.0.0", 1)), 0o644)
		},
		"cut":  func() error { return os.WriteFile(path, []byte(text[:40]), 0o644) },
		"gone": func() error { return os.Remove(path) },
	} {
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o644), tamper()); err != nil {
			t.Fatal(err)
		}
		got, err := r.SBOM(t.Context(), release)
		if got != nil || !fleet.IsKind(err, fleet.Unavailable) || fleet.CodeOf(err) != "sbom_unavailable" {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(r.trust, "sbom-*")); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
