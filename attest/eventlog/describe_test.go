package eventlog_test

import (
	"strings"
	"testing"

	"troth/attest/eventlog"
)

// Owners of variables and a signature type, in their wire form.
const (
	wireGlobal = "\x61\xdf\xe4\x8b\xca\x93\xd2\x11\xaa\x0d\x00\xe0\x98\x03\x2b\x8c"
	wireSHA256 = "\x26\x16\xc4\xc1\x4c\x50\x92\x40\xac\xa9\x41\xf9\x36\x93\x43\x28"
)

func TestDescribe(t *testing.T) {
	for want, e := range map[string]eventlog.Event{
		"StartupLocality: the TPM was started from locality 3":               {Type: eventlog.NoAction, Data: []byte("StartupLocality\x00\x03")},
		"StartupLocality: the TPM was started from locality 4":               {Type: eventlog.NoAction, Data: []byte("StartupLocality\x00\x04")},
		"begins a SHA-1 log (Spec ID Event02)":                               {Type: eventlog.NoAction, Data: []byte("Spec ID Event02\x00 and more")},
		"begins a log with several banks (Spec ID Event03)":                  {Type: eventlog.NoAction, Data: []byte("Spec ID Event03\x00")},
		"says where the platform's reference manifest is (SP800-155 Event3)": {Type: eventlog.NoAction, Data: []byte("SP800-155 Event3\x01\x02")},
		"measured into an NV index, not a PCR (NvIndexInstance)":             {Type: eventlog.NoAction, Data: []byte("NvIndexInstance\x00")},
		"component of the hardware's root of trust (H-CRTM CompMeas)":        {Type: eventlog.NoAction, Data: []byte("H-CRTM CompMeas\x00")},
		"HCRTM":                                   {Type: eventlog.EFIHCRTMEvent, Data: []byte("HCRTM")},
		"end of the firmware's part":              {Type: eventlog.Separator, Data: make([]byte, 4)},
		"end of the firmware's part (ones)":       {Type: eventlog.Separator, Data: []byte("\xff\xff\xff\xff")},
		"the firmware met an error":               {Type: eventlog.Separator, Data: []byte("\x01\x00\x00\x00")},
		"SecureBoot = on":                         {Type: eventlog.EFIVariableDriverConfig, Data: []byte(variable(wireGlobal, "SecureBoot", "\x01"))},
		"SecureBoot = off":                        {Type: eventlog.EFIVariableDriverConfig, Data: []byte(variable(wireGlobal, "SecureBoot", "\x00"))},
		"PK: empty":                               {Type: eventlog.EFIVariableDriverConfig, Data: []byte(variable(wireGlobal, "PK", ""))},
		"KEK: 2 entries":                          {Type: eventlog.EFIVariableDriverConfig, Data: []byte(variable(wireGlobal, "KEK", signatureList(wireSHA256, strings.Repeat("a", 32), strings.Repeat("b", 32))))},
		"KEK: does not parse as a signature list": {Type: eventlog.EFIVariableDriverConfig, Data: []byte(variable(wireGlobal, "KEK", "?"))},
		"BootOrder = 0001, 00A0":                  {Type: eventlog.EFIVariableBoot2, Data: []byte(variable(wireGlobal, "BootOrder", "\x01\x00\xa0\x00"))},
		"Setup (3 bytes)":                         {Type: eventlog.EFIVariableDriverConfig, Data: []byte(variable("0123456789abcdef", "Setup", "abc"))},
		"an image that the log does not name":     {Type: eventlog.EFIBootServicesApplication, Data: []byte("?")},
		"4096 bytes of firmware at 0x10000":       {Type: eventlog.EFIPlatformFirmwareBlob, Data: []byte("\x00\x00\x01\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00")},
		"POST CODE":                               {Type: eventlog.EFIPlatformFirmwareBlob2, Data: []byte("\x09POST CODE0123456789abcdef")},
		"SmbiosTable":                             {Type: eventlog.EFIHandoffTables2, Data: []byte("\x0bSmbiosTable0123")},
		"initrd: Linux initrd":                    {Type: eventlog.EventTag, Data: []byte(tagged(0x8f3b22ec, "Linux initrd\x00"))},
		"loader.conf":                             {Type: eventlog.EventTag, Data: []byte(tagged(0xf5bc582a, utf16le("loader.conf\x00")))},
		"tag 0x12345678: what":                    {Type: eventlog.EventTag, Data: []byte(tagged(0x12345678, "what"))},
		"no version":                              {Type: eventlog.SCRTMVersion, Data: []byte{0, 0}},
		"1.0":                                     {Type: eventlog.SCRTMVersion, Data: []byte(utf16le("1.0\x00"))},
		"":                                        {Type: eventlog.CPUMicrocode, Data: []byte{1, 2, 3}},
	} {
		if got := e.Describe(); got != want {
			t.Errorf("%s %q: %q, want %q", e.Type, e.Data, got, want)
		}
	}
}

