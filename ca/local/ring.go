package local

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"troth/ca"
)

// issuersFile names the authorities from the first change of the CA on. Before
// there is only one, in root.key and root.pem. Replacing this file is the moment
// of every change: what it does not name does not count.
const issuersFile = "issuers.json"

// issuers is the content of issuers.json.
type issuers struct {
	// Sequence counts the changes of the bundle; it starts at 1.
	Sequence uint64   `json:"sequence"`
	Issuers  []record `json:"issuers"` // the oldest first
}

// record names the files of an authority.
type record struct {
	ID    string  `json:"id"`
	Role  ca.Role `json:"role"`
	Key   string  `json:"key"`
	Cert  string  `json:"cert"`
	Cross string  `json:"cross,omitempty"` // signed by the predecessor
}

// member is an authority that is loaded.
type member struct {
	record
	key    *ecdsa.PrivateKey
	sealed bool // the file is encrypted
	root   *x509.Certificate
	cross  *x509.Certificate // nil: none
}

// ring is all authorities at one moment. It is never changed.
type ring struct {
	sequence uint64
	members  []*member
	stamp    os.FileInfo // of issuers.json; nil: there is none
}

func (r *ring) find(is func(*member) bool) *member {
	for _, m := range r.members {
		if is(m) {
			return m
		}
	}
	return nil
}

func (r *ring) in(role ca.Role) *member {
	return r.find(func(m *member) bool { return m.Role == role })
}

func (r *ring) byID(id string) *member {
	return r.find(func(m *member) bool { return m.ID == id })
}

// signer is the authority that signed the certificate; nil: none of ours.
func (r *ring) signer(certificate *x509.Certificate) *member {
	return r.find(func(m *member) bool { return certificate.CheckSignatureFrom(m.root) == nil })
}

func (r *ring) roots() []*x509.Certificate {
	var roots []*x509.Certificate
	for _, m := range r.members {
		roots = append(roots, m.root)
	}
	return roots
}

func (m *member) authority() ca.Authority {
	return ca.Authority{ID: m.ID, Role: m.Role, Certificate: m.root, Bridged: m.cross != nil}
}

// current is the ring as it is on disk now: another process may have changed it.
func (c *CA) current() (*ring, error) {
	stamp, err := stampOf(c.dir)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	known := c.ring
	c.mu.Unlock()
	if same(known.stamp, stamp) {
		return known, nil
	}
	unlock, err := lock(c.dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return c.reload()
}

// reload reads the ring. The caller holds the directory's lock.
func (c *CA) reload() (*ring, error) {
	fresh, err := c.load()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.ring = fresh
	c.mu.Unlock()
	return fresh, nil
}

func stampOf(dir string) (os.FileInfo, error) {
	info, err := os.Lstat(filepath.Join(dir, issuersFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read CA file: %w", err)
	}
	return info, nil
}

// same compares by file and time: every change is a new file.
func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime())
}

func (c *CA) load() (*ring, error) {
	stamp, err := stampOf(c.dir)
	if err != nil {
		return nil, err
	}
	list := issuers{Sequence: 1, Issuers: []record{{Role: ca.Signing, Key: keyFile, Cert: certFile}}}
	if stamp != nil {
		if list, err = readIssuers(c.dir); err != nil {
			return nil, err
		}
	}
	loaded := &ring{sequence: list.Sequence, stamp: stamp}
	for _, r := range list.Issuers {
		m, err := c.loadMember(r)
		if err != nil {
			return nil, err
		}
		loaded.members = append(loaded.members, m)
	}
	return loaded, nil
}

