package tuf_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"troth/tuf"
)

// lines are n of an allow-list, as sha256sum prints them.
func lines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%064x  /usr/bin/%d\n", i, i)
	}
	return b.String()
}

func certificate(t testing.TB) []byte {
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

func TestParseAllowList(t *testing.T) {
	digest := strings.Repeat("ab", 32)
	for name, tc := range map[string]struct {
		text, algorithm string
		digests         int // -1: refused
	}{
		"as sha256sum prints":      {lines(3), "sha256", 3},
		"binary mode":              {digest + " *vmlinuz\n", "sha256", 1},
		"escaped name":             {`\` + digest + `  a\nb` + "\n", "sha256", 1},
		"name with spaces":         {digest + "  a  b\n", "sha256", 1},
		"no line feed at the end":  {lines(1) + digest + "  b", "sha256", 2},
		"sha512":                   {strings.Repeat("ab", 64) + "  a\n", "sha512", 1},
		"empty":                    {"", "sha256", -1},
		"blank line":               {lines(1) + "\n" + lines(1), "sha256", -1},
		"digest alone":             {digest + "\n", "sha256", -1},
		"no name":                  {digest + "  \n", "sha256", -1},
		"one space":                {digest + " a\n", "sha256", -1},
		"tab":                      {digest + "\t\ta\n", "sha256", -1},
		"upper case":               {strings.ToUpper(digest) + "  a\n", "sha256", -1},
		"no hexadecimal":           {strings.Repeat("xy", 32) + "  a\n", "sha256", -1},
		"of another algorithm":     {strings.Repeat("ab", 48) + "  a\n", "sha256", -1},
		"shorter digests":          {lines(1), "sha384", -1},
		"sha1":                     {strings.Repeat("ab", 20) + "  a\n", "sha1", -1},
		"unknown algorithm":        {lines(1), "md5", -1},
		"endless line":             {digest + "  " + strings.Repeat("a", 1<<20), "sha256", -1},
		"BSD style":                {"SHA256 (a) = " + digest + "\n", "sha256", -1},
		"carriage return in names": {digest + "  a\r\n", "sha256", 1},
	} {
		t.Run(name, func(t *testing.T) {
			n := 0
			err := tuf.ParseAllowList(strings.NewReader(tc.text), tc.algorithm, func(d []byte) error {
				n++
				if len(d) != tuf.DigestSize(tc.algorithm) {
					t.Errorf("a digest of %d bytes", len(d))
				}
				return nil
			})
			if tc.digests < 0 && !errors.Is(err, tuf.ErrInvalid) {
				t.Errorf("accepted, %v", err)
			}
			if tc.digests >= 0 && (err != nil || n != tc.digests) {
				t.Errorf("%d digests, %v", n, err)
			}
		})
	}
}

func TestParseAllowListPassesErrorsOn(t *testing.T) {
	broken := errors.New("broken")
	if err := tuf.ParseAllowList(strings.NewReader(lines(2)), "sha256", func([]byte) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if err := tuf.ParseAllowList(io.MultiReader(strings.NewReader(lines(1)), failing{broken}), "sha256", func([]byte) error { return nil }); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func FuzzParseAllowList(f *testing.F) {
	f.Add([]byte(lines(2)), "sha256")
	f.Add([]byte(`\`+strings.Repeat("ab", 48)+" *x"), "sha384")
	f.Add([]byte("\n"), "sha512")
	f.Fuzz(func(t *testing.T, text []byte, algorithm string) {
		n := 0
		err := tuf.ParseAllowList(bytes.NewReader(text), algorithm, func(d []byte) error {
			n++
			if !bytes.Contains(text, []byte(hex.EncodeToString(d))) {
				t.Fatalf("digest %x is not in the text", d)
			}
			return nil
		})
		if err != nil && !errors.Is(err, tuf.ErrInvalid) {
			t.Fatalf("error of no kind: %v", err)
		}
		if want := bytes.Count(bytes.TrimSuffix(text, []byte{'\n'}), []byte{'\n'}) + 1; err == nil && n != want {
			t.Fatalf("%d digests in %d lines", n, want)
		}
	})
}

func TestPublishWithFiles(t *testing.T) {
	repo, dir, _ := newRepository(t, tuf.InitOptions{})
	rel := release("edge/fw-1.tar", "edge", 1)
	rel.IMA = &tuf.IMA{Certificates: [][]byte{certificate(t)}}
	text := lines(1000)
	published, err := repo.PublishWithFiles(t.Context(), rel, strings.NewReader("firmware"), tuf.Files{Algorithm: "sha256", AllowList: strings.NewReader(text)}, start)
	if err != nil {
		t.Fatal(err)
	}
	if rel.IMA.AllowList != nil {
		t.Error("the caller's release was changed")
	}
	list := published.Release.IMA.AllowList
	if list == nil || list.Target != "edge/fw-1.tar.ima-allow" || list.Length != int64(len(text)) || list.Algorithm != "sha256" || len(published.Release.IMA.Certificates) != 1 {
		t.Fatalf("%+v", published.Release.IMA)
	}
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	c := follower(t, dir, root, at(start))
	if err := c.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	image, err := c.Find(rel.Name)
	if err != nil || !reflect.DeepEqual(image.Release, published.Release) {
		t.Errorf("%+v, %v", image.Release, err)
	}
	target, err := c.Find(list.Target)
	if err != nil || target.Release != nil || target.Hashes["sha256"] != list.SHA256 || target.Length != list.Length {
		t.Errorf("%+v, %v", target, err)
	}
	dest := filepath.Join(t.TempDir(), "list")
	if err := c.Download(t.Context(), list.Target, dest, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(dest); err != nil || string(got) != text {
		t.Errorf("another list arrived, %v", err)
	}
	// Its name is taken now, for whichever kind of target.
	if _, err := repo.Publish(t.Context(), release(list.Target, "other", 1), newContent(), start); !errors.Is(err, tuf.ErrExists) {
		t.Errorf("%v", err)
	}
}

// What no verifier could read is not published, and leaves nothing behind.
func TestPublishRefusesBadFiles(t *testing.T) {
	repo, dir, _ := newRepository(t, tuf.InitOptions{})
	rel := release("fw.tar", "edge", 1)
	long := release(strings.Repeat("a", 195), "edge", 1)
	placed, certificates, nothing := rel, rel, rel
	placed.IMA = &tuf.IMA{AllowList: &tuf.AllowList{Target: "x", Length: 1, SHA256: strings.Repeat("ab", 32), Algorithm: "sha256"}}
	certificates.IMA = &tuf.IMA{Certificates: [][]byte{[]byte("no certificate")}}
	nothing.IMA = &tuf.IMA{}
	for name, tc := range map[string]struct {
		rel   tuf.Release
		files tuf.Files
	}{
		"malformed list":    {rel, tuf.Files{Algorithm: "sha256", AllowList: strings.NewReader(lines(3) + "x\n")}},
		"empty list":        {rel, tuf.Files{Algorithm: "sha256", AllowList: strings.NewReader("")}},
		"weak digests":      {rel, tuf.Files{Algorithm: "sha1", AllowList: strings.NewReader(strings.Repeat("ab", 20) + "  a\n")}},
		"no algorithm":      {rel, tuf.Files{AllowList: strings.NewReader(lines(1))}},
		"list placed":       {placed, tuf.Files{}},
		"bad certificate":   {certificates, tuf.Files{}},
		"neither":           {nothing, tuf.Files{}},
		"name grows beyond": {long, tuf.Files{Algorithm: "sha256", AllowList: strings.NewReader(lines(1))}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := repo.PublishWithFiles(t.Context(), tc.rel, newContent(), tc.files, start); !errors.Is(err, tuf.ErrInvalid) {
				t.Errorf("%v", err)
			}
			for _, sub := range []string{"targets", ".staging"} {
				if left, err := os.ReadDir(filepath.Join(dir, sub)); err == nil && len(left) != 0 {
					t.Errorf("left %v in %s", left, sub)
				}
			}
		})
	}
}
