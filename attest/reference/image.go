package reference

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// MaxImage bounds an EFI image, in bytes.
const MaxImage = 1 << 30

// Image is what is measured of an EFI image: a boot loader, a kernel, or a
// unified kernel image.
type Image struct {
	Name         string  // for people: the file's name
	Authenticode Digests // as firmware and shim measure it (PCR 4)
	Content      Digests // of the whole file, as GRUB measures a kernel (PCR 9)
	// UKI is set for a unified kernel image.
	UKI *UKI
}

// UKI is what systemd-stub measures of the image that it is part of.
type UKI struct {
	Stub        int       // systemd's version, as 252; 0: another stub
	Sections    []Section // in the order in which the stub measures them
	Inner       Digests   // Authenticode of the kernel inside
	CommandLine *string   // nil: the image has none
	// Initrd is what the kernel measures into PCR 9; nil where the stub adds to it
	// at boot, and InitrdWhy says what.
	Initrd    Digests
	InitrdWhy string
}

// Section is a measured section.
type Section struct {
	Name    string
	Content Digests
}

// First versions of systemd-stub to do what matters here (its NEWS and history).
const (
	stubMeasuresSBAT   = 254 // .uname and .sbat are measured
	stubAddsOSRelease  = 256 // files of its own are added to the initrd
	stubCallsKernel    = 258 // the inner kernel is started without firmware, and not measured
	maxCommandLine     = 64 << 10
	loaderInfoTemplate = "#### LoaderInfo: systemd-stub "
)

// unifiedSections is the order of systemd-stub (src/fundamental/uki.h); .pcrsig is
// never measured. A stub that does not say its version is taken for a new one.
func unifiedSections(stub int) []string {
	all := []string{".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat", ".pcrpkey", ".profile", ".dtbauto", ".hwids", ".efifw"}
	return slices.DeleteFunc(all, func(name string) bool {
		return stub > 0 && stub < stubMeasuresSBAT && (name == ".uname" || name == ".sbat")
	})
}

// ReadImage reads an EFI image (PE32 or PE32+), and what is inside where it has a
// section .linux. It keeps nothing of content.
func ReadImage(name string, content []byte) (Image, error) {
	if len(content) > MaxImage {
		return Image{}, fmt.Errorf("read image %q: %d bytes, at most %d", name, len(content), MaxImage)
	}
	p, err := parsePE(content)
	if err != nil {
		return Image{}, fmt.Errorf("read image %q: %w", name, err)
	}
	i := Image{Name: name, Authenticode: p.authenticode(), Content: Hash(content)}
	if _, unified := p.find(".linux"); unified {
		if i.UKI, err = p.unified(); err != nil {
			return Image{}, fmt.Errorf("read unified kernel image %q: %w", name, err)
		}
	}
	return i, nil
}

// find is the first section of a name that is not empty in memory.
func (p *peImage) find(name string) (section, bool) {
	i := slices.IndexFunc(p.sections, func(s section) bool { return s.name == name && len(s.raw)+s.zeros > 0 })
	if i < 0 {
		return section{}, false
	}
	return p.sections[i], true
}

func (p *peImage) unified() (*UKI, error) {
	u := &UKI{Stub: p.stubVersion()}
	for _, name := range unifiedSections(u.Stub) {
		s, ok := p.find(name)
		if !ok {
			continue
		}
		if n := p.count(name); n > 1 || name == ".profile" || name == ".dtbauto" || name == ".efifw" {
			return nil, fmt.Errorf("%d sections %s: which one is measured depends on the machine", n, name)
		}
		d, err := s.digests(len(p.data))
		if err != nil {
			return nil, err
		}
		u.Sections = append(u.Sections, Section{Name: name, Content: d})
	}
	linux, _ := p.find(".linux")
	inner, err := parsePE(linux.raw)
	if err != nil {
		return nil, fmt.Errorf("section .linux: %w", err)
	}
	u.Inner = inner.authenticode()
	if err := p.readCommandLine(u); err != nil {
		return nil, err
	}
	p.readInitrd(u)
	return u, nil
}

func (p *peImage) count(name string) (n int) {
	for _, s := range p.sections {
		if s.name == name {
			n++
		}
	}
	return n
}

func (p *peImage) readCommandLine(u *UKI) error {
	s, ok := p.find(".cmdline")
	if !ok {
		return nil
	}
	if len(s.raw) > maxCommandLine {
		return errors.New("section .cmdline: too long")
	}
	text := string(bytes.TrimRight(s.raw, "\x00"))
	u.CommandLine = &text
	return nil
}

// readInitrd finds out whether the kernel gets the section .initrd and nothing
// else: newer stubs, and those with more than an initrd, add files at boot.
func (p *peImage) readInitrd(u *UKI) {
	for _, name := range []string{".pcrsig", ".pcrpkey", ".ucode", ".profile"} {
		if _, ok := p.find(name); ok {
			u.InitrdWhy = "systemd-stub adds its section " + name + " to the initrd while it boots"
			return
		}
	}
	switch {
	case u.Stub == 0:
		u.InitrdWhy = "what this stub adds to the initrd is not known"
	case u.Stub >= stubAddsOSRelease:
		u.InitrdWhy = fmt.Sprintf("systemd-stub %d adds files to the initrd while it boots", u.Stub)
	default:
		s, ok := p.find(".initrd")
		if !ok {
			u.InitrdWhy = "the image has no initrd"
			return
		}
		u.Initrd, _ = s.digests(len(p.data))
	}
}

// stubVersion reads what systemd-stub says of itself in its section .sdmagic.
func (p *peImage) stubVersion() int {
	s, ok := p.find(".sdmagic")
	if !ok {
		return 0
	}
	_, rest, ok := strings.Cut(string(s.raw[:min(len(s.raw), 256)]), loaderInfoTemplate)
	if !ok {
		return 0
	}
	digits := rest
	if end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		digits = rest[:end]
	}
	version, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return version
}
