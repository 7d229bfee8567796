package differential_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	attestpb "github.com/google/go-tpm-tools/proto/attest"
	"google.golang.org/protobuf/proto"

	"troth/attest"
)

// Where the corpus comes from.
const (
	goAttestation = "github.com/google/go-attestation"
	goTPMTools    = "github.com/google/go-tpm-tools"
	goEventlog    = "github.com/google/go-eventlog"

	capturedDir = "../../attest/testdata/captured"
)

// moduleDir is where the go command keeps a module's files.
func moduleDir(t testing.TB, module string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	dir := strings.TrimSpace(string(out))
	if err != nil || dir == "" {
		t.Fatalf("find module %s: %v", module, err)
	}
	return dir
}

func files(t testing.TB, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no file %s, %v", pattern, err)
	}
	return paths
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// dump is the JSON form of go-attestation's test evidence.
type dump struct {
	AK    struct{ Public []byte }
	Quote struct{ Nonce, Quote, Signature []byte }
	Log   struct {
		PCRs []struct {
			Index     int
			Digest    []byte
			DigestAlg int // crypto.Hash
		}
		Raw []byte
	}
}

func readDump(t testing.TB, path string) dump {
	t.Helper()
	var d dump
	if err := json.Unmarshal(read(t, path), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func readAttestation(t testing.TB, path string) *attestpb.Attestation {
	t.Helper()
	var a attestpb.Attestation
	if err := proto.Unmarshal(read(t, path), &a); err != nil {
		t.Fatal(err)
	}
	return &a
}

// logCorpus is every event log by a name that says where it is from. One log that
// several modules have is compared once.
func logCorpus(t testing.TB) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	seen := map[[sha256.Size]byte]bool{}
	add := func(name string, log []byte) {
		if sum := sha256.Sum256(log); !seen[sum] {
			seen[sum] = true
			all[name] = log
		}
	}
	a, tools, e := moduleDir(t, goAttestation), moduleDir(t, goTPMTools), moduleDir(t, goEventlog)
	for _, from := range []struct{ prefix, pattern string }{
		{"go-attestation/", a + "/attest/testdata/*_eventlog"},
		{"go-tpm-tools/", tools + "/internal/test/eventlogs/*.bin"},
		{"go-eventlog/", e + "/testdata/legacydata/*_eventlog"},
		{"go-eventlog/", e + "/testdata/eventlogs/*/*.bin"},
		{"captured/", capturedDir + "/*/eventlog"},
	} {
		for _, path := range files(t, from.pattern) {
			name := filepath.Base(path)
			if from.prefix == "captured/" {
				name = filepath.Base(filepath.Dir(path))
			}
			add(from.prefix+name, read(t, path))
		}
	}
	for _, path := range append(files(t, a+"/attest/testdata/*.json"), files(t, e+"/testdata/legacydata/*.json")...) {
		add("go-attestation/"+filepath.Base(path), readDump(t, path).Log.Raw)
	}
	for _, path := range files(t, tools+"/internal/test/attestations/*.pb") {
		add("go-tpm-tools/"+filepath.Base(path), readAttestation(t, path).GetEventLog())
	}
	return all
}

// quoteCase is a quote with what it is to be checked with.
type quoteCase struct {
	ak, quote, signature, nonce []byte
	pcrs                        attest.PCRs
}

func (q quoteCase) evidence() attest.Evidence {
	return attest.Evidence{AK: q.ak, Quote: q.quote, Signature: q.signature, PCRs: q.pcrs}
}

func bankNames() map[int]string { // by crypto.Hash and by TPM_ALG_ID, which do not meet
	return map[int]string{3: "sha1", 5: "sha256", 6: "sha384", 7: "sha512", 4: "sha1", 11: "sha256", 12: "sha384", 13: "sha512"}
}

// quoteCorpus is every quote that is kept in a file.
func quoteCorpus(t testing.TB) map[string]quoteCase {
	t.Helper()
	all := map[string]quoteCase{}
	d := readDump(t, filepath.Join(moduleDir(t, goAttestation), "attest/testdata/windows_gcp_shielded_vm.json"))
	pcrs := attest.PCRs{}
	for _, p := range d.Log.PCRs {
		put(pcrs, bankNames()[p.DigestAlg], p.Index, p.Digest)
	}
	all["go-attestation/windows_gcp_shielded_vm.json"] = quoteCase{d.AK.Public, d.Quote.Quote, d.Quote.Signature, d.Quote.Nonce, pcrs}
	for _, path := range files(t, moduleDir(t, goTPMTools)+"/internal/test/attestations/*.pb") {
		a := readAttestation(t, path)
		var nonce []byte
		if strings.Contains(path, "nonce9009") {
			nonce = []byte{0x90, 0x09}
		}
		for _, q := range a.GetQuotes() {
			pcrs, bank := attest.PCRs{}, bankNames()[int(q.GetPcrs().GetHash())]
			for i, value := range q.GetPcrs().GetPcrs() {
				put(pcrs, bank, int(i), value)
			}
			all["go-tpm-tools/"+filepath.Base(path)+" "+bank] = quoteCase{a.GetAkPub(), q.GetQuote(), q.GetRawSig(), nonce, pcrs}
		}
	}
	for _, manifest := range files(t, capturedDir+"/*/manifest.json") {
		capturedQuotes(t, filepath.Dir(manifest), all)
	}
	return all
}

func put(pcrs attest.PCRs, bank string, index int, value []byte) {
	if pcrs[bank] == nil {
		pcrs[bank] = map[int]attest.Digest{}
	}
	pcrs[bank][index] = value
}

func capturedQuotes(t testing.TB, dir string, all map[string]quoteCase) {
	t.Helper()
	var manifest struct {
		Nonce string `json:"nonce"`
	}
	if err := json.Unmarshal(read(t, filepath.Join(dir, "manifest.json")), &manifest); err != nil {
		t.Fatal(err)
	}
	nonce, err := hex.DecodeString(manifest.Nonce)
	if err != nil {
		t.Fatal(err)
	}
	for _, bank := range []string{"sha1", "sha256", "sha384", "all"} {
		path := filepath.Join(dir, "quote-"+bank)
		q := quoteCase{ak: read(t, filepath.Join(dir, "ak.public")), quote: read(t, path), signature: read(t, path+".signature"), nonce: nonce}
		if err := json.Unmarshal(read(t, path+".pcrs.json"), &q.pcrs); err != nil {
			t.Fatal(err)
		}
		all["captured/"+filepath.Base(dir)+" "+bank] = q
	}
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
