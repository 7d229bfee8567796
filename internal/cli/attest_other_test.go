package cli_test

import (
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What was measured and nothing is known of is shown, not passed over.
func TestEventLogShowsWhatIsNotKnown(t *testing.T) {
	le := binary.LittleEndian
	event := func(log []byte, pcr, kind uint32, data string) []byte {
		digest := sha1.Sum([]byte(data))
		log = append(le.AppendUint32(le.AppendUint32(log, pcr), kind), digest[:]...)
		return append(le.AppendUint32(log, uint32(len(data))), data...)
	}
	var log []byte
	for i := range 30 {
		log = event(log, 2, 0x80000008, fmt.Sprint("something ", i)) // EV_EFI_PLATFORM_FIRMWARE_BLOB
	}
	for pcr := range uint32(8) {
		log = event(log, pcr, 4, "\x00\x00\x00\x00") // EV_SEPARATOR
	}
	file := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(file, log, 0o600); err != nil {
		t.Fatal(err)
	}
	_, out, errOut := run(t, nil, "", "attest", "eventlog", file)
	if !strings.Contains(out, "Also in PCR 2") || !strings.Contains(out, "EV_EFI_PLATFORM_FIRMWARE_BLOB") || !strings.Contains(out, "Also measured") || !strings.Contains(out, "and 18 more") {
		t.Errorf("%s%s", out, errOut)
	}
}
