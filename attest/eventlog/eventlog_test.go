package eventlog_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"troth/attest/eventlog"
)

func extend256(value []byte, measured string) []byte {
	m := sha256.Sum256([]byte(measured))
	v := sha256.Sum256(append(bytes.Clone(value), m[:]...))
	return v[:]
}

func TestParseAndReplayAgile(t *testing.T) {
	log, err := eventlog.Parse(agile(
		same(0, eventlog.NoAction, "StartupLocality\x00\x03"),
		same(0, eventlog.SCRTMVersion, "1"),
		entry{0, eventlog.PostCode, "blob", "label"},
		same(5, eventlog.EFIAction, "action"),
	))
	if err != nil {
		t.Fatal(err)
	}
	if log.Legacy || log.SpecVersion != "2.0.5" || !slices.Equal(log.Banks, []string{"sha1", "sha256"}) || log.StartupLocality != 3 {
		t.Errorf("log %+v", log)
	}
	if len(log.Events) != 5 || log.Events[3].Sequence != 3 || string(log.Events[3].Data) != "label" {
		t.Errorf("events %+v", log.Events)
	}
	initial := append(make([]byte, 31), 3)
	replay := log.Replay()
	if want := extend256(extend256(initial, "1"), "blob"); !bytes.Equal(replay["sha256"][0], want) {
		t.Errorf("PCR 0 %x, want %x", replay["sha256"][0], want)
	}
	if want := extend256(make([]byte, 32), "action"); !bytes.Equal(replay["sha256"][5], want) {
		t.Errorf("PCR 5 %x, want %x", replay["sha256"][5], want)
	}
	if len(replay["sha1"]) != 2 || len(replay["sha1"][0]) != 20 {
		t.Errorf("sha1 %v", replay["sha1"])
	}
}

func TestParseLegacy(t *testing.T) {
	version := append([]byte("Spec ID Event02\x00"), 0, 0, 0, 0, 2, 1, 0, 2, 0)
	digest := sha1.Sum([]byte("action"))
	for name, head := range map[string][]byte{
		"with Spec ID": header(string(version)),
		"without":      nil,
	} {
		t.Run(name, func(t *testing.T) {
			log, err := eventlog.Parse(legacy(head, 4, eventlog.Action, digest[:], "action"))
			if err != nil {
				t.Fatal(err)
			}
			value := sha1.Sum(append(make([]byte, 20), digest[:]...))
			if !log.Legacy || !bytes.Equal(log.Replay()["sha1"][4], value[:]) {
				t.Errorf("log %+v, replay %x", log, log.Replay())
			}
			if (head != nil) != (log.SpecVersion == "1.2.0") {
				t.Errorf("version %q", log.SpecVersion)
			}
		})
	}
}

// TestParseUnknownAlgorithm skips digests of a bank that cannot be replayed.
func TestParseUnknownAlgorithm(t *testing.T) {
	out := header(specID03("vendor", 0x12, 32, 11, 32))
	out = le.AppendUint32(le.AppendUint32(le.AppendUint32(out, 0), uint32(eventlog.PostCode)), 2)
	out = append(le.AppendUint16(out, 0x12), make([]byte, 32)...)
	out = append(le.AppendUint16(out, 11), make([]byte, 32)...)
	log, err := eventlog.Parse(le.AppendUint32(out, 0))
	if err != nil || !slices.Equal(log.Banks, []string{"sha256"}) || len(log.Events[1].Digests) != 1 {
		t.Errorf("log %+v, %v", log, err)
	}
}

