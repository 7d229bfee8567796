package eventlog_test

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"troth/attest/eventlog"
)

const (
	globalGUID   = "\x61\xdf\xe4\x8b\xca\x93\xd2\x11\xaa\x0d\x00\xe0\x98\x03\x2b\x8c"
	securityGUID = "\xcb\xb2\x19\xd7\x3a\x3d\x96\x45\xa3\xbc\xda\xd0\x0e\x67\x65\x6f"
	shimGUID     = "\x50\xab\x5d\x60\x46\xe0\x00\x43\xab\xb6\x3d\xd8\x10\xdd\x8b\x23"
	x509GUID     = "\xa1\x59\xc0\xa5\xe4\x94\xa7\x4a\x87\xb5\xab\x15\x5c\x2b\xf0\x72"
	sha256GUID   = "\x26\x16\xc4\xc1\x4c\x50\x92\x40\xac\xa9\x41\xf9\x36\x93\x43\x28"
)

func utf16le(s string) string {
	var out []byte
	for _, u := range utf16.Encode([]rune(s)) {
		out = le.AppendUint16(out, u)
	}
	return string(out)
}

func variable(guid, name, data string) string {
	return guid + string(le.AppendUint64(nil, uint64(len(name)))) + string(le.AppendUint64(nil, uint64(len(data)))) + utf16le(name) + data
}

func node(kind, subtype byte, data string) string {
	return string(le.AppendUint16([]byte{kind, subtype}, uint16(4+len(data)))) + data
}

const pathEnd = "\x7f\xff\x04\x00"

// diskPath is a file on the second partition of a SATA disk.
func diskPath(file string) string {
	hd := string(le.AppendUint64(le.AppendUint64(le.AppendUint32(nil, 2), 0x800), 0x32000)) + "0123456789abcdef" + "\x02\x02"
	return node(2, 1, "\xd0\x41\x03\x0a\x00\x00\x00\x00") + node(1, 1, "\x02\x1f") + node(3, 18, "\x00\x00\xff\xff\x00\x00") +
		node(4, 1, hd) + node(4, 4, utf16le(file)+"\x00\x00") + pathEnd
}

const diskText = `PciRoot(0x0)/Pci(0x1F,0x2)/Sata(0x0,0xFFFF,0x0)/HD(2,GPT,33323130-3534-3736-3839-616263646566,0x800,0x32000)/`

func imageLoad(path string) string {
	return strings.Repeat("\x00", 24) + string(le.AppendUint64(nil, uint64(len(path)))) + path
}

func tagged(id uint32, data string) string {
	return string(le.AppendUint32(le.AppendUint32(nil, id), uint32(len(data)))) + data
}

func signatureList(kind string, entries ...string) string {
	size := 16 + len(entries[0])
	out := kind + string(le.AppendUint32(le.AppendUint32(le.AppendUint32(nil, uint32(28+size*len(entries))), 0), uint32(size)))
	for _, e := range entries {
		out += strings.Repeat("o", 16) + e
	}
	return out
}

func factsOf(t *testing.T, entries ...entry) eventlog.Facts {
	t.Helper()
	log, err := eventlog.Parse(agile(entries...))
	if err != nil {
		t.Fatal(err)
	}
	if findings := log.Check(log.All()); len(findings) > 0 {
		t.Errorf("findings %+v", findings)
	}
	return log.Facts()
}

func separators() []entry {
	var out []entry
	for pcr := range uint32(8) {
		out = append(out, same(pcr, eventlog.Separator, "\x00\x00\x00\x00"))
	}
	return out
}

func hash(s string) string {
	d := sha256.Sum256([]byte(s))
	return hex.EncodeToString(d[:])
}

