package cli_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"troth/attest"
	"troth/attest/attesttest"
	"troth/attest/eventlog"
	"troth/attest/tpm"
	"troth/internal/api"
	"troth/internal/evidence"
	"troth/internal/fleet"
)

// TestReferenceScripts runs the reference commands on captured boots, on made
// images with logs of what firmware measures of them, and on a service that knows
// a golden device with a software TPM.
func TestReferenceScripts(t *testing.T) {
	files := releaseFiles(t)
	for _, boot := range []string{"systemd-boot", "own-keys"} {
		for _, name := range []string{"eventlog", "ak.public", "quote-sha256", "quote-sha256.signature", "quote-sha256.pcrs.json", "ima.ascii", "manifest.json"} {
			content, err := os.ReadFile(filepath.Join("..", "..", "attest", "testdata", "captured", boot, name))
			must(t, err)
			files[boot+"/"+name] = content
		}
	}
	server := goldenServer(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/reference",
		Setup: func(env *testscript.Env) error {
			for name, content := range files {
				path := filepath.Join(env.WorkDir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					return err
				}
				if err := os.WriteFile(path, content, 0o600); err != nil {
					return err
				}
			}
			var manifest struct {
				Nonce string `json:"nonce"`
			}
			if err := json.Unmarshal(files["systemd-boot/manifest.json"], &manifest); err != nil {
				return err
			}
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("NONCE", manifest.Nonce)
			env.Setenv("TROTH_SERVER", server)
			env.Setenv("TROTH_TOKEN", adminToken)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status, "harmless": harmless},
	})
}

