package client

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"troth/tuf"
)

// bundleScheme begins the address of a repository that is one file, as
// tuf.Repository.Export writes it: bundle:///media/usb/firmware.troth/metadata.
// The last segment is the folder inside. Nothing is unpacked: the client asks for
// files by name and believes none of them, as with a server.
const bundleScheme = "bundle://"

// bundles remembers where the files of a bundle begin, from one request to the next.
type bundles struct {
	mu    sync.Mutex
	of    os.FileInfo // the bundle that index is of; nil: none yet
	index map[[16]byte]span
}

// span is a file in a bundle, in bytes.
type span struct{ offset, size int64 }

func memberKey(name string) [16]byte {
	sum := sha256.Sum256([]byte(name))
	return [16]byte(sum[:16])
}

// splitBundle reads the rest of a bundle's address.
func splitBundle(rest string) (file, folder string) {
	file, folder = path.Split(strings.TrimRight(rest, "/"))
	return strings.TrimRight(file, "/"), folder
}

func validBundle(rest string) bool {
	file, folder := splitBundle(rest)
	return filepath.IsAbs(file) && (folder == "metadata" || folder == "targets")
}

// open gives a file of the bundle from offset on. A bundle that is not there, or is
// none, is no answer; a file that is not in it does not exist.
func (b *bundles) open(rest, name string, offset int64) (*answer, error) {
	file, folder := splitBundle(rest)
	// O_NONBLOCK: a pipe of that name must not stop the device.
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fail(CodeUnreachable, "bundle", err)
	}
	at, err := b.find(f, folder+"/"+name)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	offset = min(offset, at.size)
	body := io.NewSectionReader(f, at.offset+offset, at.size-offset)
	return &answer{body: bundled{body, f}, offset: offset, total: at.size}, nil
}

type bundled struct {
	io.Reader
	io.Closer
}

func (b *bundles) find(f *os.File, name string) (span, error) {
	info, err := f.Stat()
	if err != nil {
		return span{}, fail(CodeUnreachable, "bundle", err)
	}
	if !info.Mode().IsRegular() {
		return span{}, failf(CodeUnreachable, "bundle", "%s is not a regular file", f.Name())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of == nil || !os.SameFile(b.of, info) || b.of.Size() != info.Size() || !b.of.ModTime().Equal(info.ModTime()) {
		index, err := indexBundle(f)
		if err != nil {
			return span{}, err
		}
		b.of, b.index = info, index
	}
	at, ok := b.index[memberKey(name)]
	if !ok {
		return span{}, fmt.Errorf("%s is not in the bundle: %w", name, os.ErrNotExist)
	}
	return at, nil
}

// indexBundle reads the headers of a bundle, and refuses all of it for any file
// that no repository has.
func indexBundle(f io.ReadSeeker) (map[[16]byte]span, error) {
	index := map[[16]byte]span{}
	err := tuf.ReadBundle(f, func(name string, size int64, _ io.Reader) error {
		offset, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return fail(CodeUnreachable, "bundle", err)
		}
		key := memberKey(name)
		if _, twice := index[key]; twice {
			return failf(CodeMalformed, "bundle", "%.300q is in it twice", name)
		}
		index[key] = span{offset, size}
		return nil
	})
	switch {
	case err == nil:
		return index, nil
	case Code(err) != "":
		return nil, err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fail(CodeTruncated, "bundle", err)
	}
	return nil, fail(CodeMalformed, "bundle", err)
}
