package reference

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// maxSections is what the loaders of Windows and systemd accept.
const maxSections = 96

// Offsets and sizes of the PE format.
const (
	lfanewAt           = 0x3c // in the DOS header: where the PE header is
	peHeaderSize       = 4 + 20
	sectionHeaderSize  = 40
	checksumAt         = 64 // in the optional header
	headersSizeAt      = 60
	magicPE32          = 0x10b
	magicPE32Plus      = 0x20b
	directoriesPE32    = 96 // in the optional header
	directoriesPE32Plu = 112
	securityDirectory  = 4
)

// peImage is a parsed PE/COFF image. It aliases the bytes that it was read from.
type peImage struct {
	data         []byte
	checksum     int // offset of the four bytes that are not hashed
	certificates int // offset of the directory entry that is not hashed; 0: there is none
	headers      int // size of all headers
	table        int // size of the certificate table at the end of the file
	hashed       int // bytes of headers and sections
	sections     []section
}

// section is a section as it stands in memory: raw, and zeros after it.
type section struct {
	name   string
	offset int
	size   int // in the file
	raw    []byte
	zeros  int
}

// parsePE reads the headers of a PE32 or PE32+ image. Whatever a field says, it
// reads within data and allocates for at most 96 sections.
func parsePE(data []byte) (*peImage, error) {
	if len(data) < lfanewAt+4 || data[0] != 'M' || data[1] != 'Z' {
		return nil, errors.New("parse PE image: no DOS header")
	}
	at := uint64(binary.LittleEndian.Uint32(data[lfanewAt:]))
	if at+peHeaderSize > uint64(len(data)) || !bytes.Equal(data[at:at+4], []byte("PE\x00\x00")) {
		return nil, errors.New("parse PE image: no PE header")
	}
	coff := data[at+4 : at+peHeaderSize]
	count, optionalSize := int(binary.LittleEndian.Uint16(coff[2:])), int(binary.LittleEndian.Uint16(coff[16:]))
	optionalAt := int(at) + peHeaderSize //nolint:gosec // at is within data
	sectionsAt := optionalAt + optionalSize
	switch {
	case count > maxSections:
		return nil, fmt.Errorf("parse PE image: %d sections, at most %d", count, maxSections)
	case sectionsAt+count*sectionHeaderSize > len(data):
		return nil, errors.New("parse PE image: headers beyond the end of the file")
	}
	p := &peImage{data: data}
	if err := p.readOptional(optionalAt, optionalSize, sectionsAt+count*sectionHeaderSize); err != nil {
		return nil, fmt.Errorf("parse PE image: %w", err)
	}
	for i := range count {
		if err := p.readSection(data[sectionsAt+i*sectionHeaderSize:][:sectionHeaderSize]); err != nil {
			return nil, fmt.Errorf("parse PE image: section %d: %w", i, err)
		}
	}
	if p.table > len(data)-p.hashed {
		return nil, errors.New("parse PE image: certificate table is larger than what follows the sections")
	}
	return p, nil
}

// readOptional reads the optional header; end is where all headers end at least.
func (p *peImage) readOptional(at, size, end int) error {
	if size < directoriesPE32 {
		return errors.New("optional header is too short")
	}
	header := p.data[at : at+size]
	directories := 0
	switch binary.LittleEndian.Uint16(header) {
	case magicPE32:
		directories = directoriesPE32
	case magicPE32Plus:
		directories = directoriesPE32Plu
	default:
		return errors.New("neither PE32 nor PE32+")
	}
	if size < directories {
		return errors.New("optional header is too short")
	}
	headers := uint64(binary.LittleEndian.Uint32(header[headersSizeAt:]))
	if headers > uint64(len(p.data)) || headers < uint64(end) {
		return fmt.Errorf("headers of %d bytes", headers)
	}
	p.checksum, p.headers = at+checksumAt, int(headers) //nolint:gosec // checked
	p.hashed = p.headers
	entry := directories + 8*securityDirectory
	if binary.LittleEndian.Uint32(header[directories-4:]) <= securityDirectory {
		return nil
	}
	if entry+8 > size {
		return errors.New("data directories beyond the optional header")
	}
	table := uint64(binary.LittleEndian.Uint32(header[entry+4:]))
	if table > uint64(len(p.data)) {
		return errors.New("certificate table beyond the end of the file")
	}
	p.certificates, p.table = at+entry, int(table) //nolint:gosec // checked
	return nil
}

func (p *peImage) readSection(header []byte) error {
	name, _, _ := bytes.Cut(header[:8], []byte{0})
	virtual := uint64(binary.LittleEndian.Uint32(header[8:]))
	size, offset := uint64(binary.LittleEndian.Uint32(header[16:])), uint64(binary.LittleEndian.Uint32(header[20:]))
	if size > 0 && offset+size > uint64(len(p.data)) {
		return errors.New("beyond the end of the file")
	}
	s := section{name: string(name), offset: int(offset), size: int(size)} //nolint:gosec // checked; offset is not used without size
	if size > 0 {
		s.raw = p.data[offset : offset+min(size, virtual)]
	}
	if virtual > size {
		// Work, too, stays within a multiple of the input; .bss is not hashed.
		s.zeros = int(min(virtual-size, uint64(len(p.data))+1)) //nolint:gosec // bounded
	}
	p.hashed += s.size
	if p.hashed > len(p.data) {
		return errors.New("the sections overlap")
	}
	p.sections = append(p.sections, s)
	return nil
}

// authenticode hashes the image as firmware measures it: without checksum,
// certificate table and its directory entry. Firmware adds no padding: a signer
// pads the file, which is why signing may change the digest.
func (p *peImage) authenticode() Digests {
	m := newMeter()
	m.write(p.data[:p.checksum])
	from := p.checksum + 4
	if p.certificates > 0 {
		m.write(p.data[from:p.certificates])
		from = p.certificates + 8
	}
	m.write(p.data[from:p.headers])
	sections := slices.Clone(p.sections)
	slices.SortStableFunc(sections, func(a, b section) int { return a.offset - b.offset })
	for _, s := range sections {
		if s.size > 0 {
			m.write(p.data[s.offset : s.offset+s.size])
		}
	}
	m.write(p.data[p.hashed : len(p.data)-p.table])
	return m.sum()
}

// digests hashes a section as it stands in memory.
func (s section) digests(limit int) (Digests, error) {
	if s.zeros > limit {
		return nil, fmt.Errorf("section %.8q: %d bytes in the file, far more in memory", s.name, s.size)
	}
	m := newMeter()
	m.write(s.raw)
	m.zeros(s.zeros)
	return m.sum(), nil
}