func TestBootFactsOfFirmware(t *testing.T) {
	option := func(description, path string) string {
		return "\x01\x00\x00\x00" + string(le.AppendUint16(nil, uint16(len(path)))) + utf16le(description) + "\x00\x00" + path + "optional"
	}
	ubuntu := option("ubuntu", diskPath(`\EFI\ubuntu\shimx64.efi`))
	gpt := "EFI PART" + strings.Repeat("\x00", 48) + "0123456789abcdef" + strings.Repeat("\x00", 12) + "\x80\x00\x00\x00" +
		"\x00\x00\x00\x00" + string(le.AppendUint64(nil, 1)) +
		strings.Repeat("T", 16) + strings.Repeat("U", 16) + string(le.AppendUint64(le.AppendUint64(nil, 2048), 4095)) + strings.Repeat("\x00", 8) +
		utf16le("EFI System") + strings.Repeat("\x00", 72-20)
	f := factsOf(t, append(separators(),
		entry{1, eventlog.EFIVariableBoot, "\x01\x00\x00\x00", variable(globalGUID, "BootOrder", "\x01\x00\x00\x00")},
		entry{1, eventlog.EFIVariableBoot, ubuntu, variable(globalGUID, "Boot0001", ubuntu)},
		same(1, eventlog.EFIVariableBoot2, variable(globalGUID, "Boot0002", ubuntu)),
		entry{2, eventlog.EFIBootServicesDriver, "a ROM", imageLoad(node(1, 1, "\x00\x03") + node(4, 8, "\x00\x00\x00\x00"+strings.Repeat("\x01", 16)) + pathEnd)},
		entry{4, eventlog.EFIBootServicesApplication, "shim", imageLoad(diskPath(`\EFI\ubuntu\shimx64.efi`))},
		same(5, eventlog.EFIGPTEvent, gpt),
		same(5, eventlog.EFIAction, "Exit Boot Services Invocation"),
		same(5, eventlog.EFIAction, "Exit Boot Services Returned with Success"))...)
	b := f.Boot
	if b == nil || len(b.Variables) != 3 || !slices.Equal(b.Variables[0].Order, []uint16{1, 0}) {
		t.Fatalf("boot %+v", b)
	}
	want := eventlog.BootVariable{Name: "Boot0001", Description: "ubuntu", Device: diskText + `\EFI\ubuntu\shimx64.efi`, Verified: true}
	for i, name := range []string{"Boot0001", "Boot0002"} {
		got := b.Variables[i+1]
		want.Sequence, want.Name, want.NameVerified = got.Sequence, name, i == 1
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("boot variable %+v, want %+v", got, want)
		}
	}
	if len(b.OptionROMs) != 1 || b.OptionROMs[0].Device != "Pci(0x3,0x0)/Offset(0x101010101010101,0x101010101010101)" {
		t.Errorf("option ROMs %+v", b.OptionROMs)
	}
	if l := f.BootLoaders; len(l) != 1 || l[0].Path != `\EFI\ubuntu\shimx64.efi` || l[0].Device != diskText+`\EFI\ubuntu\shimx64.efi` || l[0].Digests.Hex("sha256") != hash("shim") {
		t.Errorf("boot loaders %+v", l)
	}
	again := factsOf(t, append(separators(), same(5, eventlog.EFIGPTEvent2, gpt))...) // of newer firmware
	if again.Boot == nil || !reflect.DeepEqual(again.Boot.GPT, b.GPT) {
		t.Errorf("the newer event tells %+v", again.Boot)
	}
	if g := b.GPT; g == nil || !g.Verified || len(g.Partitions) != 1 || g.Partitions[0].Name != "EFI System" || g.Partitions[0].Last != 4095 {
		t.Errorf("GPT %+v", g)
	}
	if e := b.ExitBootServices; e == nil || *e != (eventlog.ExitBootServices{Invoked: true, Succeeded: true}) {
		t.Errorf("exit %+v", e)
	}
}

