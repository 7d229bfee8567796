package reference_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"troth/attest"
	"troth/attest/eventlog"
	"troth/attest/reference"
)

// boot is one captured boot: its log, what it quoted, and what is known of the
// files from elsewhere than the log.
type boot struct {
	Name        string `json:"name"`
	CommandLine string `json:"command_line"`
	Images      []struct {
		File         string                   `json:"file"`
		Authenticode map[string]attest.Digest `json:"authenticode"`
	} `json:"images"`

	log  *eventlog.Log
	pcrs attest.PCRs
	raw  []byte
}

func captured(t testing.TB, name string) boot {
	t.Helper()
	dir := filepath.Join("..", "testdata", "captured", name)
	read := func(file string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := boot{raw: read("eventlog")}
	must(t, json.Unmarshal(read("manifest.json"), &b))
	must(t, json.Unmarshal(read("quote-all.pcrs.json"), &b.pcrs))
	var err error
	b.log, err = eventlog.Parse(b.raw)
	must(t, err)
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// image is one of the boot's files, by the digests of its manifest.
func (b boot) image(i int) reference.Image {
	return reference.Image{Name: b.Images[i].File, Authenticode: reference.Digests{
		"sha256": b.Images[i].Authenticode["sha256"], "sha384": b.Images[i].Authenticode["sha384"],
	}}
}

// event gives the digests of the nth event of a PCR in the log.
func (b boot) event(t testing.TB, pcr, n int) reference.Digests {
	t.Helper()
	for _, e := range b.log.Events {
		if e.PCR != pcr || e.Type == eventlog.NoAction {
			continue
		}
		if n == 0 {
			return reference.Digests{"sha256": e.Digests.In("sha256"), "sha384": e.Digests.In("sha384")}
		}
		n--
	}
	t.Fatalf("%s: no such event in PCR %d", b.Name, pcr)
	return nil
}

// same compares predicted values with the quoted ones.
func (b boot) same(t *testing.T, got attest.PCRs, pcrs ...int) {
	t.Helper()
	for _, bank := range reference.Banks() {
		for _, pcr := range pcrs {
			if got[bank][pcr].String() != b.pcrs[bank][pcr].String() {
				t.Errorf("%s PCR %d is predicted as %q, %s quoted %s", bank, pcr, got[bank][pcr], b.Name, b.pcrs[bank][pcr])
			}
		}
	}
}

func path(t testing.TB, text string) []reference.Role {
	t.Helper()
	p, err := reference.ParsePath(text)
	must(t, err)
	return p
}

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	must(t, err)
	return b
}

func ptr[T any](v T) *T { return &v }
