package eventlog

import (
	"fmt"
	"slices"
)

// EventType is a TCG event type (PFP section 10.4.1, table "Events"). It is not
// covered by any digest.
type EventType uint32

// Event types of the PC Client Platform Firmware Profile.
const (
	PrebootCert         EventType = 0x00000000
	PostCode            EventType = 0x00000001
	Unused              EventType = 0x00000002
	NoAction            EventType = 0x00000003
	Separator           EventType = 0x00000004
	Action              EventType = 0x00000005
	EventTag            EventType = 0x00000006
	SCRTMContents       EventType = 0x00000007
	SCRTMVersion        EventType = 0x00000008
	CPUMicrocode        EventType = 0x00000009
	PlatformConfigFlags EventType = 0x0000000a
	TableOfDevices      EventType = 0x0000000b
	CompactHash         EventType = 0x0000000c
	IPL                 EventType = 0x0000000d
	IPLPartitionData    EventType = 0x0000000e
	NonhostCode         EventType = 0x0000000f
	NonhostConfig       EventType = 0x00000010
	NonhostInfo         EventType = 0x00000011
	OmitBootDevice      EventType = 0x00000012
	PostCode2           EventType = 0x00000013

	EFIVariableDriverConfig    EventType = 0x80000001
	EFIVariableBoot            EventType = 0x80000002
	EFIBootServicesApplication EventType = 0x80000003
	EFIBootServicesDriver      EventType = 0x80000004
	EFIRuntimeServicesDriver   EventType = 0x80000005
	EFIGPTEvent                EventType = 0x80000006
	EFIAction                  EventType = 0x80000007
	EFIPlatformFirmwareBlob    EventType = 0x80000008
	EFIHandoffTables           EventType = 0x80000009
	EFIPlatformFirmwareBlob2   EventType = 0x8000000a
	EFIHandoffTables2          EventType = 0x8000000b
	EFIVariableBoot2           EventType = 0x8000000c
	EFIGPTEvent2               EventType = 0x8000000d
	EFIHCRTMEvent              EventType = 0x80000010
	EFIVariableAuthority       EventType = 0x800000e0
	EFISPDMFirmwareBlob        EventType = 0x800000e1
	EFISPDMFirmwareConfig      EventType = 0x800000e2
	EFISPDMDevicePolicy        EventType = 0x800000e3
	EFISPDMDeviceAuthority     EventType = 0x800000e4
)

// String gives the profile's own name, or EV_0x… for a type it does not define.
func (t EventType) String() string {
	if name := typeName(t); name != "" {
		return name
	}
	return fmt.Sprintf("EV_0x%08x", uint32(t))
}

// MarshalText writes the profile's name, so that JSON shows it.
func (t EventType) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

func typeName(t EventType) string {
	if t < 0x80000000 {
		return biosTypeName(t)
	}
	return efiTypeName(t)
}

func biosTypeName(t EventType) string {
	names := [...]string{
		"EV_PREBOOT_CERT", "EV_POST_CODE", "EV_UNUSED", "EV_NO_ACTION", "EV_SEPARATOR",
		"EV_ACTION", "EV_EVENT_TAG", "EV_S_CRTM_CONTENTS", "EV_S_CRTM_VERSION",
		"EV_CPU_MICROCODE", "EV_PLATFORM_CONFIG_FLAGS", "EV_TABLE_OF_DEVICES",
		"EV_COMPACT_HASH", "EV_IPL", "EV_IPL_PARTITION_DATA", "EV_NONHOST_CODE",
		"EV_NONHOST_CONFIG", "EV_NONHOST_INFO", "EV_OMIT_BOOT_DEVICE_EVENTS", "EV_POST_CODE2",
	}
	if int64(t) < int64(len(names)) {
		return names[t]
	}
	return ""
}

