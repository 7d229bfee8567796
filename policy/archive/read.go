package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"strings"

	"troth/policy"
)

// overhead bounds what a tar file has besides the content of its files: a header
// and padding for each, and the long names of some.
const overhead = 2048 * (policy.MaxFiles + 16)

// Read unpacks an archive, which may be anybody's. Nothing past the limits of a
// bundle is unpacked. Its modules are parsed, but not compiled. Errors wrap
// ErrArchive and say what its author can mend.
func Read(content []byte) (*Bundle, error) {
	if len(content) > MaxBytes {
		return nil, refuse("it has %d bytes, more than %d", len(content), MaxBytes)
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return nil, refuse("it is no gzip file: %w", err)
	}
	limited := &io.LimitedReader{R: unzipped, N: policy.MaxBytes + overhead}
	files, err := unpack(tar.NewReader(limited))
	if limited.N <= 0 {
		return nil, refuse("it unpacks to more than %d bytes", policy.MaxBytes)
	}
	if err != nil {
		return nil, err
	}
	text, ok := files[manifestName]
	if !ok {
		return nil, refuse("it has no %s: the roots of a bundle are declared there", manifestName)
	}
	delete(files, manifestName)
	manifest, err := parseManifest(text)
	if err != nil {
		return nil, err
	}
	b := &Bundle{Manifest: manifest, FS: tree(files), Files: len(files)}
	for _, name := range sortedNames(files) {
		if err := manifest.holds(name, files[name]); err != nil {
			return nil, err
		}
		b.Bytes += len(files[name])
	}
	if b.Files == 0 {
		return nil, refuse("it is empty")
	}
	return b, nil
}

func unpack(r *tar.Reader) (map[string][]byte, error) {
	files, total := map[string][]byte{}, 0
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, refuse("it is no tar file: %w", err)
		}
		name := strings.TrimPrefix(strings.TrimPrefix(header.Name, "./"), "/")
		switch header.Typeflag {
		case tar.TypeDir:
			continue
		case tar.TypeReg:
		default:
			return nil, refuse("%q is no regular file", header.Name)
		}
		if !fs.ValidPath(name) || name == "." {
			return nil, refuse("%q is no path inside of a bundle", header.Name)
		}
		if name != manifestName {
			if err := kind(name); err != nil {
				return nil, refuse("%s: %w", name, err)
			}
		}
		if _, twice := files[name]; twice {
			return nil, refuse("%s is in it twice", name)
		}
		if len(files) > policy.MaxFiles {
			return nil, refuse("more than %d files", policy.MaxFiles)
		}
		content, err := io.ReadAll(io.LimitReader(r, int64(policy.MaxBytes-total)+1))
		if err != nil {
			return nil, refuse("%s: %w", name, err)
		}
		if total += len(content); total > policy.MaxBytes {
			return nil, refuse("%s: with it, the bundle has more than %d bytes", name, policy.MaxBytes)
		}
		files[name] = content
	}
}
