package reference_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"troth/attest"
	"troth/attest/reference"
)

// part is a section of a made PE image. memory is its VirtualSize; 0: that of data.
type part struct {
	name   string
	data   string
	memory int
}

// pe makes a PE32+ image for x64 with file alignment 512.
func pe(parts ...part) []byte {
	le := binary.LittleEndian
	const headers, optional = 1024, 240
	out := make([]byte, headers)
	copy(out, "MZ")
	le.PutUint32(out[0x3c:], 64)
	copy(out[64:], "PE\x00\x00")
	coff := out[68:]
	le.PutUint16(coff, 0x8664)
	le.PutUint16(coff[2:], uint16(len(parts)))
	le.PutUint16(coff[16:], optional)
	le.PutUint16(coff[18:], 0x22e)
	opt := out[88:]
	le.PutUint16(opt, 0x20b)
	le.PutUint32(opt[16:], 0x1000) // entry
	le.PutUint32(opt[32:], 0x1000)
	le.PutUint32(opt[36:], 512)
	le.PutUint32(opt[60:], headers)
	le.PutUint16(opt[68:], 10) // EFI application
	le.PutUint32(opt[108:], 16)
	address := 0x1000
	for i, p := range parts {
		h := out[88+optional+40*i:]
		size := (len(p.data) + 511) &^ 511
		memory := p.memory
		if memory == 0 {
			memory = len(p.data)
		}
		copy(h[:8], p.name)
		le.PutUint32(h[8:], uint32(memory))
		le.PutUint32(h[12:], uint32(address))
		le.PutUint32(h[16:], uint32(size))
		le.PutUint32(h[20:], uint32(len(out)))
		le.PutUint32(h[36:], 0x60000020)
		out = append(out, p.data...)
		out = append(out, make([]byte, size-len(p.data))...)
		address += (max(memory, size) + 0xfff) &^ 0xfff
	}
	le.PutUint32(out[88+56:], uint32(address))
	return out
}

func read(t testing.TB, content []byte) reference.Image {
	t.Helper()
	i, err := reference.ReadImage("image", content)
	must(t, err)
	return i
}

func sum(parts ...string) string {
	d := sha256.Sum256([]byte(strings.Join(parts, "")))
	return hex.EncodeToString(d[:])
}

// TestAuthenticode: of a made image the hashed parts are known.
func TestAuthenticode(t *testing.T) {
	content := pe(part{".text", "code", 0}, part{".data", "data", 9000})
	const checksum, entry = 88 + 64, 88 + 112 + 32
	s := string(content)
	want := sum(s[:checksum], s[checksum+4:entry], s[entry+8:])
	if got := read(t, content).Authenticode["sha256"].String(); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
	// Neither the checksum nor a signature moves it; anything else does.
	signed := append(bytes.Clone(content), make([]byte, 16)...)
	binary.LittleEndian.PutUint32(signed[entry:], uint32(len(content)))
	binary.LittleEndian.PutUint32(signed[entry+4:], 16)
	copy(signed[checksum:], "abcd")
	if got := read(t, signed).Authenticode["sha256"].String(); got != want {
		t.Errorf("a signature changes the digest to %s", got)
	}
	for at := range content {
		if at >= checksum && at < checksum+4 || at >= entry && at < entry+8 {
			continue
		}
		changed := bytes.Clone(content)
		changed[at] ^= 0x40
		if i, err := reference.ReadImage("image", changed); err == nil && i.Authenticode["sha256"].String() == want {
			t.Fatalf("byte %d of the image is not measured", at)
		}
	}
	longer := append(bytes.Clone(content), "trailing"...)
	if got := read(t, longer).Authenticode["sha256"].String(); got != sum(s[:checksum], s[checksum+4:entry], s[entry+8:], "trailing") {
		t.Error("what follows the sections is not measured")
	}
}

const line = "console=ttyS0 quiet"

// uki makes a unified kernel image.
func uki(stub string, more ...part) []byte {
	parts := []part{{".text", "stub", 0}, {".sdmagic", "#### LoaderInfo: systemd-stub " + stub + " ####\x00", 0}, {".sbat", "sbat,1", 0}}
	return pe(append(parts, more...)...)
}

func kernelPart() part { return part{".linux", string(pe(part{".text", "kernel", 0})), 0} }