func TestEventTypesAreNamed(t *testing.T) {
	for typ, want := range map[eventlog.EventType]string{
		0x80000010: "EV_EFI_HCRTM_EVENT", 0x8000000c: "EV_EFI_VARIABLE_BOOT2", 0x8000000d: "EV_EFI_GPT_EVENT2",
		0x8000000a: "EV_EFI_PLATFORM_FIRMWARE_BLOB2", 0x8000000b: "EV_EFI_HANDOFF_TABLES2", 0x800000e0: "EV_EFI_VARIABLE_AUTHORITY",
		0x800000e1: "EV_EFI_SPDM_FIRMWARE_BLOB", 0x800000e2: "EV_EFI_SPDM_FIRMWARE_CONFIG", 0x800000e3: "EV_EFI_SPDM_DEVICE_POLICY",
		0x800000e4: "EV_EFI_SPDM_DEVICE_AUTHORITY", 0x13: "EV_POST_CODE2", 0x80000017: "EV_0x80000017",
	} {
		if got := typ.String(); got != want {
			t.Errorf("0x%08x is %s, want %s", uint32(typ), got, want)
		}
	}
}

func TestKeys(t *testing.T) {
	keys, err := eventlog.Keys([]byte(signatureList(wireSHA256, strings.Repeat("a", 32)) + signatureList("0123456789abcdef", "?")))
	if err != nil || len(keys) != 2 {
		t.Fatalf("keys %+v, %v", keys, err)
	}
	if keys[0].Kind != "sha256" || keys[0].Fingerprint != strings.Repeat("61", 32) || keys[0].Owner == "" || keys[0].Subject != "" {
		t.Errorf("a hash: %+v", keys[0])
	}
	if keys[1].Kind != "33323130-3534-3736-3839-616263646566" || len(keys[1].Fingerprint) != 64 {
		t.Errorf("another kind: %+v", keys[1])
	}
	if _, err := eventlog.Keys([]byte("?")); err == nil {
		t.Error("no signature list is accepted")
	}
}

func FuzzDescribe(f *testing.F) {
	f.Add(uint32(eventlog.EFIVariableDriverConfig), []byte(variable(wireGlobal, "KEK", signatureList(wireSHA256, strings.Repeat("a", 32)))))
	f.Add(uint32(eventlog.EFIBootServicesApplication), []byte(imageLoad(diskPath(`\EFI\BOOT\BOOTX64.EFI`))))
	f.Add(uint32(eventlog.EventTag), []byte(tagged(0x8f3b22ec, "Linux initrd\x00")))
	f.Add(uint32(eventlog.NoAction), []byte("StartupLocality\x00\x03"))
	f.Fuzz(func(t *testing.T, typ uint32, data []byte) {
		e := eventlog.Event{Type: eventlog.EventType(typ), Data: data}
		if said := e.Describe(); len(said) > 64*len(data)+256 {
			t.Errorf("%d bytes say %d", len(data), len(said))
		}
	})
}