// goldenServer is a service that answers for the evidence of devices: golden's holds,
// altered's is not what was quoted, swapped's is another document than named.
func goldenServer(t *testing.T) string {
	t.Helper()
	golden := goldenEvidence(t)
	altered, swapped, lost := golden, golden, golden
	altered.Document = bytes.Replace(golden.Document, []byte(`"purpose":"checkin"`), []byte(`"purpose":"enroll"`), 1)
	altered.SHA256 = hexSum(altered.Document)
	swapped.SHA256 = hexSum([]byte("another"))
	lost.Content = nil
	known := map[string]api.KeptEvidence{"golden": golden, "altered": altered, "swapped": swapped, "lost": lost}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+api.PathEvidence, func(w http.ResponseWriter, r *http.Request) {
		if kept, ok := known[r.PathValue("id")]; ok {
			answer(w, kept)
			return
		}
		problem(w, http.StatusConflict, "evidence_outdated", "the device shows other PCR values since")
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// goldenEvidence is what a service keeps of a check-in of a device that booted
// release 1.0.0.
func goldenEvidence(t *testing.T) api.KeptEvidence {
	t.Helper()
	dir, err := os.MkdirTemp("", "tr")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	maker, err := attesttest.NewManufacturer(filepath.Join(dir, "maker"), "acme")
	must(t, err)
	chip, err := maker.NewECCTPM(t.Context(), filepath.Join(dir, "tpm"))
	must(t, err)
	t.Cleanup(func() { _ = chip.Close() })
	must(t, chip.Start(t.Context()))
	conn, err := tpm.Open(chip.Spec())
	must(t, err)
	device := tpm.New(conn)
	t.Cleanup(func() { _ = device.Close() })
	logs, err := attesttest.Boot(conn, attesttest.PlatformFor("edge-100"), attesttest.NewImage("edge-100", "1.0.0"))
	must(t, err)
	ak, err := device.CreateAK()
	must(t, err)
	binding := attest.Binding{
		Purpose: "checkin", Nonce: evidenceNonce(), DeviceID: pressID, ClientKey: []byte("key"), Reported: []byte("{}"),
		EventLog: sha256.Sum256(logs.EventLog), IMA: sha256.Sum256(logs.IMA),
	}
	quote, err := device.Quote(ak, binding.QualifyingData(), evidence.Selection())
	must(t, err)
	document := evidence.Document{
		Purpose: binding.Purpose, Device: fleet.DeviceID(binding.DeviceID), AK: ak.Public, ClientKey: binding.ClientKey, Nonce: binding.Nonce,
		Quote: quote.Attest, Signature: quote.Signature, PCRs: map[string]map[int]string{},
		EventLog: hexSum(logs.EventLog), IMA: hexSum(logs.IMA), Reported: binding.Reported,
	}
	must(t, json.Unmarshal(pcrsJSON(t, quote.PCRs), &document.PCRs))
	text, err := json.Marshal(document)
	must(t, err)
	return api.KeptEvidence{
		Device: pressID, Name: "golden", Model: "edge-100", Lifecycle: "quarantined", Verdict: "noncompliant",
		VerifiedAt: time.Now().Add(-90 * time.Minute), SHA256: hexSum(text), Document: text,
		Content: []api.Log{{SHA256: document.EventLog, Content: logs.EventLog}, {SHA256: document.IMA, Content: logs.IMA}},
	}
}

// peFile makes a PE32+ image of 1024 bytes of headers and sections of 512.
func peFile(sections ...[2]string) []byte {
	le := binary.LittleEndian
	out := make([]byte, 1024)
	copy(out, "MZ")
	le.PutUint32(out[0x3c:], 64)
	copy(out[64:], "PE\x00\x00")
	le.PutUint16(out[70:], uint16(len(sections)))
	le.PutUint16(out[84:], 240) // optional header
	le.PutUint16(out[88:], 0x20b)
	le.PutUint32(out[88+60:], 1024)
	le.PutUint32(out[88+108:], 16)
	for i, s := range sections {
		h := out[88+240+40*i:]
		copy(h[:8], s[0])
		le.PutUint32(h[8:], uint32(len(s[1])))
		le.PutUint32(h[16:], uint32((len(s[1])+511)&^511))
		le.PutUint32(h[20:], uint32(len(out)))
		out = append(out, s[1]...)
		out = append(out, make([]byte, (len(s[1])+511)&^511-len(s[1]))...)
	}
	return out
}

// measured is what firmware hashes of a made image.
func measured(image []byte) string {
	return string(image[:152]) + string(image[156:232]) + string(image[240:])
}

// logEvent is an event with what is hashed for it.
type logEvent struct {
	pcr    uint32
	kind   eventlog.EventType
	hashed string
	data   string
}

// eventLogFile writes a crypto-agile log with the banks SHA-256 and SHA-384.
func eventLogFile(events ...logEvent) []byte {
	le := binary.LittleEndian
	spec := "Spec ID Event03\x00\x00\x00\x00\x00\x00\x02\x00\x02\x02\x00\x00\x00\x0b\x00\x20\x00\x0c\x00\x30\x00\x00"
	out := append(make([]byte, 4), 3, 0, 0, 0)
	out = append(out, make([]byte, 20)...)
	out = append(le.AppendUint32(out, uint32(len(spec))), spec...)
	for _, e := range events {
		out = le.AppendUint32(le.AppendUint32(le.AppendUint32(out, e.pcr), uint32(e.kind)), 2)
		short, long := sha256.Sum256([]byte(e.hashed)), sha512.Sum384([]byte(e.hashed))
		out = append(le.AppendUint16(out, 0x0b), short[:]...)
		out = append(le.AppendUint16(out, 0x0c), long[:]...)
		out = append(le.AppendUint32(out, uint32(len(e.data))), e.data...)
	}
	return out
}

func wide(text string) string {
	out := ""
	for _, c := range text {
		out += string([]byte{byte(c), 0})
	}
	return out + "\x00\x00"
}

// releaseFiles are two releases of a unified kernel image, with the logs that
// machines have of them, and what can go wrong.
func releaseFiles(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{"text.efi": []byte("#!/bin/sh\n"), "plain.efi": peFile([2]string{".text", "code"}), "two-lines": []byte("a\nb\n")}
	for _, version := range []string{"1", "2"} {
		kernel, line, initrd := peFile([2]string{".text", "kernel " + version}), "quiet v="+version, "cpio "+version
		uki := peFile(
			[2]string{".text", "stub"}, [2]string{".sdmagic", "#### LoaderInfo: systemd-stub 252.39 ####"},
			[2]string{".cmdline", line}, [2]string{".linux", string(kernel)}, [2]string{".initrd", initrd})
		const app = eventlog.EFIBootServicesApplication
		events := []logEvent{
			{0, eventlog.SCRTMVersion, "firmware", "firmware"}, {0, eventlog.Separator, "\x00\x00\x00\x00", "\x00\x00\x00\x00"},
			{4, eventlog.EFIAction, "Calling EFI Application from Boot Option", "Calling EFI Application from Boot Option"},
			{4, eventlog.Separator, "\x00\x00\x00\x00", "\x00\x00\x00\x00"}, {4, app, measured(uki), ""},
		}
		for _, s := range [][2]string{{".linux", string(kernel)}, {".cmdline", line}, {".initrd", initrd}} {
			events = append(events, logEvent{11, eventlog.IPL, s[0] + "\x00", wide(s[0])}, logEvent{11, eventlog.IPL, s[1], wide(s[0])})
		}
		options, initrdTag := "LOADED_IMAGE::LoadOptions\x00", "Linux initrd\x00"
		events = append(events, logEvent{4, app, measured(kernel), ""},
			logEvent{9, eventlog.EventTag, wide(line), "\xed\x22\x3b\x8f" + string([]byte{byte(len(options)), 0, 0, 0}) + options},
			logEvent{9, eventlog.EventTag, initrd, "\xec\x22\x3b\x8f" + string([]byte{byte(len(initrdTag)), 0, 0, 0}) + initrdTag})
		files["uki-"+version+".efi"], files["kernel-"+version+".efi"], files["log-"+version] = uki, kernel, eventLogFile(events...)
		files["initrd-"+version], files["cmdline-"+version] = []byte(initrd), []byte(line+"\n")
	}
	return files
}
