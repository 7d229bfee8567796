package eventlog

import (
	"encoding/binary"
	"strings"
)

// imagePath gives the file path in the device path of an EFI_IMAGE_LOAD_EVENT
// (PFP section 10.4.2.3; UEFI 2.10 section 10.3.4.4); empty where there is none
// or the data is not well-formed. Nothing vouches for it.
func imagePath(e Event) string {
	switch e.Type {
	case EFIBootServicesApplication, EFIBootServicesDriver:
	default:
		return ""
	}
	r := &reader{b: e.Data}
	r.take(24) // location in memory, length in memory, link-time address
	size := r.u64()
	if r.err != nil || size > uint64(r.len()) {
		return ""
	}
	var parts []string
	path := r.take(int(size)) //nolint:gosec // at most what remains, checked above
	for len(path) >= 4 {
		kind, subtype := path[0], path[1]
		length := int(binary.LittleEndian.Uint16(path[2:]))
		if length < 4 || length > len(path) || kind == 0x7f {
			break
		}
		if kind == 4 && subtype == 4 { // media, file path
			parts = append(parts, utf16Text(path[4:length]))
		}
		path = path[length:]
	}
	return strings.Join(parts, `\`)
}