func TestAttack_L2_Bounds(t *testing.T) {
	event := func(pcr, typ, count uint32, rest ...byte) []byte {
		out := header(specID03("", 11, 32))
		return append(le.AppendUint32(le.AppendUint32(le.AppendUint32(out, pcr), typ), count), rest...)
	}
	digest := append([]byte{11, 0}, make([]byte, 32)...)
	size := func(n uint32) []byte { return le.AppendUint32(nil, n) }
	for name, log := range map[string][]byte{
		"empty":                    {},
		"one byte":                 {0},
		"too large":                make([]byte, eventlog.MaxSize+1),
		"first event's data":       legacy(nil, 0, eventlog.NoAction, make([]byte, 20), "")[:28],
		"data of 4 GiB":            event(0, 1, 1, append(bytes.Clone(digest), size(0xffffffff)...)...),
		"data of 2 GiB":            event(0, 1, 1, append(bytes.Clone(digest), size(0x80000000)...)...),
		"data one too long":        event(0, 1, 1, append(bytes.Clone(digest), size(1)...)...),
		"4 billion digests":        event(0, 1, 0xffffffff, digest...),
		"no digest":                event(0, 1, 0, size(0)...),
		"digest twice":             event(0, 1, 2, append(append(bytes.Clone(digest), digest...), size(0)...)...),
		"digest not announced":     event(0, 1, 1, append(append([]byte{4, 0}, make([]byte, 20)...), size(0)...)...),
		"digest cut":               event(0, 1, 1, digest[:20]...),
		"PCR 24":                   event(24, 1, 1, append(bytes.Clone(digest), size(0)...)...),
		"trailing bytes":           event(0, 1, 1, append(bytes.Clone(digest), 0, 0, 0, 0, 0xff)...),
		"no algorithms":            header(specID03("")),
		"17 algorithms":            header(specID03("", make([]uint16, 34)...)),
		"algorithm twice":          header(specID03("", 11, 32, 11, 32)),
		"SHA-256 of 20 bytes":      header(specID03("", 11, 20)),
		"algorithm of 0 bytes":     header(specID03("", 0x99, 0)),
		"vendor info too long":     header(specID03("", 11, 32)[:32] + "\xff"),
		"Spec ID Event04":          header("Spec ID Event04\x00" + specID03("", 11, 32)[16:]),
		"Spec ID without NUL":      header("Spec ID Event03x" + specID03("", 11, 32)[16:]),
		"Spec ID cut":              header("Spec ID Event03"),
		"Spec ID with a digest":    legacy(nil, 0, eventlog.NoAction, bytes.Repeat([]byte{1}, 20), specID03("", 11, 32)),
		"Spec ID in PCR 1":         legacy(nil, 1, eventlog.NoAction, make([]byte, 20), specID03("", 11, 32)),
		"more events than allowed": bytes.Repeat(legacy(nil, 0, eventlog.PostCode, make([]byte, 20), ""), eventlog.MaxEvents+1),
	} {
		t.Run(name, func(t *testing.T) {
			if l, err := eventlog.Parse(log); err == nil {
				t.Errorf("parsed: %+v", l)
			}
		})
	}
	if _, err := eventlog.Parse(event(0xffffffff, uint32(eventlog.NoAction), 1, append(bytes.Clone(digest), size(0)...)...)); err != nil {
		t.Errorf("EV_NO_ACTION of PCR 0xffffffff refused: %v", err)
	}
}

// TestAttack_L2_NestedLengths puts hostile lengths into event data.
func TestAttack_L2_NestedLengths(t *testing.T) {
	const guid = "\x61\xdf\xe4\x8b\xca\x93\xd2\x11\xaa\x0d\x00\xe0\x98\x03\x2b\x8c"
	huge := "\xff\xff\xff\xff\xff\xff\xff\xff"
	two := "\x02\x00\x00\x00\x00\x00\x00\x00"
	path := func(nodes string) string {
		return strings.Repeat("\x00", 24) + string(le.AppendUint64(nil, uint64(len(nodes)))) + nodes
	}
	log, err := eventlog.Parse(agile(
		same(7, eventlog.EFIVariableDriverConfig, guid+huge+huge),
		same(7, eventlog.EFIVariableDriverConfig, guid+two+huge+"P\x00K\x00"),
		same(7, eventlog.EFIVariableDriverConfig, guid+huge+two+"P\x00K\x00"),
		same(7, eventlog.EFIVariableAuthority, "short"),
		entry{4, eventlog.EFIBootServicesApplication, "a", strings.Repeat("\x00", 24) + huge},
		entry{4, eventlog.EFIBootServicesApplication, "b", path("\x04\x04\x00\x00")},
		entry{4, eventlog.EFIBootServicesApplication, "c", path("\x04\x04\xff\xff")},
		entry{9, eventlog.EventTag, "d", "\xed\x22\x3b\x8f\xff\xff\xff\xff"},
		entry{8, eventlog.IPL, "e", ""},
	))
	if err != nil {
		t.Fatal(err)
	}
	malformed := 0
	for _, f := range log.Check(log.All()) {
		if f.Kind == eventlog.Malformed && f.PCR == 7 {
			malformed++
		}
	}
	if facts := log.Facts(); malformed != 4 || facts.SecureBoot != nil || len(facts.CommandLines) != 0 {
		t.Errorf("%d malformed, facts %+v", malformed, facts)
	}
}