func efiTypeName(t EventType) string {
	switch t {
	case EFIVariableDriverConfig:
		return "EV_EFI_VARIABLE_DRIVER_CONFIG"
	case EFIVariableBoot:
		return "EV_EFI_VARIABLE_BOOT"
	case EFIBootServicesApplication:
		return "EV_EFI_BOOT_SERVICES_APPLICATION"
	case EFIBootServicesDriver:
		return "EV_EFI_BOOT_SERVICES_DRIVER"
	case EFIRuntimeServicesDriver:
		return "EV_EFI_RUNTIME_SERVICES_DRIVER"
	case EFIGPTEvent:
		return "EV_EFI_GPT_EVENT"
	case EFIAction:
		return "EV_EFI_ACTION"
	case EFIPlatformFirmwareBlob:
		return "EV_EFI_PLATFORM_FIRMWARE_BLOB"
	case EFIHandoffTables:
		return "EV_EFI_HANDOFF_TABLES"
	case EFIPlatformFirmwareBlob2:
		return "EV_EFI_PLATFORM_FIRMWARE_BLOB2"
	case EFIHandoffTables2:
		return "EV_EFI_HANDOFF_TABLES2"
	case EFIVariableBoot2:
		return "EV_EFI_VARIABLE_BOOT2"
	case EFIGPTEvent2:
		return "EV_EFI_GPT_EVENT2"
	case EFIHCRTMEvent:
		return "EV_EFI_HCRTM_EVENT"
	case EFIVariableAuthority:
		return "EV_EFI_VARIABLE_AUTHORITY"
	case EFISPDMFirmwareBlob:
		return "EV_EFI_SPDM_FIRMWARE_BLOB"
	case EFISPDMFirmwareConfig:
		return "EV_EFI_SPDM_FIRMWARE_CONFIG"
	case EFISPDMDevicePolicy:
		return "EV_EFI_SPDM_DEVICE_POLICY"
	case EFISPDMDeviceAuthority:
		return "EV_EFI_SPDM_DEVICE_AUTHORITY"
	}
	return ""
}

// allowedIn says whether the profile lets an event of type t be extended into
// pcr (PFP section 3.3.4 and table "Events"; PCR 8 and up belong to the boot
// loader and the operating system, which use the generic types).
func allowedIn(pcr int, t EventType) bool {
	switch t {
	case Separator:
		return pcr <= 15
	case Action, EFIAction:
		return pcr >= 1 && pcr <= 15
	case EventTag, CompactHash:
		return pcr != 7 && !(t == CompactHash && pcr < 4)
	}
	return ownTypeOf(pcr, t)
}

// ownTypeOf says whether t is one of the types that the profile gives pcr.
func ownTypeOf(pcr int, t EventType) bool {
	switch pcr {
	case 0:
		return is(t, PostCode, PostCode2, SCRTMContents, SCRTMVersion, NonhostCode, NonhostInfo,
			EFIPlatformFirmwareBlob, EFIPlatformFirmwareBlob2, EFIBootServicesDriver,
			EFIRuntimeServicesDriver, EFIHCRTMEvent)
	case 1:
		return is(t, CPUMicrocode, PlatformConfigFlags, TableOfDevices, NonhostConfig,
			EFIVariableDriverConfig, EFIVariableBoot, EFIVariableBoot2, EFIHandoffTables, EFIHandoffTables2)
	case 2:
		return is(t, NonhostCode, EFIPlatformFirmwareBlob, EFIPlatformFirmwareBlob2,
			EFIBootServicesApplication, EFIBootServicesDriver, EFIRuntimeServicesDriver, EFISPDMFirmwareBlob)
	case 3:
		return is(t, NonhostConfig, EFIVariableDriverConfig, EFISPDMFirmwareConfig)
	case 4:
		return is(t, IPL, OmitBootDevice, EFIBootServicesApplication, EFIBootServicesDriver,
			EFIPlatformFirmwareBlob, EFIPlatformFirmwareBlob2)
	case 5:
		return is(t, IPL, IPLPartitionData, EFIGPTEvent, EFIGPTEvent2, EFIVariableBoot,
			EFIVariableBoot2, EFIVariableDriverConfig)
	case 7:
		return is(t, EFIVariableDriverConfig, EFIVariableAuthority, EFISPDMDevicePolicy, EFISPDMDeviceAuthority)
	}
	return pcr >= 8 && is(t, IPL, EFIBootServicesApplication, EFIVariableAuthority, EFIVariableDriverConfig)
}

// is does not keep its list, which so costs no allocation.
func is(t EventType, list ...EventType) bool { return slices.Contains(list, t) }
