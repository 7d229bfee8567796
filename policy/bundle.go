package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"path"
	"sort"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// The limits of a bundle. One past them is refused whole.
const (
	MaxFiles = 1024    // files that count: modules, tests, data
	MaxBytes = 4 << 20 // of all of these files together
	MaxRules = 10000   // in all modules, tests included
)

const (
	moduleSuffix = ".rego"
	testSuffix   = "_test.rego"
	dataName     = "data.json"
)

type source struct {
	path    string // slash-separated, relative to the bundle's root
	content []byte
}

// bundle is a file tree that was read and parsed, not yet compiled.
type bundle struct {
	digest  string
	modules map[string]*ast.Module // by path, without tests
	tests   map[string]*ast.Module
	data    map[string]any
}

func load(fsys fs.FS) (*bundle, error) {
	sources, err := read(fsys)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	b := &bundle{digest: digest(sources), modules: map[string]*ast.Module{}, tests: map[string]*ast.Module{}, data: map[string]any{}}
	rules := 0
	for _, s := range sources {
		if path.Base(s.path) == dataName {
			err = b.addData(s)
		} else {
			var n int
			n, err = b.addModule(s)
			rules += n
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBundle, err)
		}
	}
	if rules > MaxRules {
		return nil, fmt.Errorf("%w: %d rules, more than %d", ErrBundle, rules, MaxRules)
	}
	return b, nil
}

// read returns the files that count, sorted by path. Names that start with a
// dot are passed over, and so are files that Rego has no use for; but a data
// file by another name than data.json is refused, because its author expects it
// to have an effect.
func read(fsys fs.FS) ([]source, error) {
	var sources []source
	total := 0
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if name != "." && strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return nil
		}
		counts, err := relevant(d)
		if !counts || err != nil {
			return err
		}
		content, err := readFile(fsys, name, MaxBytes-total)
		if err != nil {
			return err
		}
		if total += len(content); len(sources) == MaxFiles {
			return fmt.Errorf("more than %d files", MaxFiles)
		}
		sources = append(sources, source{name, content})
		return nil
	})
	sort.Slice(sources, func(i, j int) bool { return sources[i].path < sources[j].path })
	return sources, err
}

func relevant(d fs.DirEntry) (bool, error) {
	name := d.Name()
	switch path.Ext(name) {
	case moduleSuffix:
	case ".json":
		if name != dataName {
			return false, fmt.Errorf("%s: data belongs into a file named %s", name, dataName)
		}
	case ".yaml", ".yml":
		return false, fmt.Errorf("%s: data belongs into a file named %s, as JSON", name, dataName)
	default:
		if d.Type()&fs.ModeSymlink != 0 {
			return false, fmt.Errorf("%s: symbolic links are not followed", name)
		}
		return false, nil
	}
	if !d.Type().IsRegular() {
		return false, fmt.Errorf("%s: not a regular file", name)
	}
	return true, nil
}

func readFile(fsys fs.FS, name string, limit int) ([]byte, error) {
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
		return nil, fmt.Errorf("more than %d bytes", MaxBytes)
	}
	return content, nil
}

// digest hashes path and content of each file in order, each preceded by its
// length as eight bytes, most significant first, so that no two bundles run
// into the same bytes.
func digest(sources []source) string {
	h := sha256.New()
	part := func(b []byte) {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(b)))
		h.Write(size[:])
		h.Write(b)
	}
	for _, s := range sources {
		part([]byte(s.path))
		part(s.content)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (b *bundle) addModule(s source) (rules int, err error) {
	m, err := ast.ParseModuleWithOpts(s.path, string(s.content), ast.ParserOptions{
		ProcessAnnotation: true,
		RegoVersion:       ast.RegoV1,
		Capabilities:      capabilities(),
	})
	if err != nil {
		return 0, fmt.Errorf("parse %s: %w", s.path, err)
	}
	if strings.HasSuffix(s.path, testSuffix) {
		b.tests[s.path] = m
	} else {
		b.modules[s.path] = m
	}
	return len(m.Rules), nil
}

// addData puts a data file at its directory's path. The tree below troth
// belongs to rules alone: data there could stand in for a decision.
func (b *bundle) addData(s source) error {
	var value any
	dec := json.NewDecoder(bytes.NewReader(s.content))
	dec.UseNumber()
	if err := dec.Decode(&value); err != nil {
		return fmt.Errorf("parse %s: %w", s.path, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("parse %s: something follows the JSON value", s.path)
	}
	dir := path.Dir(s.path)
	for dir != "." {
		value = map[string]any{path.Base(dir): value}
		dir = path.Dir(dir)
	}
	object, ok := value.(map[string]any)
	if !ok {
		return fmt.Errorf("%s: the root of data is an object", s.path)
	}
	if _, ok := object["troth"]; ok {
		return fmt.Errorf("%s: data below troth", s.path)
	}
	if key := merge(b.data, object); key != "" {
		return fmt.Errorf("%s: %q is already there", s.path, key)
	}
	return nil
}

// merge adds src to dst. It returns the key at which both have something that
// is not an object, or nothing.
func merge(dst, src map[string]any) string {
	for key, value := range src {
		old, ok := dst[key]
		if !ok {
			dst[key] = value
			continue
		}
		a, isObject := old.(map[string]any)
		b, areObjects := value.(map[string]any)
		if !isObject || !areObjects {
			return key
		}
		if inner := merge(a, b); inner != "" {
			return key + "." + inner
		}
	}
	return ""
}
