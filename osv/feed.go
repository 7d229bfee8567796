package osv

import (
	"archive/zip"
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// Feed tells of records one by one. Both functions may be called until the first
// of them returns an error, which ends the reading and is returned.
type Feed struct {
	Record func(Record) error
	// Refuse is told of a record that is refused, and why (an error that wraps
	// ErrRecord): where is the file, in an archive or a line; its text is foreign.
	Refuse func(where string, why error) error
}

// ReadFeed reads all records below name in fsys: a JSON file with one record, or
// with one on each line; a ZIP archive of JSON files, as osv.dev exports them; or
// a directory of such files, however deep. It keeps one record in memory (and the
// directory of an archive). A record that cannot be used is refused, and the
// others go on. Other errors wrap ErrFeed, or are those of fsys and of f.
func (f Feed) ReadFeed(fsys fs.FS, name string) error {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return fmt.Errorf("read feed: %w", err)
	}
	r := &feedReader{Feed: f}
	if !info.IsDir() {
		return r.file(fsys, name)
	}
	return fs.WalkDir(fsys, name, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("read feed: %w", err)
		}
		switch path.Ext(file) {
		case ".json", ".jsonl", ".ndjson", ".zip":
			if entry.Type().IsRegular() {
				return r.file(fsys, file)
			}
		}
		return nil
	})
}

// feedReader counts what it has read, over all files.
type feedReader struct {
	Feed
	entries int
	bytes   int64
}

func (r *feedReader) count(size int) error {
	r.entries++
	r.bytes += int64(size)
	if r.entries > maxFeedEntries || r.bytes > maxFeedBytes {
		return fmt.Errorf("%w: more than %d records, or %d bytes", ErrFeed, maxFeedEntries, int64(maxFeedBytes))
	}
	return nil
}

func (r *feedReader) take(where string, text []byte) error {
	if err := r.count(len(text)); err != nil {
		return err
	}
	record, err := Parse(text)
	if err != nil {
		return r.Refuse(where, err)
	}
	return r.Record(record)
}

func (r *feedReader) file(fsys fs.FS, name string) error {
	file, err := fsys.Open(name)
	if err != nil {
		return fmt.Errorf("read feed: %w", err)
	}
	defer file.Close()
	buffered := bufio.NewReaderSize(file, MaxRecordBytes+1)
	head, err := buffered.Peek(MaxRecordBytes + 1)
	switch {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")), bytes.HasPrefix(head, []byte("PK\x05\x06")):
		return r.archive(file, name)
	case errors.Is(err, io.EOF) && json.Valid(head):
		return r.take(name, head)
	case err != nil && !errors.Is(err, io.EOF):
		return fmt.Errorf("read feed: %w", err)
	}
	return r.lines(buffered, name)
}

// lines reads a record from each line. One that is too long is refused, and not
// kept.
func (r *feedReader) lines(lines *bufio.Reader, name string) error {
	for n := 1; ; n++ {
		line, err := lines.ReadSlice('\n')
		size := len(line)
		long := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) {
			var more []byte
			more, err = lines.ReadSlice('\n')
			size += len(more)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read feed: %w", err)
		}
		where := fmt.Sprintf("%s, line %d", name, n)
		var bad error
		switch {
		case long:
			if bad = r.count(size); bad == nil {
				bad = r.Refuse(where, fmt.Errorf("%w: more than %d bytes", ErrRecord, MaxRecordBytes))
			}
		case len(bytes.TrimSpace(line)) > 0:
			bad = r.take(where, line)
		}
		if bad != nil || errors.Is(err, io.EOF) {
			return bad
		}
	}
}

// archive reads the JSON files of a ZIP archive. Their names are words, never
// paths; nothing is unpacked beyond the bound of a record, whatever the archive
// says of sizes.
func (r *feedReader) archive(file fs.File, name string) error {
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("read feed: %w", err)
	}
	at, ok := file.(io.ReaderAt)
	if !ok {
		return fmt.Errorf("%w: %s cannot be read as an archive here", ErrFeed, name)
	}
	z, err := zip.NewReader(at, info.Size())
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return fmt.Errorf("%w: %s: %w", ErrFeed, name, err)
	}
	for _, entry := range z.File {
		if !strings.HasSuffix(entry.Name, ".json") {
			if err := r.count(0); err != nil {
				return err
			}
			continue
		}
		where := name + ": " + entry.Name
		text, err := unpack(entry)
		if err != nil {
			if err = r.count(len(text)); err == nil {
				err = r.Refuse(where, fmt.Errorf("%w: its archive entry cannot be unpacked", ErrRecord))
			}
		} else {
			err = r.take(where, text) // refuses what is too long
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unpack returns at most one byte more than a record may have.
func unpack(entry *zip.File) ([]byte, error) {
	in, err := entry.Open()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return io.ReadAll(io.LimitReader(in, MaxRecordBytes+1))
}
