package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"troth/policy"
)

// Pack makes the archive of a directory. The same files make the same bytes. The
// roots are those of the directory's own .manifest, or where it has none those
// that are given. Names that begin with a dot and files that are neither modules
// nor data are left out, but data by another name than data.json is refused. What
// it returns, Read accepts. Errors wrap ErrArchive, or are those of fsys.
func Pack(fsys fs.FS, revision string, roots []string) ([]byte, error) {
	files, err := collect(fsys)
	if err != nil {
		return nil, err
	}
	manifest := Manifest{Revision: revision, Roots: roots}
	own, err := readLimited(fsys, manifestName, policy.MaxBytes)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		declared, err := parseManifest(own)
		if err != nil {
			return nil, err
		}
		manifest.Roots = declared.Roots
	}
	text, err := manifest.encode()
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	files[manifestName] = text
	content, err := pack(files)
	if err != nil {
		return nil, fmt.Errorf("pack policy archive: %w", err)
	}
	if _, err := Read(content); err != nil {
		return nil, err
	}
	return content, nil
}

func collect(fsys fs.FS) (map[string][]byte, error) {
	files, total := map[string][]byte{}, 0
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name != "." && strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			return nil
		}
		if err := kind(name); err != nil {
			if ext := path.Ext(name); ext == ".json" || ext == ".yaml" || ext == ".yml" || ext == ".wasm" {
				return refuse("%s: %w", name, err)
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return refuse("%s: not a regular file", name)
		}
		content, err := readLimited(fsys, name, policy.MaxBytes-total)
		if err != nil {
			return err
		}
		if total += len(content); len(files) == policy.MaxFiles {
			return refuse("more than %d files", policy.MaxFiles)
		}
		files[name] = content
		return nil
	})
	return files, err
}

func readLimited(fsys fs.FS, name string, limit int) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(content) > limit {
		return nil, refuse("%s: with it, the bundle has more than %d bytes", name, policy.MaxBytes)
	}
	return content, nil
}

func pack(files map[string][]byte) ([]byte, error) {
	var out bytes.Buffer
	zipped, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(zipped)
	for _, name := range sortedNames(files) {
		err := w.WriteHeader(&tar.Header{
			Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(files[name])), ModTime: time.Unix(0, 0), Format: tar.FormatPAX,
		})
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(files[name]); err != nil {
			return nil, err
		}
	}
	err = errors.Join(w.Close(), zipped.Close())
	return out.Bytes(), err
}
