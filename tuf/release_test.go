package tuf_test

import (
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"troth/tuf"
)

func newContent() io.Reader { return strings.NewReader("two") }

func TestParseRelease(t *testing.T) {
	good := release("a/b.tar", "edge", 3)
	text, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, text string
		good       bool
	}{
		{"as published", string(text), true},
		{"unknown field", strings.Replace(string(text), "{", `{"later":{"x":[1]},`, 1), true},
		{"trailing data", string(text) + "{}", false},
		{"null", "null", false},
		{"array", "[]", false},
		{"negative counter", strings.Replace(string(text), `"counter":3`, `"counter":-3`, 1), false},
		{"fraction", strings.Replace(string(text), `"counter":3`, `"counter":3.5`, 1), false},
		{"null reference", strings.Replace(string(text), `"reference":{`, `"reference":null,"x":{`, 1), false},
		{"huge", `{"notes":"` + strings.Repeat("a", tuf.MaxReleaseBytes) + `"}`, false},
		{"empty", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := tuf.ParseRelease([]byte(tc.text))
			if tc.good && (err != nil || !reflect.DeepEqual(got, good)) {
				t.Errorf("got %+v, %v", got, err)
			}
			if !tc.good && !errors.Is(err, tuf.ErrInvalid) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func FuzzParseRelease(f *testing.F) {
	text, err := json.Marshal(release("a/b.tar", "edge", 3))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"name":"../x","reference":{"bank":"sha256","pcrs":{"99":""}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		rel, err := tuf.ParseRelease(data)
		if err != nil {
			if !errors.Is(err, tuf.ErrInvalid) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		if strings.Contains(rel.Name, "..") && tuf.ValidName(rel.Name) != nil || rel.Counter == 0 || len(rel.Reference.PCRs) == 0 {
			t.Fatalf("accepted %+v", rel)
		}
		again, err := json.Marshal(rel)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := tuf.ParseRelease(again); err != nil || !reflect.DeepEqual(second, rel) {
			t.Fatalf("does not survive a round trip: %v", err)
		}
	})
}