func TestAuthoritiesAgainstDB(t *testing.T) {
	const cert, other, vendor = "\x30\x82 a certificate of db", "\x30\x82 another certificate", "\x30\x82 shim's own certificate"
	image := strings.Repeat("\xaa", 32)
	owner := strings.Repeat("o", 16)
	f := factsOf(t, append(separators()[:7],
		same(7, eventlog.EFIVariableDriverConfig, variable(globalGUID, "SecureBoot", "\x01")),
		same(7, eventlog.EFIVariableDriverConfig, variable(securityGUID, "db", signatureList(x509GUID, cert)+signatureList(sha256GUID, image))),
		same(7, eventlog.EFIVariableDriverConfig, variable(securityGUID, "dbx", signatureList(sha256GUID, strings.Repeat("\x01", 32), strings.Repeat("\x02", 32)))),
		same(7, eventlog.Separator, "\x00\x00\x00\x00"),
		same(7, eventlog.EFIVariableAuthority, variable(securityGUID, "db", owner+cert)),
		same(7, eventlog.EFIVariableAuthority, variable(securityGUID, "db", owner+image)),
		same(7, eventlog.EFIVariableAuthority, variable(securityGUID, "db", owner+other)),
		same(7, eventlog.EFIVariableAuthority, variable(shimGUID, "db", owner+cert)),
		same(7, eventlog.EFIVariableAuthority, variable(shimGUID, "Shim", vendor)),
		same(7, eventlog.EFIVariableAuthority, variable(shimGUID, "SbatLevel", "sbat,1,2024010900\nshim,4\n")),
		same(7, eventlog.EFIVariableAuthority, variable(shimGUID, "MokSBState", "\x01")),
		entry{14, eventlog.IPL, "the list's contents", "MokList\x00"})...)
	var got []string
	for _, a := range f.Boot.Authorities {
		got = append(got, fmt.Sprint(a.Variable, " ", a.Fingerprint, " ", a.Verified))
	}
	want := []string{"db " + hash(cert) + " true", "db " + hex.EncodeToString([]byte(image)) + " true", "db " + hash(other) + " false",
		"db " + hash(cert) + " false", "Shim " + hash(vendor) + " false"}
	if !slices.Equal(got, want) {
		t.Errorf("authorities %q, want %q", got, want)
	}
	if s := f.Boot.SBATLevel; s == nil || s.Text != "sbat,1,2024010900\nshim,4\n" || !s.Verified {
		t.Errorf("SBAT level %+v", s)
	}
	if s := f.Boot.Shim; len(s) != 2 || s[0].Name != "MokSBState" || !s[0].Verified || s[1].Name != "MokList" || s[1].Verified || s[1].Digests.Hex("sha256") != hash("the list's contents") {
		t.Errorf("shim %+v", s)
	}
	if s := f.SecureBoot; s.DBXEntries != 2 || s.DBXLatest != strings.Repeat("02", 32) {
		t.Errorf("dbx %+v", s)
	}
}

func TestBootFactsOfLoaders(t *testing.T) {
	name := func(s string) string { return utf16le(s) + "\x00\x00" }
	f := factsOf(t,
		entry{8, eventlog.IPL, "linux /vmlinuz ro", "grub_cmd: linux /vmlinuz ro\x00"},
		entry{8, eventlog.IPL, "/vmlinuz ro", "kernel_cmdline: /vmlinuz ro\x00"},
		entry{8, eventlog.IPL, "what it was", "grub_cmd: what it says\x00"},
		entry{9, eventlog.IPL, "a kernel", "/vmlinuz\x00"},
		entry{9, eventlog.EventTag, "an initrd", tagged(0x8f3b22ec, "Linux initrd\x00")},
		entry{11, eventlog.IPL, ".linux\x00", name(".linux")},
		entry{11, eventlog.IPL, "the kernel", name(".linux")},
		entry{11, eventlog.IPL, "relabelled", name(".initrd")},
		entry{11, eventlog.IPL, ".osrel\x00", name(".osrel")},
		entry{11, eventlog.IPL, "the initrd", name(".initrd")},
		same(12, eventlog.IPL, name("quiet")),
		entry{12, eventlog.IPL, "credentials", name("Credentials initrd")},
		entry{13, eventlog.IPL, "extension", name("System extension initrd")},
		entry{5, eventlog.EventTag, "timeout 3", tagged(0xf5bc582a, name("loader.conf"))},
		same(5, eventlog.Separator, "\x00\x00\x00\x00"))
	if l := f.CommandLines; len(l) != 2 || l[0].Text != "/vmlinuz ro" || l[1].Text != "quiet" || !l[1].Verified {
		t.Errorf("command lines %+v", l)
	}
	c := f.Boot.Commands
	if len(c) != 2 || c[0].Label != "grub_cmd" || c[0].Text != "linux /vmlinuz ro" || !c[0].Verified || c[1].Verified {
		t.Errorf("commands %+v", c)
	}
	named := func(list []eventlog.Named) (out []string) {
		for _, n := range list {
			out = append(out, fmt.Sprint(n.PCR, " ", n.Name, " ", n.Verified))
			if n.Digests.Hex("sha256") == "" {
				t.Errorf("no digest: %+v", n)
			}
		}
		return out
	}
	for what, tt := range map[string]struct{ got, want []string }{
		"files":         {named(f.Boot.Files), []string{"9 /vmlinuz false"}},
		"initrds":       {named(f.Boot.Initrds), []string{"9 Linux initrd false"}},
		"sections":      {named(f.Boot.Sections), []string{"11 .linux true", "11 .initrd false", "11 .initrd false"}},
		"configuration": {named(f.Boot.Configuration), []string{"12 Credentials initrd false", "13 System extension initrd false", "5 loader.conf false"}},
	} {
		if !slices.Equal(tt.got, tt.want) {
			t.Errorf("%s %q, want %q", what, tt.got, tt.want)
		}
	}
}

