package attest_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"troth/attest"
)

// TestBindingSeparatesFields: no two bindings hash alike, also where bytes move
// from one field to its neighbour.
func TestBindingSeparatesFields(t *testing.T) {
	base := attest.Binding{Purpose: "checkin", Nonce: []byte("ab"), DeviceID: "cd", ClientKey: []byte("ef"), Reported: []byte("gh")}
	seen := map[string]string{}
	for name, b := range map[string]attest.Binding{
		"base":            base,
		"purpose":         {Purpose: "enroll", Nonce: []byte("ab"), DeviceID: "cd", ClientKey: []byte("ef"), Reported: []byte("gh")},
		"moved to nonce":  {Purpose: "checki", Nonce: []byte("nab"), DeviceID: "cd", ClientKey: []byte("ef"), Reported: []byte("gh")},
		"moved to device": {Purpose: "checkin", Nonce: []byte("a"), DeviceID: "bcd", ClientKey: []byte("ef"), Reported: []byte("gh")},
		"moved to report": {Purpose: "checkin", Nonce: []byte("ab"), DeviceID: "cd", ClientKey: []byte("e"), Reported: []byte("fgh")},
		"event log":       {Purpose: "checkin", Nonce: []byte("ab"), DeviceID: "cd", ClientKey: []byte("ef"), Reported: []byte("gh"), EventLog: [32]byte{1}},
		"IMA":             {Purpose: "checkin", Nonce: []byte("ab"), DeviceID: "cd", ClientKey: []byte("ef"), Reported: []byte("gh"), IMA: [32]byte{1}},
		"continued":       {Purpose: "checkin", Nonce: []byte("ab"), DeviceID: "cd", ClientKey: []byte("ef"), Reported: []byte("gh"), IMAFrom: 1},
		"from elsewhere":  {Purpose: "checkin", Nonce: []byte("ab"), DeviceID: "cd", ClientKey: []byte("ef"), Reported: []byte("gh"), IMAFrom: 1 << 32},
		"userspace":       {Purpose: "checkin", Nonce: []byte("ab"), DeviceID: "cd", ClientKey: []byte("ef"), Reported: []byte("gh"), Userspace: [32]byte{1}},
		"both":            {Purpose: "checkin", Nonce: []byte("ab"), DeviceID: "cd", ClientKey: []byte("ef"), Reported: []byte("gh"), IMAFrom: 1, Userspace: [32]byte{1}},
		"zero":            {},
	} {
		q := hex.EncodeToString(b.QualifyingData())
		if len(q) != 64 {
			t.Errorf("%s: %d digits", name, len(q))
		}
		if other, ok := seen[q]; ok {
			t.Errorf("%s and %s hash alike", name, other)
		}
		seen[q] = name
	}
	// Devices in the field compute this: it may not change.
	const want = "ff58f28546e9b325c8b20be115b43ba33745478f37da8f42e9066dca67fb37d7"
	if got := hex.EncodeToString(base.QualifyingData()); got != want {
		t.Errorf("qualifying data %s, want %s", got, want)
	}
	base.IMAFrom = 7
	const continued = "1279e24374c72ce3460afcc4258b21dd4bf042446c1cf2664562a79f19dec2c8"
	if got := hex.EncodeToString(base.QualifyingData()); got != continued {
		t.Errorf("qualifying data %s, want %s", got, continued)
	}
	base.Userspace = [32]byte{1}
	const userspace = "27a19a4f6d6af2d2ce63fcf616d75bffbc3b95b7766a7bf07f36bf43071eb1ad"
	if got := hex.EncodeToString(base.QualifyingData()); got != userspace {
		t.Errorf("qualifying data %s, want %s", got, userspace)
	}
}

func TestReference(t *testing.T) {
	d := booted(t)
	var r attest.Reference
	raw := `{"bank":"sha256","pcrs":{"0":"` + d.pcrs["sha256"][0].String() + `","7":"` + strings.Repeat("00", 32) + `","12":"` + strings.Repeat("00", 32) + `"}}`
	if err := json.Unmarshal([]byte(raw), &r); err != nil {
		t.Fatal(err)
	}
	if m := r.Mismatches(d.pcrs); !slices.Equal(m, []int{7, 12}) {
		t.Errorf("mismatches %v", m)
	}
	back, err := json.Marshal(r)
	if err != nil || !bytes.Contains(back, []byte(`"7":"`+strings.Repeat("00", 32)+`"`)) {
		t.Errorf("JSON %s, %v", back, err)
	}
	for name, bad := range map[string]attest.Reference{
		"empty": {}, "no PCR": {Bank: "sha256"}, "sha1": {Bank: "sha1", PCRs: map[int]attest.Digest{0: make([]byte, 20)}},
		"short":  {Bank: "sha256", PCRs: map[int]attest.Digest{0: make([]byte, 20)}},
		"PCR 24": {Bank: "sha256", PCRs: map[int]attest.Digest{24: make([]byte, 32)}},
	} {
		if bad.Valid() == nil || len(bad.Mismatches(d.pcrs)) != 24 || len(bad.Mismatches(nil)) != 24 {
			t.Errorf("%s: valid, or matches something", name)
		}
	}
	var digest attest.Digest
	for _, text := range []string{`"0"`, `"zz"`, `"` + strings.Repeat("00", 65) + `"`} {
		if json.Unmarshal([]byte(text), &digest) == nil {
			t.Errorf("digest %s accepted", text)
		}
	}
}
