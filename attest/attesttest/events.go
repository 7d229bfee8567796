package attesttest

import (
	"encoding/binary"
	"unicode/utf16"
)

// Event types (TCG PC Client PFP 1.06, 10.4.1).
const (
	evNoAction                   = 0x00000003
	evSeparator                  = 0x00000004
	evSCRTMVersion               = 0x00000008
	evIPL                        = 0x0000000d
	evEFIVariableDriverConfig    = 0x80000001
	evEFIBootServicesApplication = 0x80000003
	evEFIAction                  = 0x80000007
	evEFIPlatformFirmwareBlob    = 0x80000008
	evEFIVariableAuthority       = 0x800000e0
)

// event is one measurement: the digests of measured are extended, data is
// logged.
type event struct {
	pcr      int
	kind     uint32
	measured []byte
	data     []byte
}

// plain is an event whose data is what is measured.
func plain(pcr int, kind uint32, data []byte) event { return event{pcr, kind, data, data} }

// events lists what firmware, boot loader and kernel measure, in order.
func events(p Platform, i Image) []event {
	list := []event{
		plain(0, evSCRTMVersion, utf16z(p.SCRTMVersion)),
		{0, evEFIPlatformFirmwareBlob, p.Firmware, firmwareBlob(p.Firmware)},
	}
	enabled := []byte{0}
	if p.SecureBoot {
		enabled[0] = 1
	}
	for _, v := range []struct {
		vendor [16]byte
		name   string
		data   []byte
	}{
		{guidGlobalVariable, "SecureBoot", enabled},
		{guidGlobalVariable, "PK", p.PK},
		{guidGlobalVariable, "KEK", p.KEK},
		{guidImageSecurity, "db", p.DB},
		{guidImageSecurity, "dbx", p.DBX},
	} {
		list = append(list, plain(7, evEFIVariableDriverConfig, variable(v.vendor, v.name, v.data)))
	}
	separator := make([]byte, 4)
	list = append(list,
		plain(7, evSeparator, separator),
		plain(4, evEFIAction, []byte("Calling EFI Application from Boot Option")))
	for pcr := range 7 {
		list = append(list, plain(pcr, evSeparator, separator))
	}
	if p.SecureBoot {
		list = append(list, plain(7, evEFIVariableAuthority, variable(guidImageSecurity, "db", p.Authority)))
	}
	// GRUB logs a description that ends in NUL and measures what it describes.
	cmdline := "/vmlinuz " + i.CommandLine
	return append(list,
		event{4, evEFIBootServicesApplication, i.BootLoader, imageLoad(i.BootLoader)},
		event{9, evIPL, i.Kernel, []byte("/vmlinuz\x00")},
		event{8, evIPL, []byte(cmdline), []byte("kernel_cmdline: " + cmdline + "\x00")},
		plain(5, evEFIAction, []byte("Exit Boot Services Invocation")),
		plain(5, evEFIAction, []byte("Exit Boot Services Returned with Success")))
}

// variable is a UEFI_VARIABLE_DATA (PFP 10.2.6).
func variable(vendor [16]byte, name string, data []byte) []byte {
	units := utf16.Encode([]rune(name))
	out := vendor[:]
	out = binary.LittleEndian.AppendUint64(out, uint64(len(units)))
	out = binary.LittleEndian.AppendUint64(out, uint64(len(data)))
	out = appendUTF16(out, units)
	return append(out, data...)
}

// firmwareBlob is a UEFI_PLATFORM_FIRMWARE_BLOB (PFP 10.2.5): where in memory
// the blob was, and its length.
func firmwareBlob(blob []byte) []byte {
	out := binary.LittleEndian.AppendUint64(nil, 0xffc84000)
	return binary.LittleEndian.AppendUint64(out, uint64(len(blob)))
}

// imageLoad is a UEFI_IMAGE_LOAD_EVENT (PFP 10.2.3) for the removable media
// path of the first GPT partition.
func imageLoad(image []byte) []byte {
	path := devicePath()
	var out []byte
	for _, v := range []uint64{0x7e0f1000, uint64(len(image)), 0, uint64(len(path))} {
		out = binary.LittleEndian.AppendUint64(out, v)
	}
	return append(out, path...)
}

// devicePath is HD(1,GPT,…)/\EFI\BOOT\BOOTX64.EFI (UEFI 2.10, 10.3.5).
func devicePath() []byte {
	disk := []byte{4, 1, 42, 0}
	disk = binary.LittleEndian.AppendUint32(disk, 1)
	disk = binary.LittleEndian.AppendUint64(disk, 2048)
	disk = binary.LittleEndian.AppendUint64(disk, 1<<20)
	disk = append(disk, guidOwner[:]...)
	disk = append(disk, 2, 2) // a GPT, and a GUID as its signature
	name := utf16z(`\EFI\BOOT\BOOTX64.EFI`)
	file := []byte{4, 4}
	file = binary.LittleEndian.AppendUint16(file, uint16(4+len(name)))
	file = append(file, name...)
	end := []byte{0x7f, 0xff, 4, 0}
	return append(append(disk, file...), end...)
}

func utf16z(s string) []byte { return appendUTF16(nil, append(utf16.Encode([]rune(s)), 0)) }

func appendUTF16(out []byte, units []uint16) []byte {
	for _, u := range units {
		out = binary.LittleEndian.AppendUint16(out, u)
	}
	return out
}