func TestDevicePaths(t *testing.T) {
	guid := strings.Repeat("\x11", 16)
	const text = "(11111111-1111-1111-1111-111111111111)"
	for want, path := range map[string]string{
		"":                             pathEnd,
		"PcieRoot(0x1)":                node(2, 1, "\xd0\x41\x08\x0a\x01\x00\x00\x00"),
		"Acpi(0x00000001,0x2)":         node(2, 1, "\x01\x00\x00\x00\x02\x00\x00\x00") + pathEnd + "ignored",
		"FvFile" + text + "/Fv" + text: node(4, 6, guid) + node(4, 7, guid),
		"VenHw" + text:                 node(1, 4, guid+"vendor's own"),
		"NVMe(0x1,0203040506070809)":   node(3, 23, "\x01\x00\x00\x00\x02\x03\x04\x05\x06\x07\x08\x09"),
		"USB(0x1,0x0)":                 node(3, 5, "\x01\x00"),
		"Uri(http://boot/x.efi)":       node(3, 24, "http://boot/x.efi"),
		"HD(1,MBR,0x64636261,0x1,0x2)": node(4, 1, "\x01\x00\x00\x00"+"\x01\x00\x00\x00\x00\x00\x00\x00"+"\x02\x00\x00\x00\x00\x00\x00\x00"+"abcdefghijklmnop\x01\x01"),
		"Path(4,1,01)":                 node(4, 1, "\x01"),
		"Path(9,9,ff)":                 node(9, 9, "\xff"),
	} {
		if got, err := eventlog.DevicePath([]byte(path)); err != nil || got != want {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
	for name, path := range map[string]string{
		"short": "\x04\x04\x04", "below its head": "\x04\x04\x03\x00", "no length": "\x04\x04\x00\x00",
		"beyond the end": "\x04\x04\x05\x00", "endless": strings.Repeat(node(1, 1, "\x00\x00"), 65),
	} {
		if got, err := eventlog.DevicePath([]byte(path)); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestAttack_L2_BootFacts puts hostile sizes into what is drawn as facts.
func TestAttack_L2_BootFacts(t *testing.T) {
	gpt := func(size uint32, count uint64) string {
		return "EFI PART" + strings.Repeat("\x00", 76) + string(le.AppendUint32(nil, size)) + "\x00\x00\x00\x00" +
			string(le.AppendUint64(nil, count)) + strings.Repeat("\x00", 128)
	}
	f := factsOf(t, append(separators(),
		same(5, eventlog.EFIGPTEvent, gpt(128, 2)),
		same(5, eventlog.EFIGPTEvent, gpt(0, 1)),
		same(5, eventlog.EFIGPTEvent, gpt(1<<31, 1<<63)),
		same(5, eventlog.EFIGPTEvent, gpt(128, 1<<63)),
		same(5, eventlog.EFIGPTEvent, "EFI PART"),
		same(1, eventlog.EFIVariableBoot, variable(globalGUID, "Boot0001", "\x01\x00\x00\x00\xff\xff\x00\x00")),
		same(1, eventlog.EFIVariableBoot, variable(globalGUID, "Boot0002", "\x01\x00\x00\x00\x00\x00no end")),
		same(1, eventlog.EFIVariableBoot, variable(globalGUID, "Boot0003", "")),
		same(5, eventlog.EventTag, tagged(0xf5bc582a, "")+"x"))...)
	if f.Boot != nil && (f.Boot.GPT != nil || len(f.Boot.Variables) != 0 || len(f.Boot.Configuration) != 0) {
		t.Errorf("facts %+v", f.Boot)
	}
}

// FuzzEventData reaches what is parsed behind a digest that holds: UEFI variables
// and signature lists, load options, partition tables, tagged events, images. The
// facts are never larger than a multiple of the data.
func FuzzEventData(f *testing.F) {
	f.Add(uint32(7), uint32(eventlog.EFIVariableDriverConfig), []byte(variable(securityGUID, "db", signatureList(x509GUID, "a certificate"))))
	f.Add(uint32(7), uint32(eventlog.EFIVariableDriverConfig), []byte(variable(globalGUID, "SecureBoot", "\x01")))
	f.Add(uint32(7), uint32(eventlog.EFIVariableAuthority), []byte(variable(shimGUID, "SbatLevel", "sbat,1\n")))
	f.Add(uint32(1), uint32(eventlog.EFIVariableBoot), []byte(variable(globalGUID, "Boot0001", "\x01\x00\x00\x00\x04\x00a\x00\x00\x00"+pathEnd)))
	f.Add(uint32(1), uint32(eventlog.EFIVariableBoot2), []byte(variable(globalGUID, "BootOrder", "\x01\x00")))
	f.Add(uint32(4), uint32(eventlog.EFIBootServicesApplication), []byte(imageLoad(diskPath(`\EFI\BOOT\BOOTX64.EFI`))))
	f.Add(uint32(5), uint32(eventlog.EFIGPTEvent), []byte("EFI PART"+strings.Repeat("\x00", 84+128)))
	f.Add(uint32(8), uint32(eventlog.IPL), []byte("kernel_cmdline: /vmlinuz\x00"))
	f.Add(uint32(9), uint32(eventlog.EventTag), []byte(tagged(0x8f3b22ec, "Linux initrd")))
	f.Fuzz(func(t *testing.T, pcr, typ uint32, data []byte) {
		log, err := eventlog.Parse(agile(append(separators(), same(pcr, eventlog.EventType(typ), string(data)))...))
		if err != nil {
			return
		}
		facts, err := json.Marshal(log.Facts())
		if err != nil {
			t.Fatal(err)
		}
		if len(facts) > 4096+64*len(data) {
			t.Errorf("%d bytes of data make %d of facts", len(data), len(facts))
		}
	})
}

func FuzzDevicePath(f *testing.F) {
	f.Add([]byte(diskPath(`\EFI\BOOT\BOOTX64.EFI`)))
	f.Add([]byte(node(9, 9, "\xff") + pathEnd))
	f.Fuzz(func(t *testing.T, path []byte) {
		text, err := eventlog.DevicePath(path)
		if err == nil && len(text) > 64+24*len(path) {
			t.Errorf("%d bytes become %d", len(path), len(text))
		}
	})
}

// GRUB of RHEL 8 writes its labels without a colon, and hashes the NUL of a
// command, but not that of a kernel command line.
func TestOlderGRUB(t *testing.T) {
	f := factsOf(t, append(separators(),
		entry{8, eventlog.IPL, "set root=hd1,gpt2\x00", "grub_cmd set root=hd1,gpt2\x00"},
		entry{8, eventlog.IPL, "[ -f a: b ]", "grub_cmd [ -f a: b ]\x00"},
		entry{8, eventlog.IPL, "something else", "grub_cmd insmod xfs\x00"},
		entry{8, eventlog.IPL, "/vmlinuz ro", "grub_kernel_cmdline /vmlinuz ro\x00"})...)
	want := []eventlog.Command{
		{Sequence: 9, Label: "grub_cmd", Text: "set root=hd1,gpt2", Verified: true, Digests: digestsOf("set root=hd1,gpt2\x00")},
		{Sequence: 10, Label: "grub_cmd", Text: "[ -f a: b ]", Verified: true, Digests: digestsOf("[ -f a: b ]")},
		{Sequence: 11, Label: "grub_cmd", Text: "insmod xfs", Digests: digestsOf("something else")},
	}
	if f.Boot == nil || !reflect.DeepEqual(f.Boot.Commands, want) {
		t.Errorf("commands %+v", f.Boot)
	}
	if l := f.CommandLines; len(l) != 1 || l[0].Text != "/vmlinuz ro" || !l[0].Verified {
		t.Errorf("command lines %+v", l)
	}
}

func digestsOf(measured string) eventlog.Digests {
	s1, s256 := sha1.Sum([]byte(measured)), sha256.Sum256([]byte(measured))
	return eventlog.Digests{{Bank: "sha1", Digest: s1[:]}, {Bank: "sha256", Digest: s256[:]}}
}

// Types are not authenticated: whatever an event is relabelled as, what was
// measured stays in sight, or the PCR yields no facts.
func TestAttack_L1_EventsThatHideUnderAnotherType(t *testing.T) {
	hidden := func(pcr uint32, typ eventlog.EventType, data string) []eventlog.Named {
		f := factsOf(t, append(separators(), entry{pcr, typ, "evil", data})...)
		if f.Boot == nil {
			return nil
		}
		return f.Boot.Other
	}
	for _, tt := range []struct {
		pcr uint32
		typ eventlog.EventType
	}{
		{2, eventlog.NonhostCode}, {2, eventlog.EFIPlatformFirmwareBlob},
		{8, eventlog.CompactHash}, {8, eventlog.EventTag}, {9, eventlog.CompactHash}, {9, eventlog.EventTag},
		{9, eventlog.EFIBootServicesApplication}, {10, eventlog.IPL}, {11, eventlog.CompactHash}, {12, eventlog.EventTag}, {12, eventlog.Separator}, {12, eventlog.EFIVariableAuthority}, {14, eventlog.CompactHash},
	} {
		want := []eventlog.Named{{PCR: int(tt.pcr), Sequence: 9, Name: tt.typ.String(), Digests: digestsOf("evil")}}
		data := "nothing to see"
		if tt.typ == eventlog.Separator || tt.typ == eventlog.EFIVariableAuthority {
			data = "evil" // what is checked
		}
		if got := hidden(tt.pcr, tt.typ, data); !reflect.DeepEqual(got, want) {
			t.Errorf("PCR %d, %s: %+v", tt.pcr, tt.typ, got)
		}
	}
}

// The Secure Boot facts are whole or there are none: no variable of theirs can be
// taken out by calling it something else.
func TestAttack_L1_SecureBootVariablesUnderAnotherType(t *testing.T) {
	names := []string{"SecureBoot", "PK", "KEK", "db", "dbx"}
	log := func(relabelled string, typ eventlog.EventType) eventlog.Facts {
		events := separators()[:7]
		for _, name := range names {
			guid, data := globalGUID, signatureList(x509GUID, "\x30\x82 a certificate")
			if strings.HasPrefix(name, "db") {
				guid = securityGUID
			}
			if name == "SecureBoot" {
				data = "\x01"
			}
			e := same(7, eventlog.EFIVariableDriverConfig, variable(guid, name, data))
			if name == relabelled {
				e.typ = typ
			}
			events = append(events, e)
		}
		parsed, err := eventlog.Parse(agile(append(events, same(7, eventlog.Separator, "\x00\x00\x00\x00"))...))
		if err != nil {
			t.Fatal(err)
		}
		return parsed.Facts()
	}
	if log("none", 0).SecureBoot == nil {
		t.Fatal("no facts of a proper log")
	}
	for _, name := range names {
		for _, typ := range []eventlog.EventType{eventlog.EFIVariableAuthority, eventlog.EFISPDMDevicePolicy, eventlog.EFISPDMDeviceAuthority,
			eventlog.EFIAction, eventlog.Separator, eventlog.EventTag, eventlog.EFIVariableBoot, 0x80009999} {
			if f := log(name, typ); f.SecureBoot != nil {
				t.Errorf("%s as %s: %+v", name, typ, f.SecureBoot)
			}
		}
	}
}

func TestDeviceDatabaseIsNoSecureBootFact(t *testing.T) {
	f := factsOf(t, append(separators()[:7],
		same(7, eventlog.EFIVariableDriverConfig, variable(globalGUID, "SecureBoot", "\x01")),
		same(7, eventlog.EFISPDMDevicePolicy, variable(globalGUID, "devdb", "")),
		same(7, eventlog.Separator, "\x00\x00\x00\x00"))...)
	if f.SecureBoot == nil || !f.SecureBoot.Enabled {
		t.Errorf("facts %+v", f)
	}
}

// What firmware measured when it handed over is known by its digest, whatever its
// type says.
func TestExitBootServicesUnderAnotherType(t *testing.T) {
	for _, typ := range []eventlog.EventType{eventlog.EFIAction, eventlog.Action, eventlog.IPL, eventlog.CompactHash} {
		f := factsOf(t, append(separators(), same(5, eventlog.EFIAction, "Exit Boot Services Invocation"),
			same(5, typ, "Exit Boot Services Returned with Failure"))...)
		if f.Boot == nil || f.Boot.ExitBootServices == nil || *f.Boot.ExitBootServices != (eventlog.ExitBootServices{Invoked: true, Failed: true}) {
			t.Errorf("%s: %+v", typ, f.Boot)
		}
	}
}
