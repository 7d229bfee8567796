package install

import "testing"

// What a hook or RAUC answers is foreign: it must be taken or refused, whatever it is.
func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{
		`{"slot":"a"}`, `{} {}`, `null`, `[`, `{"sha256":1}`,
		`{"compatible":"edge","booted":"A","boot_primary":"rootfs.0","slots":[{"rootfs.0":{"class":"rootfs","device":"/dev/a","type":"raw","bootname":"A","state":"booted","slot_status":{"checksum":{"sha256":"00","size":1},"installed":{"count":2},"status":"ok"}}}]}`,
		`{"slots":[null,{"a":null},{}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := parseHookAnswer(b); err == nil {
			if name, err := parseSlot(a.Slot); err == nil && (name == "" || len(name) > 128) {
				t.Errorf("slot name %q", name)
			}
		}
		slots, err := parseRAUC(b)
		if err != nil && slots != nil {
			t.Error("slots beside an error")
		}
		for _, s := range slots {
			_ = s.installs()
		}
	})
}