func readIssuers(dir string) (issuers, error) {
	data, err := readPrivate(dir, issuersFile)
	if err != nil {
		return issuers{}, err
	}
	var list issuers
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&list); err != nil {
		return issuers{}, fmt.Errorf("read %s: %w", issuersFile, err)
	}
	signing := 0
	for _, r := range list.Issuers {
		for _, name := range []string{r.Key, r.Cert, r.Cross} {
			if name != filepath.Base(name) && name != "" || strings.HasPrefix(name, ".") {
				return issuers{}, fmt.Errorf("read %s: %q is not a file of this directory", issuersFile, name)
			}
		}
		if r.Role == ca.Signing {
			signing++
		}
	}
	if signing != 1 || list.Sequence == 0 {
		return issuers{}, fmt.Errorf("read %s: it does not name the one authority that signs", issuersFile)
	}
	return list, nil
}

func (l issuers) save(dir string) error {
	data, err := json.MarshalIndent(l, "", "\t")
	if err != nil {
		return fmt.Errorf("encode authorities: %w", err)
	}
	return writeFile(dir, issuersFile, append(data, '\n'))
}

// loadMember reads an authority's files. A key that is in memory already is not
// decrypted again.
func (c *CA) loadMember(r record) (*member, error) {
	m := &member{record: r}
	var err error
	if m.root, err = c.readCertificate(r.Cert); err != nil {
		return nil, err
	}
	m.ID = hex.EncodeToString(m.root.SubjectKeyId)
	if r.ID != "" && r.ID != m.ID {
		return nil, fmt.Errorf("open local CA: %s is not the authority %s", r.Cert, r.ID)
	}
	if r.Cross != "" {
		if m.cross, err = c.readCertificate(r.Cross); err != nil {
			return nil, err
		}
	}
	if known := c.known(r); known != nil {
		m.key, m.sealed = known.key, known.sealed
		return m, nil
	}
	data, err := readPrivate(c.dir, r.Key)
	if err != nil {
		return nil, err
	}
	if m.key, m.sealed, err = decodeKey(r.Key, data, c.options.passphrase); err != nil {
		return nil, err
	}
	if !m.key.PublicKey.Equal(m.root.PublicKey) || !ca.SelfSigned(m.root) {
		return nil, fmt.Errorf("open local CA: %s and %s do not belong together", r.Key, r.Cert)
	}
	want := "spiffe://" + c.options.TrustDomain
	if len(m.root.URIs) != 1 || m.root.URIs[0].String() != want {
		return nil, fmt.Errorf("open local CA: the root is of trust domain %v, not %s", m.root.URIs, want)
	}
	return m, nil
}

func (c *CA) known(r record) *member {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ring == nil || r.ID == "" {
		return nil
	}
	return c.ring.byID(r.ID)
}

func (c *CA) readCertificate(name string) (*x509.Certificate, error) {
	data, err := readPrivate(c.dir, name)
	if err != nil {
		return nil, err
	}
	der, err := decodePEM(data, "CERTIFICATE")
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return certificate, nil
}

// removeUnnamed removes the files of authorities that issuers.json does not
// name: what a crash left, and what was retired. Without issuers.json nothing is
// removed: it may be missing from a backup that was put back.
func removeUnnamed(dir string, r *ring) error {
	if r.stamp == nil {
		return nil
	}
	named := map[string]bool{}
	for _, m := range r.members {
		named[m.Key], named[m.Cert], named[m.Cross] = true, true, true
	}
	for _, pattern := range []string{"root*.key", "root*.pem"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return fmt.Errorf("list CA files: %w", err)
		}
		for _, file := range files {
			if named[filepath.Base(file)] {
				continue
			}
			if err := wipe(file); err != nil {
				return err
			}
		}
	}
	return syncDir(dir)
}

// wipe overwrites a file and removes it. On a file system that writes elsewhere
// than before, on flash memory, and in backups, copies may remain.
func wipe(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("remove CA file: %w", err)
	}
	err = errors.Join(overwrite(f), f.Close(), os.Remove(path))
	if err != nil {
		return fmt.Errorf("remove CA file: %w", err)
	}
	return nil
}

func overwrite(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(make([]byte, info.Size()), 0); err != nil {
		return err
	}
	return f.Sync()
}