// TestSignatureListsNeverPassForEmpty: a database that does not parse must not
// look like one without entries.
func TestSignatureListsNeverPassForEmpty(t *testing.T) {
	const global = "\x61\xdf\xe4\x8b\xca\x93\xd2\x11\xaa\x0d\x00\xe0\x98\x03\x2b\x8c"
	variable := func(name, data string) string {
		units := ""
		for _, c := range name {
			units += string(c) + "\x00"
		}
		return global + string(le.AppendUint64(nil, uint64(len(name)))) + string(le.AppendUint64(nil, uint64(len(data)))) + units + data
	}
	head := strings.Repeat("\xa5", 16)
	sizes := func(list, header, entry uint32) string {
		return head + string(le.AppendUint32(le.AppendUint32(le.AppendUint32(nil, list), header), entry))
	}
	for name, db := range map[string]string{
		"short":              "x",
		"list of 4 GiB":      sizes(0xffffffff, 0, 17),
		"list below its own": sizes(27, 0, 17),
		"entry of 0 bytes":   sizes(28+17, 0, 0) + strings.Repeat("x", 17),
		"entry of 16 bytes":  sizes(28+16, 0, 16) + strings.Repeat("x", 16),
		"half an entry":      sizes(28+20, 0, 17) + strings.Repeat("x", 20),
		"header too long":    sizes(28+17, 0xfffffff0, 17) + strings.Repeat("x", 17),
		"trailing":           sizes(28+17, 0, 17) + strings.Repeat("x", 18),
	} {
		t.Run(name, func(t *testing.T) {
			log, err := eventlog.Parse(agile(
				same(7, eventlog.EFIVariableDriverConfig, variable("SecureBoot", "\x01")),
				same(7, eventlog.EFIVariableDriverConfig, variable("PK", db)),
				same(7, eventlog.Separator, "\x00\x00\x00\x00")))
			if err != nil {
				t.Fatal(err)
			}
			s := log.Facts().SecureBoot
			if s == nil || len(s.PK) != 1 || !strings.HasPrefix(s.PK[0], "unparsed:") {
				t.Errorf("Secure Boot %+v", s)
			}
		})
	}
}

// TestSecureBootOnlyByItsOwner: a variable of that name under another GUID, and
// a value that is not one byte of 1, enable nothing.
func TestSecureBootOnlyByItsOwner(t *testing.T) {
	const name = "S\x00e\x00c\x00u\x00r\x00e\x00B\x00o\x00o\x00t\x00"
	const global = "\x61\xdf\xe4\x8b\xca\x93\xd2\x11\xaa\x0d\x00\xe0\x98\x03\x2b\x8c"
	variable := func(guid, value string) eventlog.Facts {
		data := guid + "\x0a\x00\x00\x00\x00\x00\x00\x00" + string(le.AppendUint64(nil, uint64(len(value)))) + name + value
		log, err := eventlog.Parse(agile(same(7, eventlog.EFIVariableDriverConfig, data), same(7, eventlog.Separator, "\x00\x00\x00\x00")))
		if err != nil {
			t.Fatal(err)
		}
		return log.Facts()
	}
	if s := variable(global, "\x01").SecureBoot; s == nil || !s.Enabled {
		t.Errorf("Secure Boot %+v", s)
	}
	for _, value := range []string{"", "\x00", "\x02", "\xff", "\x01\x00"} {
		if s := variable(global, value).SecureBoot; s == nil || s.Enabled {
			t.Errorf("value %x: %+v", value, s)
		}
	}
	if s := variable(strings.Repeat("\x01", 16), "\x01").SecureBoot; s != nil {
		t.Errorf("another owner's variable: %+v", s)
	}
}