// TestUnified: sections are measured in systemd's order, as they stand in memory.
func TestUnified(t *testing.T) {
	body := []part{{".initrd", "cpio", 0}, {".cmdline", line, 0}, kernelPart(), {".osrel", "ID=x\n", 4096}, {".uname", "6.1", 0}}
	i := read(t, uki("252.39-1~deb12u2", body...))
	if i.UKI == nil || i.UKI.Stub != 252 || i.UKI.CommandLine == nil || *i.UKI.CommandLine != line {
		t.Fatalf("%+v", i.UKI)
	}
	want := []reference.Section{
		{Name: ".linux", Content: reference.Hash([]byte(kernelPart().data))},
		{Name: ".osrel", Content: reference.HashAll([]byte("ID=x\n"), make([]byte, 4091))},
		{Name: ".cmdline", Content: reference.Hash([]byte(line))},
		{Name: ".initrd", Content: reference.Hash([]byte("cpio"))},
	}
	check := func(got []reference.Section) {
		t.Helper()
		ok := slices.EqualFunc(got, want, func(a, b reference.Section) bool {
			return a.Name == b.Name && a.Content["sha384"].String() == b.Content["sha384"].String()
		})
		if !ok {
			t.Errorf("sections %+v", got)
		}
	}
	check(i.UKI.Sections)
	if inner := read(t, []byte(kernelPart().data)).Authenticode["sha256"].String(); i.UKI.Inner["sha256"].String() != inner {
		t.Error("the kernel inside has another digest than the kernel")
	}
	if i.UKI.Initrd["sha256"].String() != sum("cpio") {
		t.Errorf("initrd %s (%s)", i.UKI.Initrd["sha256"], i.UKI.InitrdWhy)
	}
	want = append(want, reference.Section{Name: ".uname", Content: reference.Hash([]byte("6.1"))}, reference.Section{Name: ".sbat", Content: reference.Hash([]byte("sbat,1"))},
		reference.Section{Name: ".pcrpkey", Content: reference.Hash([]byte("PEM"))})
	i = read(t, uki("257~rc1", append(body, part{".pcrpkey", "PEM", 0}, part{".pcrsig", "{}", 0})...))
	check(i.UKI.Sections)
	if i.UKI.Stub != 257 || i.UKI.Initrd != nil || i.UKI.InitrdWhy == "" {
		t.Errorf("%+v", i.UKI)
	}
	for name, bad := range map[string][]byte{
		"two command lines":    uki("252", kernelPart(), part{".cmdline", "a", 0}, part{".cmdline", "b", 0}),
		"several profiles":     uki("257", kernelPart(), part{".profile", "ID=a", 0}, part{".profile", "ID=b", 0}),
		"kernel that is no PE": uki("252", part{".linux", "ELF", 0}),
		"huge in memory":       uki("252", kernelPart(), part{".osrel", "x", 1 << 30}),
	} {
		if _, err := reference.ReadImage(name, bad); err == nil {
			t.Errorf("%s is read", name)
		}
	}
}

// TestAttack_L2_LyingImages: fields that lie are errors, and cost no more than the file.
func TestAttack_L2_LyingImages(t *testing.T) {
	good := pe(part{".text", "code", 0}, part{".data", "data", 0})
	put := func(at int, value uint32) []byte {
		b := bytes.Clone(good)
		binary.LittleEndian.PutUint32(b[at:], value)
		return b
	}
	put16 := func(at int, value uint16) []byte {
		b := bytes.Clone(good)
		binary.LittleEndian.PutUint16(b[at:], value)
		return b
	}
	const sections = 88 + 240
	for name, bad := range map[string][]byte{
		"empty":                     nil,
		"no image":                  []byte("#!/bin/sh\n"),
		"DOS header alone":          good[:64],
		"PE header beyond the end":  put(0x3c, 0xfffffff0),
		"cut in the section table":  good[:sections+10],
		"cut in a section":          good[:len(good)-1],
		"too many sections":         put16(68+2, 97),
		"more sections than fit":    put16(68+2, 90),
		"short optional header":     put16(68+16, 60),
		"other magic":               put16(88, 0x107),
		"headers beyond the end":    put(88+60, 1<<30),
		"headers before their end":  put(88+60, 64),
		"section beyond the end":    put(sections+20, 1<<31),
		"section of 4 GiB":          put(sections+16, 0xfffffe00),
		"sections overlap":          put(sections+16, uint32(len(good)-1024)),
		"certificates beyond end":   put(88+112+32+4, 1<<30),
		"certificates in a section": put(88+112+32+4, 512),
	} {
		if _, err := reference.ReadImage(name, bad); err == nil {
			t.Errorf("%s is read as an image", name)
		}
	}
	// Without a certificate entry nothing but the checksum is left out.
	few := put(88+108, 4)
	s := string(few)
	if got := read(t, few).Authenticode["sha256"].String(); got != sum(s[:152], s[156:]) {
		t.Errorf("digest %s", got)
	}
}

