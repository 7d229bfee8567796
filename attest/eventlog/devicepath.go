package eventlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// maxPathNodes bounds a device path; real ones have about ten nodes.
const maxPathNodes = 64

// DevicePath writes an EFI device path as text, in the forms of UEFI 2.10
// section 10.6, "PciRoot(0x0)/Pci(0x1F,0x2)/Sata(0x0,0xFFFF,0x0)/HD(…)/\EFI\….EFI".
// Nodes that it does not know are Path(type,subtype,hex). File names are hostile
// text. Malformed and overlong paths are an error. Nothing vouches for a path.
func DevicePath(path []byte) (string, error) {
	nodes, err := pathNodes(path)
	if err != nil {
		return "", err
	}
	return pathText(nodes), nil
}

func pathText(nodes []pathNode) string {
	text := make([]string, 0, len(nodes))
	for _, n := range nodes {
		text = append(text, n.text())
	}
	return strings.Join(text, "/")
}

type pathNode struct {
	kind, subtype byte
	data          []byte
}

// pathNodes splits a device path up to the node that ends it, or the end of the
// bytes: some firmware logs paths without an end node.
func pathNodes(path []byte) ([]pathNode, error) {
	var out []pathNode
	for len(path) > 0 {
		if len(path) < 4 {
			return nil, errShort
		}
		kind, subtype := path[0], path[1]
		length := int(binary.LittleEndian.Uint16(path[2:]))
		switch {
		case length < 4 || length > len(path):
			return nil, errors.New("device path node exceeds the path")
		case kind == 0x7f:
			return out, nil
		case len(out) >= maxPathNodes:
			return nil, fmt.Errorf("device path of more than %d nodes", maxPathNodes)
		}
		out = append(out, pathNode{kind, subtype, path[4:length]})
		path = path[length:]
	}
	return out, nil
}

// isFile: media device path, file path (UEFI 2.10 section 10.3.4.4).
func (n pathNode) isFile() bool { return n.kind == 4 && n.subtype == 4 }

func (n pathNode) text() string {
	r := &reader{b: n.data}
	var s string
	switch n.kind {
	case 1:
		s = hardwareNode(n.subtype, r)
	case 2:
		s = acpiNode(n.subtype, r)
	case 3:
		s = messagingNode(n.subtype, r)
	case 4:
		s = mediaNode(n, r)
	case 5:
		if n.subtype == 1 {
			s = numbered("BBS", uint64(r.u16()))
		}
	}
	if s == "" || r.err != nil {
		return fmt.Sprintf("Path(%d,%d,%x)", n.kind, n.subtype, n.data)
	}
	return s
}

func hardwareNode(subtype byte, r *reader) string {
	switch subtype {
	case 1:
		function, device := r.u8(), r.u8()
		return numbered("Pci", uint64(device), uint64(function))
	case 3:
		return numbered("MemoryMapped", uint64(r.u32()), r.u64(), r.u64())
	case 4:
		return guidNode("VenHw", r)
	}
	return ""
}

func acpiNode(subtype byte, r *reader) string {
	if subtype != 1 {
		return ""
	}
	hid, uid := r.u32(), r.u32()
	switch hid { // compressed EISA ids PNP0A03 and PNP0A08
	case 0x0a0341d0:
		return numbered("PciRoot", uint64(uid))
	case 0x0a0841d0:
		return numbered("PcieRoot", uint64(uid))
	}
	return fmt.Sprintf("Acpi(0x%08X,0x%X)", hid, uid)
}

func messagingNode(subtype byte, r *reader) string {
	switch subtype {
	case 1:
		return numbered("Ata", uint64(r.u8()), uint64(r.u8()), uint64(r.u16()))
	case 2:
		return numbered("Scsi", uint64(r.u16()), uint64(r.u16()))
	case 5:
		return numbered("USB", uint64(r.u8()), uint64(r.u8()))
	case 10:
		return guidNode("VenMsg", r)
	case 11:
		return fmt.Sprintf("MAC(%x)", r.take(6))
	case 12:
		return "IPv4()"
	case 13:
		return "IPv6()"
	case 18:
		return numbered("Sata", uint64(r.u16()), uint64(r.u16()), uint64(r.u16()))
	case 23:
		return fmt.Sprintf("NVMe(0x%X,%x)", r.u32(), r.take(8))
	case 24:
		return "Uri(" + text(r.take(r.len())) + ")"
	case 26:
		return numbered("SD", uint64(r.u8()))
	case 29:
		return numbered("eMMC", uint64(r.u8()))
	}
	return ""
}

func mediaNode(n pathNode, r *reader) string {
	switch n.subtype {
	case 1:
		return hardDriveNode(r)
	case 2:
		return numbered("CDROM", uint64(r.u32()), r.u64(), r.u64())
	case 3:
		return guidNode("VenMedia", r)
	case 4:
		return utf16Text(n.data)
	case 6:
		return guidNode("FvFile", r)
	case 7:
		return guidNode("Fv", r)
	case 8:
		r.u32()
		return numbered("Offset", r.u64(), r.u64())
	}
	return ""
}

// hardDriveNode: signature type 1 is an MBR's, 2 a GPT partition's GUID.
func hardDriveNode(r *reader) string {
	partition, start, size := r.u32(), r.u64(), r.u64()
	signature := r.take(16)
	_, kind := r.u8(), r.u8()
	switch {
	case r.err != nil:
		return ""
	case kind == 1:
		return fmt.Sprintf("HD(%d,MBR,0x%08X,0x%X,0x%X)", partition, binary.LittleEndian.Uint32(signature), start, size)
	case kind == 2:
		return numbered("HD("+strconv.FormatUint(uint64(partition), 10)+",GPT,"+formatGUID(signature)+",", start, size)
	}
	return fmt.Sprintf("HD(%d,%d,0,0x%X,0x%X)", partition, kind, start, size)
}

// numbered writes numbers in the form of UEFI 2.10 section 10.6, "Pci(0x1F,0x2)". A
// name that has its bracket and first values already is continued.
func numbered(name string, numbers ...uint64) string {
	out := make([]byte, 0, 96)
	out = append(out, name...)
	if !strings.HasSuffix(name, ",") {
		out = append(out, '(')
	}
	for i, n := range numbers {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, "0x"...)
		at := len(out)
		out = strconv.AppendUint(out, n, 16)
		for ; at < len(out); at++ {
			if out[at] >= 'a' {
				out[at] -= 'a' - 'A'
			}
		}
	}
	return string(append(out, ')'))
}

func guidNode(name string, r *reader) string {
	guid := r.take(16)
	if r.err != nil {
		return ""
	}
	return name + "(" + formatGUID(guid) + ")"
}

// imagePaths gives the file path and the whole device path of an
// EFI_IMAGE_LOAD_EVENT (PFP section 10.4.2.3); empty where there is none or the
// data is not well-formed.
func imagePaths(e Event) (file, device string) {
	switch e.Type {
	case EFIBootServicesApplication, EFIBootServicesDriver, EFIRuntimeServicesDriver:
	default:
		return "", ""
	}
	r := &reader{b: e.Data}
	r.take(24) // location in memory, length in memory, link-time address
	size := r.u64()
	if r.err != nil || size > uint64(r.len()) {
		return "", ""
	}
	path := r.take(int(size)) //nolint:gosec // at most what remains, checked above
	nodes, err := pathNodes(path)
	if err != nil {
		return "", ""
	}
	var parts []string
	for _, n := range nodes {
		if n.isFile() {
			parts = append(parts, utf16Text(n.data))
		}
	}
	return strings.Join(parts, `\`), pathText(nodes)
}
