package tuf

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Bounds of a bundle that is read.
const (
	MaxBundleFiles    = 1 << 18
	maxBundleMetadata = 8 << 20 // bytes of a metadata file
	maxBundleTarget   = 8 << 30 // bytes of a target
)

// Export writes the repository as one file, a tar archive of metadata/ and
// targets/, for devices without a network: every root, the current metadata, and
// the content of the targets; with models, only that of their releases and of what
// was published beside these.
// Nothing in it is to be believed: whoever unpacks it verifies it like any
// repository.
func (r *Repository) Export(w io.Writer, models ...string) error {
	current, err := r.load()
	if err != nil {
		return fmt.Errorf("export repository: %w", err)
	}
	out := tar.NewWriter(w)
	if err := current.exportMetadata(out); err != nil {
		return fmt.Errorf("export repository: %w", err)
	}
	bins, err := current.bins()
	if err != nil {
		return fmt.Errorf("export repository: %w", err)
	}
	paths := map[string]bool{}
	err = current.each(append(current.flat(), bins...), func(_ string, t Target) error {
		if len(models) > 0 && (t.Release == nil || !slices.Contains(models, t.Release.Model)) {
			return nil
		}
		paths[t.Path(true)] = true
		if t.Release != nil {
			for name, digest := range t.Release.beside() {
				paths[Target{Name: name, Hashes: map[string]string{"sha256": digest}}.Path(true)] = true
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("export repository: %w", err)
	}
	for _, p := range sortedKeys(paths) {
		if err := r.exportFile(out, path.Join(targetsDir, p)); err != nil {
			return fmt.Errorf("export repository: %w", err)
		}
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("export repository: %w", err)
	}
	return nil
}

func sortedKeys(set map[string]bool) []string {
	list := make([]string, 0, len(set))
	for k := range set {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

func (v *view) exportMetadata(out *tar.Writer) error {
	var names []string
	for version := int64(1); version <= v.Root.Signed.Version; version++ {
		names = append(names, fmt.Sprintf("%d.%s.json", version, metadata.ROOT))
	}
	names = append(names, metadata.TIMESTAMP+".json", fmt.Sprintf("%d.%s.json", v.Snapshot.Signed.Version, metadata.SNAPSHOT))
	for name, meta := range v.Snapshot.Signed.Meta {
		names = append(names, fmt.Sprintf("%d.%s", meta.Version, name))
	}
	slices.Sort(names)
	for _, name := range names {
		if err := v.r.exportFile(out, path.Join(metadataDir, name)); err != nil {
			return err
		}
	}
	return nil
}

func (r *Repository) exportFile(out *tar.Writer, name string) error {
	f, err := os.Open(filepath.Join(r.dir, filepath.FromSlash(name)))
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: info.Size(), Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	if err := out.WriteHeader(header); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if _, err := io.Copy(out, f); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// Unpack writes the files of a bundle below dir, which is made and must not exist.
// It takes files that a repository has, and no others: no links, no paths to
// elsewhere, nothing twice, bounded sizes. It verifies nothing; what it leaves is a
// directory to verify. After an error, dir is gone. Errors wrap ErrInvalid, or
// ErrExists, or are those of r and the disk.
func Unpack(r io.Reader, dir string) error {
	if exists(dir) {
		return fmt.Errorf("unpack bundle: %s: %w", dir, ErrExists)
	}
	if err := unpack(r, dir); err != nil {
		return errors.Join(fmt.Errorf("unpack bundle: %w", err), os.RemoveAll(dir))
	}
	return nil
}

func unpack(r io.Reader, dir string) error {
	return ReadBundle(r, func(name string, size int64, content io.Reader) error {
		return unpackFile(content, filepath.Join(dir, filepath.FromSlash(name)), size)
	})
}

// ReadBundle calls each with every file of a bundle, in the order in which they are
// there: its name with slashes, as "metadata/1.root.json", its size in bytes, and
// its content, which need not be read. Where r can seek, r stands at the first byte
// of the content when each is called, and what is not read is skipped. A file that a
// repository does not have, or more than it has, ends it. Errors wrap ErrInvalid,
// io.ErrUnexpectedEOF too where the bundle ends early, or are those of each.
func ReadBundle(r io.Reader, each func(name string, size int64, content io.Reader) error) error {
	in := tar.NewReader(r)
	for files := 0; ; files++ {
		header, err := in.Next()
		if err == io.EOF && files > 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		if files >= MaxBundleFiles {
			return fmt.Errorf("%w: more than %d files", ErrInvalid, MaxBundleFiles)
		}
		if err := checkBundled(header); err != nil {
			return err
		}
		if err := each(header.Name, header.Size, in); err != nil {
			return err
		}
	}
}

func checkBundled(h *tar.Header) error {
	folder, name, _ := strings.Cut(h.Name, "/")
	limit := int64(0)
	switch {
	case folder == metadataDir && !strings.Contains(name, "/") && strings.HasSuffix(name, ".json"):
		limit = maxBundleMetadata
	case folder == targetsDir:
		limit = maxBundleTarget
	}
	for segment := range strings.SplitSeq(name, "/") {
		// A content's name is its hash before that of the target: longer than ValidName's.
		if ValidName(segment) != nil && (len(segment) > 255 || ValidName(segment[max(0, len(segment)-200):]) != nil) {
			limit = 0
		}
	}
	for record := range h.PAXRecords {
		if strings.HasPrefix(record, "GNU.sparse.") {
			limit = 0 // its content would not be where it seems to be
		}
	}
	if h.Typeflag != tar.TypeReg || limit == 0 || !filepath.IsLocal(h.Name) {
		return fmt.Errorf("%w: %.300q is no file of a repository", ErrInvalid, h.Name)
	}
	if h.Size < 0 || h.Size > limit {
		return fmt.Errorf("%w: %.300q has %d bytes", ErrInvalid, h.Name, h.Size)
	}
	return nil
}

func unpackFile(in io.Reader, path string, size int64) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	n, err := io.Copy(f, in)
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