// TestSecondOpinion signs made images with sbsign: the signature holds the digest
// that sbsign computed.
func TestSecondOpinion(t *testing.T) {
	for _, tool := range []string{"sbsign", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("NOT TESTED: Authenticode digests against another tool: no %s; apt-get install sbsigntool openssl", tool)
		}
	}
	dir := t.TempDir()
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
	}
	run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-keyout", "key.pem", "-out", "cert.pem")
	images := map[string][]byte{
		"small":    pe(part{".text", "code", 0}),
		"unified":  uki("252.1", kernelPart(), part{".cmdline", line, 0}),
		"trailing": append(pe(part{".text", "code", 0}), strings.Repeat("eight by", 3)...),
	}
	for name, content := range images {
		must(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
		run("sbsign", "--key", "key.pem", "--cert", "cert.pem", "--output", name+".signed", name)
		signed, err := os.ReadFile(filepath.Join(dir, name+".signed"))
		must(t, err)
		digest := read(t, signed).Authenticode["sha256"]
		if !bytes.Contains(signed[len(content):], digest) {
			t.Errorf("%s: the signature does not hold %s", name, digest)
		}
		if unsigned := read(t, content).Authenticode["sha256"]; !bytes.Equal(unsigned, digest) {
			t.Errorf("%s: signing changed the digest from %s to %s", name, unsigned, digest)
		}
	}
}

// TestDebianImages compares the real files, where make capture has left them, with
// what firmware measured of them.
func TestDebianImages(t *testing.T) {
	files := filepath.Join("..", "..", ".cache", "capture", "files")
	find := func(pattern string) []byte {
		found, err := filepath.Glob(filepath.Join(files, pattern))
		if err != nil || len(found) == 0 {
			t.Skipf("NOT TESTED: digests of Debian's own boot loaders and kernel: no %s; make capture downloads them", pattern)
		}
		content, err := os.ReadFile(found[0])
		must(t, err)
		return content
	}
	shim, grub := find("usr/lib/shim/shimx64.efi.signed"), find("usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed")
	kernel, loader := find("boot/vmlinuz-*-cloud-amd64"), find("usr/lib/systemd/boot/efi/systemd-bootx64.efi")
	b, s := captured(t, "shim-grub"), captured(t, "systemd-boot")
	p, err := reference.Predict(reference.Release{Path: path(t, "shim+grub+kernel"), Images: map[reference.Role]reference.Image{
		reference.Shim: read(t, shim), reference.GRUB: read(t, grub), reference.Kernel: read(t, kernel),
	}})
	must(t, err)
	b.same(t, p.PCRs, 4)
	p, err = reference.Predict(reference.Release{Path: path(t, "systemd-boot+kernel"), CommandLine: &s.CommandLine, Images: map[reference.Role]reference.Image{
		reference.SystemdBoot: read(t, loader), reference.Kernel: read(t, kernel),
	}})
	must(t, err)
	s.same(t, p.PCRs, 4, 12)
	if got, want := read(t, kernel).Content, b.event(t, 9, 1); got["sha384"].String() != want["sha384"].String() {
		t.Errorf("GRUB measured %s of the kernel's file, it has %s", want["sha384"], got["sha384"])
	}
	if stub := read(t, find("usr/lib/systemd/boot/efi/linuxx64.efi.stub")); stub.UKI != nil {
		t.Error("the bare stub is read as a unified kernel image")
	}
}

func FuzzReadImage(f *testing.F) {
	f.Add(pe(part{".text", "code", 0}, part{".data", "data", 9000}))
	f.Add(uki("252.39-1", kernelPart(), part{".cmdline", line, 0}, part{".initrd", "cpio", 0}))
	f.Add([]byte("MZ"))
	f.Fuzz(func(t *testing.T, content []byte) {
		i, err := reference.ReadImage("image", content)
		if err != nil {
			return
		}
		for _, d := range []reference.Digests{i.Authenticode, i.Content} {
			if len(d["sha256"]) != 32 || len(d["sha384"]) != 48 {
				t.Errorf("digests %v", d)
			}
		}
		p, err := reference.Predict(reference.Release{Path: []reference.Role{reference.Unified}, Images: map[reference.Role]reference.Image{reference.Unified: i}})
		if err == nil {
			if f, err := p.File("sha256"); err == nil {
				must(t, f.Valid())
			}
		}
	})
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte(`{"bank":"sha256","pcrs":{"4":"` + strings.Repeat("ab", 32) + `"},"events":[{"pcr":4,"type":"x","digest":"00","what":"y","from":"kept"}]}`))
	f.Add([]byte(`{"bank":"sha1","pcrs":{}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := reference.ParseFile(text)
		if err != nil {
			return
		}
		if len(got.Mismatches(attest.PCRs{got.Bank: got.PCRs})) > 0 {
			t.Errorf("%+v does not match itself", got.Reference)
		}
		if diff, err := reference.Diff(got, got); err != nil || len(diff) > 0 {
			t.Errorf("%v, %v", diff, err)
		}
	})
}
