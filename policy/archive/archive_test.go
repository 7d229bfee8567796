package archive_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"troth/policies"
	"troth/policy"
	"troth/policy/archive"
)

// tgz packs entries as they are, whatever they are.
func tgz(t testing.TB, entries ...[2]string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, e := range entries {
		h := &tar.Header{Name: e[0], Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(e[1]))}
		if target, link := strings.CutPrefix(e[1], "->"); link {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, target, 0
			e[1] = ""
		}
		if err := errors.Join(w.WriteHeader(h), func() error { _, err := w.Write([]byte(e[1])); return err }()); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

var (
	manifest = [2]string{".manifest", `{"roots": ["troth", "config"]}`}
	module   = [2]string{"troth/a.rego", "package troth.a\n\nx := 1\n"}
)

func TestPackAndRead(t *testing.T) {
	content, err := archive.Pack(policies.FS, "2026.5", archive.DefaultRoots())
	if err != nil {
		t.Fatal(err)
	}
	again, err := archive.Pack(policies.FS, "2026.5", []string{"frameworks", "config", "troth"})
	if err != nil || len(again) != len(content) {
		t.Error("the same directory makes other bytes", err)
	}
	b, err := archive.Read(content)
	if err != nil {
		t.Fatal(err)
	}
	if b.Revision != "2026.5" || strings.Join(b.Roots, " ") != "config frameworks troth" || b.Files < 20 || b.Bytes < 10000 {
		t.Errorf("%+v", b)
	}
	packed, err := policy.New(t.Context(), b.FS, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	direct, err := policy.New(t.Context(), policies.FS, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if packed.Digest() != direct.Digest() {
		t.Error("the archive is another bundle than its directory")
	}
}

func TestPackTakesTheDirectorysManifest(t *testing.T) {
	dir := fstest.MapFS{
		".manifest": {Data: []byte(`{"revision": "old", "roots": ["troth/a"], "metadata": {"team": "security"}}`)},
		"a.rego":    {Data: []byte(module[1])}, "README.md": {Data: []byte("hello")}, ".git/config": {Data: []byte("x")},
	}
	content, err := archive.Pack(dir, "new", []string{"troth"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := archive.Read(content)
	if err != nil || b.Revision != "new" || len(b.Roots) != 1 || b.Roots[0] != "troth/a" || b.Files != 1 {
		t.Errorf("%+v, %v", b, err)
	}
	for name, f := range map[string]fstest.MapFS{
		"data by another name": {"a.rego": dir["a.rego"], "config/values.yaml": {Data: []byte("a: 1")}},
		"a link":               {"a.rego": {Data: []byte("/etc/passwd"), Mode: fs.ModeSymlink}},
		"outside of the roots": {"a.rego": {Data: []byte("package other\n\nx := 1\n")}},
	} {
		if _, err := archive.Pack(f, "", []string{"troth"}); !errors.Is(err, archive.ErrArchive) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAttack_P3_ArchivesThatAreRefused(t *testing.T) {
	for name, row := range map[string]struct {
		entries [][2]string
		says    string
	}{
		"no manifest":         {[][2]string{module}, "no .manifest"},
		"no roots":            {[][2]string{{".manifest", `{"revision": "1"}`}, module}, "roots are not declared"},
		"empty roots":         {[][2]string{{".manifest", `{"roots": []}`}, module}, "roots are not declared"},
		"root of everything":  {[][2]string{{".manifest", `{"roots": [""]}`}, module}, "never about everything"},
		"root that climbs":    {[][2]string{{".manifest", `{"roots": ["a/../.."]}`}, module}, "no path"},
		"overlapping roots":   {[][2]string{{".manifest", `{"roots": ["troth", "troth/a"]}`}, module}, "overlap"},
		"unknown field":       {[][2]string{{".manifest", `{"roots": ["troth"], "evil": 1}`}, module}, "unknown field"},
		"Rego v0":             {[][2]string{{".manifest", `{"roots": ["troth"], "rego_version": 0}`}, module}, "Rego v1"},
		"wasm":                {[][2]string{{".manifest", `{"roots": ["troth"], "wasm": []}`}, module}, "compiled"},
		"delta":               {[][2]string{manifest, {"patch.json", "{}"}}, "delta bundle"},
		"delta, deeper":       {[][2]string{manifest, {"troth/patch.json", "{}"}}, "delta bundle"},
		"inner signatures":    {[][2]string{manifest, module, {".signatures.json", "{}"}}, "signatures inside"},
		"compiled":            {[][2]string{manifest, {"policy.wasm", "x"}}, "compiled"},
		"hidden":              {[][2]string{manifest, module, {"troth/.hidden.rego", module[1]}}, "hidden"},
		"other data":          {[][2]string{manifest, {"troth/more.json", "{}"}}, "data.json"},
		"other file":          {[][2]string{manifest, {"troth/run.sh", "x"}}, "no effect"},
		"package outside":     {[][2]string{manifest, {"b.rego", "package other.b\n\nx := 1\n"}}, "package other.b is outside of the declared roots config, troth"},
		"package that begins": {[][2]string{manifest, {"b.rego", "package trothful\n\nx := 1\n"}}, "outside"},
		"data outside":        {[][2]string{manifest, {"data.json", `{"config": {}, "other": 1}`}}, `data at "other" is outside`},
		"data outside, below": {[][2]string{{".manifest", `{"roots": ["config/a"]}`}, {"config/data.json", `{"a": 1, "b": 2}`}}, `"config/b"`},
		"data is no object":   {[][2]string{manifest, {"data.json", `[]`}}, "outside"},
		"syntax error":        {[][2]string{manifest, {"troth/a.rego", "package troth.a\n\nx := {\n"}}, "troth/a.rego:"},
		"empty module":        {[][2]string{manifest, {"troth/a.rego", ""}}, "troth/a.rego"},
		"damaged data":        {[][2]string{manifest, {"config/data.json", "{"}}, "config/data.json"},
		"climbs out":          {[][2]string{manifest, {"../a.rego", module[1]}}, "no path inside"},
		"climbs inside":       {[][2]string{manifest, {"troth/../a.rego", module[1]}}, "no path inside"},
		"link":                {[][2]string{manifest, {"troth/a.rego", "->/etc/passwd"}}, "no regular file"},
		"twice":               {[][2]string{manifest, module, {"/troth/a.rego", module[1]}}, "twice"},
		"nothing":             {[][2]string{manifest}, "empty"},
	} {
		if _, err := archive.Read(tgz(t, row.entries...)); !errors.Is(err, archive.ErrArchive) || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: %v, want one that says %q", name, err, row.says)
		}
	}
	if _, err := archive.Read([]byte("no archive")); !errors.Is(err, archive.ErrArchive) {
		t.Error(err)
	}
}

func TestAttack_P3_SizesAreCapped(t *testing.T) {
	big := [2]string{"config/data.json", `{"a": "` + strings.Repeat("a", 100<<20) + `"}`}
	content := tgz(t, manifest, big)
	if len(content) > archive.MaxBytes {
		t.Fatalf("the bomb has %d bytes", len(content))
	}
	if _, err := archive.Read(content); err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("100 MB of data: %v", err)
	}
	if _, err := archive.Read(make([]byte, archive.MaxBytes+1)); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a large archive: %v", err)
	}
	many := [][2]string{manifest}
	for i := range policy.MaxFiles + 1 {
		many = append(many, [2]string{fmt.Sprintf("troth/m%d.rego", i), module[1]})
	}
	if _, err := archive.Read(tgz(t, many...)); err == nil || !strings.Contains(err.Error(), "files") {
		t.Errorf("many files: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(tgz(f, manifest, module))
	f.Add(tgz(f, manifest, [2]string{"patch.json", "{}"}))
	f.Add(tgz(f, [2]string{".manifest", `{"roots": ["config/a"]}`}, [2]string{"data.json", `{"config": {"a": 1}}`}))
	f.Fuzz(func(t *testing.T, content []byte) {
		b, err := archive.Read(content)
		if err != nil {
			return
		}
		if b.Files == 0 || b.Bytes > policy.MaxBytes || len(b.Roots) == 0 {
			t.Errorf("%+v", b)
		}
		if _, err := archive.Pack(b.FS, b.Revision, b.Roots); err != nil {
			t.Errorf("what was read cannot be packed: %v", err)
		}
	})
}
