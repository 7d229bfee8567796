package reference_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"troth/attest"
	"troth/attest/ima"
	"troth/attest/reference"
)

func verified(b boot) attest.Result { return attest.Result{Verified: true, PCRs: b.pcrs} }

func TestRecord(t *testing.T) {
	b := captured(t, "shim-grub")
	f, err := reference.Record(verified(b), b.raw, "sha256", nil)
	must(t, err)
	if len(f.PCRs) != 6 || len(f.Mismatches(b.pcrs)) > 0 { // 0, 2, 4, 7, 8, 9
		t.Errorf("%+v", f.Reference)
	}
	// The events that are kept lead to the values, so that a difference is found.
	changed := f
	changed.Events = slices.Clone(f.Events)
	last := len(changed.Events) - 1
	changed.Events[last].Digest = reference.Hash([]byte("another initrd"))["sha256"]
	values := map[int]attest.Digest{}
	for pcr, value := range f.PCRs {
		values[pcr] = value
	}
	value := make([]byte, 32)
	for _, e := range changed.Events {
		if e.PCR == 9 {
			value = reference.HashAll(value, e.Digest)["sha256"]
		}
	}
	values[9] = value
	changed.PCRs = values
	diff, err := reference.Diff(f, changed)
	must(t, err)
	if len(diff) != 1 || diff[0].PCR != 9 || len(diff[0].Events) != 1 || diff[0].Events[0].A.What != "/initrd.gz" {
		t.Errorf("%+v", diff)
	}
	if f, err = reference.Record(verified(b), nil, "sha384", nil); err != nil || len(f.PCRs) != 4 || len(f.Events) != 0 {
		t.Errorf("without a log: %+v, %v", f, err)
	}
	if f, err = reference.Record(verified(b), b.raw, "sha256", []int{10}); err != nil || len(f.PCRs) != 1 || len(f.Events) != 0 {
		t.Errorf("a PCR that no event explains: %+v, %v", f, err)
	}
}

