package firmware_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"troth/attest"
	"troth/internal/firmware"
	"troth/internal/fleet"
	"troth/tuf"
)

func signingCertificate(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// allowing publishes a release that may run the files with digests from to to.
func (r *rig) allowing(version string, counter uint64, from, to int, certificates ...[]byte) {
	r.t.Helper()
	repository, err := tuf.Open(r.dir, r.keys)
	if err != nil {
		r.t.Fatal(err)
	}
	rel := tuf.Release{
		Name: "edge-" + version + ".img", Model: "edge", Version: version, Counter: counter,
		Reference: &tuf.Reference{Bank: "sha256", PCRs: map[string]string{"4": strings.Repeat("a", 64), "9": fmt.Sprintf("%064x", counter)}},
	}
	if len(certificates) > 0 {
		rel.IMA = &tuf.IMA{Certificates: certificates}
	}
	files := tuf.Files{}
	if to > from {
		list := make([]byte, 0, (to-from)*70)
		for i := from; i < to; i++ {
			list = append(hex.AppendEncode(list, digest(i)), "  /f\n"...)
		}
		files = tuf.Files{Algorithm: "sha256", AllowList: bytes.NewReader(list)}
	}
	if _, err := repository.PublishWithFiles(r.t.Context(), rel, strings.NewReader("image "+version), files, r.clock); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) release(version string) fleet.Release {
	r.t.Helper()
	release, ok := r.Catalog().Find("edge", version)
	if !ok {
		r.t.Fatalf("no release %s", version)
	}
	return release
}

func (r *rig) files(version string) attest.IMAFiles {
	r.t.Helper()
	files, err := r.IMAFiles(r.t.Context(), r.release(version))
	if err != nil {
		r.t.Fatal(err)
	}
	return files
}

func digest(i int) []byte { return binary.BigEndian.AppendUint64(make([]byte, 24, 32), uint64(i)) }

func TestFileRulesOfReleases(t *testing.T) {
	r := newRig(t)
	r.init()
	r.publish("1.0", 1)
	r.allowing("2.0", 2, 0, 1000)
	r.allowing("3.0", 3, 0, 1000, signingCertificate(t))
	r.allowing("4.0", 4, 0, 1000)
	r.refresh()

	if none := r.files("1.0"); none != (attest.IMAFiles{}) {
		t.Errorf("a release that says nothing of files: %+v", none)
	}
	list := r.files("2.0")
	if list.ID == "" || list.Keys != nil || list.Allow.Len() != 1000 || !list.Allow.Contains("sha256", digest(999)) || list.Allow.Contains("sha256", digest(1000)) {
		t.Errorf("%+v", list)
	}
	if again := r.files("2.0"); again != list {
		t.Error("a second device has a copy of its own")
	}
	if same := r.files("4.0"); same != list {
		t.Error("a release with the same list has a copy of its own")
	}
	if signed := r.files("3.0"); signed.Keys == nil || signed.Allow.Len() != 1000 || signed.ID == list.ID {
		t.Errorf("%+v", signed)
	}
	left, err := filepath.Glob(filepath.Join(r.trust, "allow-list*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// All devices of a fleet ask at once: the list is read once, and shared.
func TestConcurrentDevicesShareAList(t *testing.T) {
	r := newRig(t)
	r.init()
	r.allowing("1.0", 1, 0, 20_000)
	r.refresh()
	release := r.release("1.0")
	var wg sync.WaitGroup
	got := make([]attest.IMAFiles, 16)
	for i := range got {
		wg.Go(func() {
			files, err := r.IMAFiles(t.Context(), release)
			if err != nil {
				t.Error(err)
			}
			got[i] = files
		})
	}
	wg.Wait()
	for _, files := range got {
		if files.Allow == nil || files != got[0] {
			t.Errorf("%+v is not shared", files)
		}
	}
}

// content is the file of a release's allow-list in the repository.
func (r *rig) content(version string) string {
	r.t.Helper()
	l := r.release(version).Files.AllowList
	return filepath.Join(r.dir, "targets", l.SHA256+"."+l.Target)
}

// TestAttack_T6_TamperedAllowList: a list that is not the signed one allows
// nothing, and says so; mended, it counts again.
func TestAttack_T6_TamperedAllowList(t *testing.T) {
	for name, tamper := range map[string]func([]byte) []byte{
		"another digest": func(b []byte) []byte { return bytes.Replace(b, []byte("000  /"), []byte("00f  /"), 1) },
		"longer":         func(b []byte) []byte { return append(bytes.Clone(b), b[:100]...) },
		"cut":            func(b []byte) []byte { return b[:len(b)/2] },
		"gone":           func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.init()
			r.allowing("1.0", 1, 0, 100)
			r.refresh()
			path := r.content("1.0")
			good, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			bad := tamper(good)
			if bytes.Equal(bad, good) {
				t.Fatal("nothing was tampered with")
			}
			if bad == nil {
				err = os.Remove(path)
			} else {
				err = os.WriteFile(path, bad, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
			files, err := r.IMAFiles(t.Context(), r.release("1.0"))
			if !fleet.IsKind(err, fleet.Unavailable) || fleet.CodeOf(err) != "file_rules_unavailable" || files != (attest.IMAFiles{}) {
				t.Fatalf("%+v, %v", files, err)
			}
			if err := os.WriteFile(path, good, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := r.IMAFiles(t.Context(), r.release("1.0")); err == nil {
				t.Error("every device of the fleet reads a bad list anew")
			}
			r.clock = r.clock.Add(time.Minute)
			if files := r.files("1.0"); files.Allow.Len() != 100 {
				t.Errorf("%+v", files)
			}
		})
	}
}

// A release that names a list which the signed metadata does not have is told of
// at once, not at the next check-in.
func TestMissingAllowListIsSaid(t *testing.T) {
	r := newRig(t)
	r.init()
	r.publish("1.0", 1)
	r.speakOf("1.0", `{"allow_list":{"target":"gone","length":1,"sha256":"`+strings.Repeat("a", 64)+`","algorithm":"sha256"}}`)
	if err := r.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot be judged") {
		t.Errorf("%v", err)
	}
	r.want("known all the same", 1)
	if _, err := r.IMAFiles(t.Context(), r.release("1.0")); fleet.CodeOf(err) != "file_rules_unavailable" {
		t.Errorf("%v", err)
	}
}

// A caller that gives up does not spoil the list for the others.
func TestCancelledCallerSpoilsNothing(t *testing.T) {
	r := newRig(t)
	r.init()
	r.allowing("1.0", 1, 0, 100)
	r.refresh()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.IMAFiles(ctx, r.release("1.0")); err == nil {
		t.Error("loaded for nobody")
	}
	if files := r.files("1.0"); files.Allow.Len() != 100 {
		t.Errorf("%+v", files)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestMemoryOfAMillionDigests: one list for all devices, 32 bytes a digest, gone
// with its release.
func TestMemoryOfAMillionDigests(t *testing.T) {
	const n = 1_000_000
	r := newRig(t)
	r.init()
	r.allowing("1.0", 1, 0, n)
	r.refresh()
	release := r.release("1.0")
	before := heap()
	began := time.Now()
	first := r.files("1.0")
	took := time.Since(began)
	for range 10_000 { // devices
		if files, err := r.IMAFiles(t.Context(), release); err != nil || files != first {
			t.Fatalf("%+v, %v", files, err)
		}
	}
	with := heap() - before
	t.Logf("%d digests: loaded in %s, %.1f MB on the heap, for 1 and for 10,001 devices", first.Allow.Len(), took, float64(with)/1e6)
	if first.Allow.Len() != n || with > 40<<20 {
		t.Errorf("%d digests need %d bytes", first.Allow.Len(), with)
	}
	first = attest.IMAFiles{}
	r.withdraw("1.0")
	r.refresh()
	if after := heap() - before; after > 4<<20 {
		t.Errorf("%d bytes remain of a release that is gone", after)
	}
	if _, err := r.IMAFiles(t.Context(), release); fleet.CodeOf(err) != "file_rules_unavailable" {
		t.Errorf("a release that is gone: %v", err)
	}
}

var _ interface {
	IMAFiles(ctx context.Context, r fleet.Release) (attest.IMAFiles, error)
} = (*firmware.Repository)(nil)