func TestCommandLines(t *testing.T) {
	tag := func(id uint32, data string) string {
		return string(le.AppendUint32(le.AppendUint32(nil, id), uint32(len(data)))) + data
	}
	utf16 := "r\x00o\x00"
	log, err := eventlog.Parse(agile(
		entry{8, eventlog.IPL, "/vmlinuz ro", "kernel_cmdline: /vmlinuz ro\x00"},
		entry{8, eventlog.IPL, "linux /vmlinuz", "grub_cmd: linux /vmlinuz\x00"},
		entry{9, eventlog.EventTag, utf16 + "\x00\x00", tag(0x8f3b22ed, "LOADED_IMAGE::LoadOptions\x00")},
		entry{9, eventlog.EventTag, "an initrd", tag(0x8f3b22ec, "Linux initrd")},
		entry{9, eventlog.EventTag, utf16, tag(0x8f3b22ed, utf16+"\x00\x00")},
		same(12, eventlog.IPL, utf16+"\x00\x00"),
		entry{12, eventlog.IPL, "something else", "q\x00u\x00"},
	))
	if err != nil {
		t.Fatal(err)
	}
	type line struct {
		pcr      int
		text     string
		verified bool
	}
	var got []line
	for _, c := range log.Facts().CommandLines {
		got = append(got, line{c.PCR, c.Text, c.Verified})
	}
	want := []line{{8, "/vmlinuz ro", true}, {9, "", false}, {9, "ro", false}, {12, "ro", true}}
	if !slices.Equal(got, want) {
		t.Errorf("command lines %v, want %v", got, want)
	}
}

func TestEventTypeNames(t *testing.T) {
	raw, err := json.Marshal([]eventlog.EventType{eventlog.Separator, eventlog.PostCode2, eventlog.EFIVariableAuthority, 0x14, 0x80009999})
	const want = `["EV_SEPARATOR","EV_POST_CODE2","EV_EFI_VARIABLE_AUTHORITY","EV_0x00000014","EV_0x80009999"]`
	if err != nil || string(raw) != want {
		t.Errorf("%s, %v", raw, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(agile(same(7, eventlog.Separator, "\x00\x00\x00\x00"), entry{4, eventlog.EFIBootServicesApplication, "a", "b"}))
	f.Add(legacy(nil, 4, eventlog.Action, make([]byte, 20), "action"))
	f.Add(header(specID03("v", 4, 20, 11, 32, 12, 48)))
	f.Add(agile(entry{11, eventlog.IPL, ".linux\x00", utf16le(".linux")}, same(5, eventlog.EFIGPTEvent, "EFI PART"),
		same(1, eventlog.EFIVariableBoot, variable(globalGUID, "Boot0001", "\x01\x00\x00\x00\x00\x00\x00\x00")),
		same(7, eventlog.EFIVariableAuthority, variable(securityGUID, "db", "0123456789abcdef0"))))
	f.Fuzz(func(t *testing.T, data []byte) {
		log, err := eventlog.Parse(data)
		if err != nil {
			return
		}
		for bank, pcrs := range log.Replay() {
			for pcr := range pcrs {
				if pcr < 0 || pcr > eventlog.MaxPCR || !slices.Contains(log.Banks, bank) {
					t.Errorf("replayed PCR %d of bank %s", pcr, bank)
				}
			}
		}
		if _, err := json.Marshal(log.Facts()); err != nil {
			t.Error(err)
		}
	})
}
