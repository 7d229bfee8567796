package attesttest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// maxImage bounds a firmware image and all of its parts together, in bytes.
const maxImage = 256 << 20

// Image is the firmware of a simulated device: what a boot runs and measures.
type Image struct {
	Model       string // hardware model that it is for
	Version     string
	BootLoader  []byte // the EFI application
	Kernel      []byte
	CommandLine string // of the kernel, without its file name
	Files       []File // what the running system opens first, in that order
}

// File is a file of the root file system that IMA measures.
type File struct {
	Path    string // absolute and clean
	Content []byte
}

// NewImage makes an image whose parts are determined by model and version.
func NewImage(model, version string) Image {
	part := func(name string, size int) []byte { return filler(model+" "+version+" "+name, size) }
	return Image{
		Model:       model,
		Version:     version,
		BootLoader:  append([]byte("MZ"), part("boot loader", 4<<10)...),
		Kernel:      append([]byte("MZ"), part("kernel", 64<<10)...),
		CommandLine: "root=/dev/mapper/system ro quiet ima_policy=tcb ima_hash=sha256",
		Files: []File{
			{"/usr/lib/systemd/systemd", part("systemd", 2<<10)},
			{"/usr/lib/x86_64-linux-gnu/libc.so.6", part("libc", 2<<10)},
			{"/usr/sbin/sshd", part("sshd", 2<<10)},
			{"/etc/os-release", []byte("NAME=" + model + "\nVERSION=" + version + "\n")},
		},
	}
}

// filler returns size bytes that seed determines.
func filler(seed string, size int) []byte {
	var out []byte
	for block := sha256.Sum256([]byte(seed)); len(out) < size; block = sha256.Sum256(block[:]) {
		out = append(out, block[:]...)
	}
	return out[:size]
}

const rootPrefix = "root"

type manifest struct {
	Model   string   `json:"model"`
	Version string   `json:"version"`
	Files   []string `json:"files"`
}

// Bytes returns the image as a tar archive: manifest.json, bootloader.efi,
// vmlinuz, cmdline, and the files below root/. Equal images have equal bytes.
func (i Image) Bytes() []byte {
	m := manifest{Model: i.Model, Version: i.Version, Files: []string{}}
	for _, f := range i.Files {
		m.Files = append(m.Files, f.Path)
	}
	head, err := json.Marshal(m)
	if err != nil {
		panic(err) // strings always encode
	}
	parts := []File{
		{"manifest.json", head}, {"bootloader.efi", i.BootLoader}, {"vmlinuz", i.Kernel}, {"cmdline", []byte(i.CommandLine)},
	}
	for _, f := range i.Files {
		parts = append(parts, File{rootPrefix + f.Path, f.Content})
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, p := range parts {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: p.Path, Size: int64(len(p.Content)), Mode: 0o644}
		// Neither fails: a header holds any name (in PAX format if need be), and
		// a bytes.Buffer takes any content.
		if err := errors.Join(w.WriteHeader(h), write(w, p.Content)); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

func write(w io.Writer, b []byte) error {
	_, err := w.Write(b)
	return err
}

// ParseImage reads what Bytes wrote and refuses everything else: an image has
// exactly one encoding.
func ParseImage(data []byte) (Image, error) {
	i, err := parseImage(data)
	if err != nil {
		return Image{}, fmt.Errorf("parse image: %w", err)
	}
	return i, nil
}

func parseImage(data []byte) (Image, error) {
	if len(data) > maxImage {
		return Image{}, fmt.Errorf("%d bytes are more than %d", len(data), maxImage)
	}
	var parts []File
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Image{}, err
		}
		if h.Typeflag != tar.TypeReg || h.Size > int64(len(data)) {
			return Image{}, fmt.Errorf("%q is not a plain file", h.Name)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return Image{}, err
		}
		parts = append(parts, File{h.Name, content})
	}
	const fixed = 4
	if len(parts) < fixed {
		return Image{}, errors.New("incomplete")
	}
	var m manifest
	if err := json.Unmarshal(parts[0].Content, &m); err != nil {
		return Image{}, fmt.Errorf("manifest: %w", err)
	}
	if m.Model == "" || m.Version == "" {
		return Image{}, errors.New("no model or version")
	}
	i := Image{Model: m.Model, Version: m.Version, BootLoader: parts[1].Content, Kernel: parts[2].Content, CommandLine: string(parts[3].Content)}
	for _, p := range parts[fixed:] {
		name, ok := strings.CutPrefix(p.Path, rootPrefix)
		if !ok || !path.IsAbs(name) || path.Clean(name) != name {
			return Image{}, fmt.Errorf("unexpected file %q", p.Path)
		}
		if slices.ContainsFunc(i.Files, func(f File) bool { return f.Path == name }) {
			return Image{}, fmt.Errorf("file %q twice", p.Path)
		}
		i.Files = append(i.Files, File{name, p.Content})
	}
	if !bytes.Equal(i.Bytes(), data) {
		return Image{}, errors.New("not in the canonical encoding")
	}
	return i, nil
}
