package eventlog

import (
	"bytes"
	"fmt"
	"strings"
)

// Describe says in one line what an event's data tells, for people. It is empty
// where the data tells nothing. The text is hostile, and only claimed unless the
// event is Recomputed.
func (e Event) Describe() string {
	switch e.Type {
	case NoAction:
		return describeNoAction(e.Data)
	case Separator:
		return describeSeparator(e.Data)
	case EFIVariableDriverConfig, EFIVariableBoot, EFIVariableBoot2, EFIVariableAuthority, EFISPDMDevicePolicy, EFISPDMDeviceAuthority:
		return describeVariable(e)
	case EFIBootServicesApplication, EFIBootServicesDriver, EFIRuntimeServicesDriver:
		return describeImage(e)
	case EFIGPTEvent, EFIGPTEvent2:
		if table, err := parseGPT(e.Data); err == nil {
			return "disk " + table.DiskGUID + ", " + counted(len(table.Partitions), "partition", "partitions")
		}
		return ""
	case EFIPlatformFirmwareBlob:
		return describeBlob(e.Data)
	case EFIPlatformFirmwareBlob2, EFIHandoffTables2:
		return describeSized(e.Data)
	case EventTag:
		return describeTag(e.Data)
	case SCRTMVersion:
		return first(describeText(e.Data, text(e.Data)), "no version")
	case EFIHCRTMEvent:
		return first(describeText(e.Data, text(e.Data)), "the hardware's root of trust")
	}
	return describeText(e.Data, text(e.Data))
}

// describeText shows data only where it can be text.
func describeText(data []byte, t string) string {
	if strings.ContainsFunc(t, func(r rune) bool { return r < 0x20 && r != '\t' && r != '\n' || r == 0xfffd }) || len(bytes.Trim(data, "\x00")) == 0 {
		return ""
	}
	return t
}

// describeNoAction names what extends nothing (PFP section 10.4.5).
func describeNoAction(data []byte) string {
	signature := data[:min(len(data), specIDSize)]
	name, _, _ := strings.Cut(string(signature), "\x00")
	switch name {
	case "Spec ID Event03":
		return "begins a log with several banks (Spec ID Event03)"
	case "Spec ID Event02", "Spec ID Event00":
		return "begins a SHA-1 log (" + name + ")"
	case "StartupLocality":
		if len(data) == specIDSize+1 {
			return fmt.Sprintf("StartupLocality: the TPM was started from locality %d", data[specIDSize])
		}
	case "H-CRTM CompMeas":
		return "component of the hardware's root of trust (H-CRTM CompMeas)"
	case "SP800-155 Event", "SP800-155 Event2", "SP800-155 Event3":
		return "says where the platform's reference manifest is (" + name + ")"
	case "NvIndexInstance", "NvIndexDynamic":
		return "measured into an NV index, not a PCR (" + name + ")"
	}
	return describeText([]byte(name), name)
}

func describeSeparator(data []byte) string {
	switch {
	case isZero(data) && len(data) == 4:
		return "end of the firmware's part"
	case bytes.Equal(data, []byte{0xff, 0xff, 0xff, 0xff}):
		return "end of the firmware's part (ones)"
	case bytes.Equal(data, []byte{1, 0, 0, 0}):
		return "the firmware met an error"
	}
	return describeText(data, text(data))
}

func describeVariable(e Event) string {
	v, err := e.Variable()
	if err != nil {
		return ""
	}
	switch {
	case e.Type == EFIVariableAuthority || e.Type == EFISPDMDeviceAuthority:
		return describeAuthority(v)
	case v.Name == "SecureBoot" && v.GUID == guidGlobal:
		if len(v.Data) == 1 && v.Data[0] == 1 {
			return "SecureBoot = on"
		}
		return "SecureBoot = off"
	case isSecureBootVariable(v):
		return v.Name + ": " + describeKeys(v.Data)
	case v.Name == "BootOrder" && v.GUID == guidGlobal:
		var order []string
		for i := 0; i+1 < len(v.Data); i += 2 {
			order = append(order, fmt.Sprintf("%02X%02X", v.Data[i+1], v.Data[i]))
		}
		return "BootOrder = " + strings.Join(order, ", ")
	case strings.HasPrefix(v.Name, "Boot") && v.GUID == guidGlobal:
		if description, device, err := loadOption(v.Data); err == nil {
			return fmt.Sprintf("%s = %q %s", v.Name, description, device)
		}
	}
	return fmt.Sprintf("%s (%d bytes)", v.Name, len(v.Data))
}

func describeKeys(db []byte) string {
	keys, err := Keys(db)
	if err != nil {
		return "does not parse as a signature list"
	}
	if len(keys) == 0 {
		return "empty"
	}
	said := counted(len(keys), "entry", "entries")
	var subjects []string
	for _, k := range keys {
		if k.Subject != "" {
			subjects = append(subjects, k.Subject)
		}
	}
	if len(subjects) == 0 {
		return said
	}
	return said + ": " + strings.Join(subjects, "; ")
}

func describeAuthority(v Variable) string {
	if v.GUID == guidShimLock && (v.Name == "SbatLevel" || v.Name == "SbatLevelRT") {
		return v.Name + ": " + strings.ReplaceAll(strings.TrimSpace(text(v.Data)), "\n", "; ")
	}
	if len(v.Data) == 1 {
		return fmt.Sprintf("%s = %d", v.Name, v.Data[0])
	}
	if subject := authoritySubject(v.Data); subject != "" {
		return fmt.Sprintf("verified by an entry of %s: %s", v.Name, subject)
	}
	return fmt.Sprintf("verified by an entry of %s: %s", v.Name, authorityFingerprint(v.Data))
}

func describeImage(e Event) string {
	file, device := imagePaths(e)
	switch {
	case device != "":
		return device
	case file != "":
		return file
	}
	return "an image that the log does not name"
}

// describeBlob reads a UEFI_PLATFORM_FIRMWARE_BLOB (PFP section 10.4.2.4).
func describeBlob(data []byte) string {
	if len(data) != 16 {
		return describeText(data, text(data))
	}
	r := &reader{b: data}
	return fmt.Sprintf("%[2]d bytes of firmware at 0x%[1]x", r.u64(), r.u64())
}

// describeSized reads the description that begins the second forms of firmware
// blobs and handoff tables.
func describeSized(data []byte) string {
	r := &reader{b: data}
	description := r.take(int(r.u8()))
	if r.err != nil {
		return ""
	}
	return describeText(description, text(description))
}

func describeTag(data []byte) string {
	id, tagged, ok := taggedEvent(data)
	if !ok {
		return ""
	}
	name := systemdTag(id)
	switch id {
	case eventTagInitrd:
		name = "initrd"
	case eventTagLoadOptions:
		name = "command line"
	}
	if name == "" {
		name = fmt.Sprintf("tag 0x%08x", id)
	}
	if t := describeText(tagged, text(tagged)); t != "" && t != name {
		return name + ": " + t
	}
	return name
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