func TestRecordRefuses(t *testing.T) {
	b := captured(t, "uki")
	unverified := verified(b)
	unverified.Verified = false
	for name, record := range map[string]func() (reference.File, error){
		"not verified": func() (reference.File, error) { return reference.Record(unverified, b.raw, "sha256", nil) },
		"another bank": func() (reference.File, error) { return reference.Record(verified(b), b.raw, "sha512", nil) },
		"sha1":         func() (reference.File, error) { return reference.Record(verified(b), b.raw, "sha1", nil) },
		"not quoted":   func() (reference.File, error) { return reference.Record(verified(b), b.raw, "sha256", []int{24}) },
		"cut log": func() (reference.File, error) {
			return reference.Record(verified(b), b.raw[:len(b.raw)-1], "sha256", nil)
		},
		"none": func() (reference.File, error) { return reference.Record(verified(b), b.raw, "sha256", []int{}) },
	} {
		if f, err := record(); err == nil {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// A log that does not lead to the quoted value explains nothing.
func TestRecordKeepsNoWrongEvents(t *testing.T) {
	b, other := captured(t, "systemd-boot"), captured(t, "own-keys")
	f, err := reference.Record(verified(b), other.raw, "sha256", []int{0, 4})
	must(t, err)
	for _, e := range f.Events {
		if e.PCR == 4 {
			t.Fatalf("%+v", e)
		}
	}
	diff, err := reference.Diff(f, must2(reference.FromLog(other.log, "sha256"))(t))
	must(t, err)
	if i := slices.IndexFunc(diff, func(d reference.Difference) bool { return d.PCR == 4 }); i < 0 || diff[i].Why == "" {
		t.Errorf("%+v", diff)
	}
}

func must2[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		must(t, err)
		return v
	}
}

func TestParseFile(t *testing.T) {
	b := captured(t, "uki")
	f, err := reference.Record(verified(b), b.raw, "sha256", nil)
	must(t, err)
	f.Provenance = &reference.Provenance{Method: "recorded", Device: "d"}
	text, err := json.Marshal(f)
	must(t, err)
	again, err := reference.ParseFile(text)
	must(t, err)
	if diff, err := reference.Diff(f, again); err != nil || len(diff) > 0 || len(again.Events) != len(f.Events) || again.Provenance.Device != "d" {
		t.Errorf("%v, %v, %+v", diff, err, again.Provenance)
	}
	digest := strings.Repeat("ab", 32)
	for name, bad := range map[string]string{
		"empty": "", "null": "null", "no PCR": `{"bank":"sha256","pcrs":{}}`, "sha1": `{"bank":"sha1","pcrs":{"0":"` + digest[:40] + `"}}`,
		"no bank": `{"pcrs":{"0":"` + digest + `"}}`, "PCR 24": `{"bank":"sha256","pcrs":{"24":"` + digest + `"}}`, "negative": `{"bank":"sha256","pcrs":{"-1":"` + digest + `"}}`,
		"short": `{"bank":"sha256","pcrs":{"0":"abcd"}}`, "long": `{"bank":"sha256","pcrs":{"0":"` + digest + `ab"}}`, "no hex": `{"bank":"sha256","pcrs":{"0":"` + digest[1:] + `x"}}`,
		"unknown field": `{"bank":"sha256","pcr":{"0":"` + digest + `"}}`, "goes on": string(text) + "{}", "list": "[]",
	} {
		if _, err := reference.ParseFile([]byte(bad)); err == nil {
			t.Errorf("%s is read", name)
		}
	}
}

func TestDiff(t *testing.T) {
	event := func(word string) reference.Event {
		return reference.Event{PCR: 4, Type: "EV_IPL", Digest: reference.Hash([]byte(word))["sha256"], What: word}
	}
	file := func(words string) reference.File {
		f := reference.File{Reference: attest.Reference{Bank: "sha256", PCRs: map[int]attest.Digest{}}}
		value := make([]byte, 32)
		for word := range strings.FieldsSeq(words) {
			f.Events = append(f.Events, event(word))
			value = reference.HashAll(value, event(word).Digest)["sha256"]
		}
		f.PCRs[4] = value
		return f
	}
	name := func(e *reference.Event) string {
		if e == nil {
			return "-"
		}
		return e.What
	}
	for _, tc := range [][3]string{
		{"a b c", "a b c", ""},
		{"a b c", "a x c", "b>x"},
		{"a b c", "a c", "b>-"},
		{"a c", "a b c", "->b"},
		{"a b c d", "x b d e", "a>x c>- ->e"},
		{"a b", "c d e", "a>c b>d ->e"},
		{"a", "b a", "->b"},
	} {
		diff, err := reference.Diff(file(tc[0]), file(tc[1]))
		must(t, err)
		var got []string
		for _, d := range diff {
			for _, e := range d.Events {
				got = append(got, name(e.A)+">"+name(e.B))
			}
		}
		if strings.Join(got, " ") != tc[2] {
			t.Errorf("%q and %q: %q, want %q", tc[0], tc[1], got, tc[2])
		}
	}
	if diff, err := reference.Diff(file("a"), reference.File{Reference: attest.Reference{Bank: "sha256", PCRs: map[int]attest.Digest{7: make([]byte, 32)}}}); err != nil || len(diff) != 2 || diff[0].B != "" || diff[1].A != "" {
		t.Errorf("%+v, %v", diff, err)
	}
	other := reference.File{Reference: attest.Reference{Bank: "sha384", PCRs: map[int]attest.Digest{4: make([]byte, 48)}}}
	if _, err := reference.Diff(file("a"), other); err == nil {
		t.Error("banks are mixed")
	}
	if _, err := reference.Diff(file("a"), reference.File{}); err == nil {
		t.Error("an empty set is compared")
	}
}

func TestAllowList(t *testing.T) {
	entry := func(name, algorithm string, first byte, violation bool) ima.Entry {
		digest := make([]byte, 32)
		digest[0] = first
		return ima.Entry{Name: name, Algorithm: algorithm, Digest: digest, Violation: violation}
	}
	list := &ima.List{Entries: []ima.Entry{
		entry("boot_aggregate", "sha256", 9, false), entry("/usr/bin/b", "sha256", 2, false), entry("/usr/bin/a", "sha256", 1, false),
		entry("/usr/bin/b", "sha256", 2, false), entry("/v", "sha256", 3, true), entry("/old", "sha1", 4, false),
		entry("/a\nb\\c", "sha256", 5, false), entry("/late", "sha256", 6, false),
	}}
	lines, left := reference.AllowList(list, 7)
	pad := strings.Repeat("0", 62)
	want := `\05` + pad + `  /a\nb\\c` + "\n01" + pad + "  /usr/bin/a\n02" + pad + "  /usr/bin/b\n"
	if string(lines) != want || left != 3 {
		t.Errorf("%d left out, lines:\n%s", left, lines)
	}
}
