package osv_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"troth/osv"
)

func text(id string) string {
	return fmt.Sprintf(`{"id":%q,"modified":"2026-01-02T03:04:05Z","affected":[{"package":{"ecosystem":"npm","name":"x"},"versions":["1.0.0"]}]}`, id)
}

// archive is a ZIP file of names and contents.
func archive(t testing.TB, entries ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(entries); i += 2 {
		w, err := z.Create(entries[i])
		if err == nil {
			_, err = w.Write([]byte(entries[i+1]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read gathers ids, and where something was refused.
func read(t testing.TB, fsys fs.FS, name string) (ids, refused []string, err error) {
	t.Helper()
	err = osv.Feed{
		Record: func(r osv.Record) error { ids = append(ids, r.ID); return nil },
		Refuse: func(where string, why error) error {
			if !errors.Is(why, osv.ErrRecord) {
				t.Errorf("%s: %v", where, why)
			}
			refused = append(refused, where)
			return nil
		},
	}.ReadFeed(fsys, name)
	return ids, refused, err
}

func TestFormsOfFeeds(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"one.json":        strings.Replace(text("A-1"), ",", ",\n  ", 1),
		"many.jsonl":      text("A-1") + "\n\n" + text("A-2") + "\nnonsense\n" + text("A-3"),
		"many.json":       text("A-1") + "\n" + text("A-2") + "\n",
		"all.zip":         string(archive(t, "A-1.json", text("A-1"), "README", "no", "deep/A-2.json", text("A-2"), "A-3.json", "{}")),
		"empty.json":      "",
		"d/a/A-1.json":    text("A-1"),
		"d/b/all.zip":     string(archive(t, "A-2.json", text("A-2"))),
		"d/b/ignored.txt": text("A-9"),
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]struct{ ids, refused string }{
		"one.json": {"A-1", ""}, "many.jsonl": {"A-1 A-2 A-3", "many.jsonl, line 4"}, "many.json": {"A-1 A-2", ""},
		"all.zip": {"A-1 A-2", "all.zip: A-3.json"}, "d": {"A-1 A-2", ""}, "empty.json": {"", ""},
	} {
		ids, refused, err := read(t, os.DirFS(dir), name)
		if err != nil || strings.Join(ids, " ") != want.ids || strings.Join(refused, " ") != want.refused {
			t.Errorf("%s: %q, refused %q, %v", name, ids, refused, err)
		}
	}
	if _, _, err := read(t, os.DirFS(dir), "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	stop := errors.New("stop")
	err := osv.Feed{Record: func(osv.Record) error { return stop }}.ReadFeed(os.DirFS(dir), "all.zip")
	if !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
}

// TestAttack_S2_HostileFeedRows: each record is refused by itself, within bounds,
// and the good one beside it is taken.
func TestAttack_S2_HostileFeedRows(t *testing.T) {
	affected := func(s string) string {
		return `{"id":"A-1","modified":"2026-01-02T03:04:05Z","affected":[{"package":{"ecosystem":"npm","name":"x"},` + s + `}]}`
	}
	rows := map[string]string{
		"a huge string":            `{"id":"A-1","modified":"2026-01-02T03:04:05Z","details":"` + strings.Repeat("x", osv.MaxRecordBytes) + `"}`,
		"deep JSON":                `{"id":"A-1","modified":"2026-01-02T03:04:05Z","x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`,
		"a million versions":       affected(`"versions":["1` + strings.Repeat(`","1`, 1_000_000) + `"]`),
		"too many versions":        affected(`"versions":["1` + strings.Repeat(`","1`, 200_000) + `"]`),
		"too many events":          affected(`"ranges":[{"type":"SEMVER","events":[{"fixed":"1"}` + strings.Repeat(`,{"fixed":"1"}`, 70_000) + `]}]`),
		"too many packages":        `{"id":"A-1","modified":"2026-01-02T03:04:05Z","affected":[{}` + strings.Repeat(",{}", 9000) + `]}`,
		"too many aliases":         `{"id":"A-1","modified":"2026-01-02T03:04:05Z","aliases":["B"` + strings.Repeat(`,"B"`, 600) + `]}`,
		"a terminal escape in id":  `{"id":"A-1\u001b[2J","modified":"2026-01-02T03:04:05Z"}`,
		"a path for an id":         `{"id":"../../etc/passwd","modified":"2026-01-02T03:04:05Z"}`,
		"a long id":                `{"id":"A` + strings.Repeat("1", 200) + `","modified":"2026-01-02T03:04:05Z"}`,
		"an escape in an alias":    `{"id":"A-1","modified":"2026-01-02T03:04:05Z","aliases":["\u009b2J"]}`,
		"an escape in a version":   affected(`"versions":["1\u001b]0;x\u0007"]`),
		"NUL in a package":         `{"id":"A-1","modified":"2026-01-02T03:04:05Z","affected":[{"package":{"ecosystem":"npm","name":"x\u0000"}}]}`,
		"an escape in a score":     `{"id":"A-1","modified":"2026-01-02T03:04:05Z","severity":[{"type":"CVSS_V3","score":"\u001b"}]}`,
		"a long version":           affected(`"versions":["` + strings.Repeat("1", 600) + `"]`),
		"no id":                    `{"modified":"2026-01-02T03:04:05Z"}`,
		"no time":                  `{"id":"A-1"}`,
		"a time before computers":  `{"id":"A-1","modified":"0001-02-02T03:04:05Z"}`,
		"a number for a version":   affected(`"versions":[1]`),
		"a list":                   `[` + text("A-1") + `]`,
		"cut":                      text("A-1")[:50],
		"two values":               text("A-1") + text("A-2"),
		"not UTF-8 in an id":       "{\"id\":\"A-\xff\",\"modified\":\"2026-01-02T03:04:05Z\"}",
		"an id that is a sequence": `{"id":"\u202eA-1","modified":"2026-01-02T03:04:05Z"}`,
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			if _, err := osv.Parse([]byte(row)); !errors.Is(err, osv.ErrRecord) {
				t.Errorf("parsed: %v", err)
			}
			for form, content := range map[string]string{
				"lines":   row + "\n" + text("GOOD-1") + "\n",
				"archive": string(archive(t, "A-1.json", row, "GOOD-1.json", text("GOOD-1"))),
			} {
				ids, refused, err := read(t, fstest.MapFS{"feed": {Data: []byte(content)}}, "feed")
				if err != nil || !slices.Equal(ids, []string{"GOOD-1"}) || len(refused) != 1 {
					t.Errorf("%s: %q, refused %q, %v", form, ids, refused, err)
				}
			}
		})
	}
}

// TestAttack_S2_ZipBombs: nothing is unpacked beyond a record's bound, and names
// in an archive are no paths.
func TestAttack_S2_ZipBombs(t *testing.T) {
	bomb := strings.Repeat("\x00", 64<<20)
	packed := archive(t, "bomb.json", bomb, "../../../evil.json", text("A-1"), "/etc/passwd.json", text("A-2"), `..\evil.json`, text("A-3"), "nested.zip", bomb)
	if len(packed) > 1<<20 {
		t.Fatal("this is no bomb")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "all.zip"), packed, 0o644); err != nil {
		t.Fatal(err)
	}
	ids, refused, err := read(t, os.DirFS(dir), "all.zip")
	if err != nil || !slices.Equal(ids, []string{"A-1", "A-2", "A-3"}) || !slices.Equal(refused, []string{"all.zip: bomb.json"}) {
		t.Errorf("%q, refused %q, %v", ids, refused, err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
	// Entries that say a small size, or lie in each other, are read as they are.
	liar := bytes.Replace(packed, []byte("bomb.json"), []byte("bomb.jsom"), 1) // the local header differs from the directory
	if _, _, err := read(t, fstest.MapFS{"z": {Data: liar}}, "z"); err != nil && !errors.Is(err, osv.ErrFeed) {
		t.Errorf("%v", err)
	}
	for name, broken := range map[string][]byte{"cut": packed[:len(packed)/2], "head only": []byte("PK\x03\x04")} {
		if _, _, err := read(t, fstest.MapFS{"z": {Data: broken}}, "z"); !errors.Is(err, osv.ErrFeed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A symbolic link in a directory leads nowhere.
func TestLinksInAFeedAreNotFollowed(t *testing.T) {
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "x.json")
	if err := errors.Join(os.WriteFile(outside, []byte(text("OUT-1")), 0o644), os.Symlink(outside, filepath.Join(dir, "x.json"))); err != nil {
		t.Fatal(err)
	}
	if ids, _, err := read(t, os.DirFS(dir), "."); err != nil || ids != nil {
		t.Errorf("%q, %v", ids, err)
	}
}
