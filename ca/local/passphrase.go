package local

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Sealing says how the CA's keys lie in their files.
type Sealing string

// The ways.
const (
	Plain       Sealing = "plain"     // readable by whoever reads the file
	Sealed      Sealing = "encrypted" // by a passphrase
	NewlySealed Sealing = "encrypted at this start"
)

// Sealing says how the keys lay in their files when the CA was opened.
func (c *CA) Sealing() Sealing { return c.sealing }

// sealPlain encrypts the keys that are not, where a passphrase is configured. The
// caller holds the lock.
func (c *CA) sealPlain(r *ring) error {
	c.sealing = Sealed
	plain := r.find(func(m *member) bool { return !m.sealed })
	if plain == nil {
		return nil
	}
	c.sealing = Plain
	passphrase, err := c.options.passphrase()
	if err != nil || passphrase == nil {
		return err
	}
	c.sealing = NewlySealed
	return c.rekey(r, passphrase)
}

// ChangePassphrase encrypts the keys of the CA in dir anew, all at one moment: a
// crash leaves the old passphrase or the new one in force, for all keys. o opens
// the CA; a next of nil leaves the keys unencrypted. A service that runs keeps
// its keys in memory.
func ChangePassphrase(dir string, o Options, next func() ([]byte, error)) error {
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("change passphrase: %w", err)
	}
	c, err := Open(dir, o)
	if err != nil {
		return err
	}
	passphrase, err := Options{Passphrase: next}.passphrase()
	if err != nil {
		return err
	}
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	r, err := c.load()
	if err != nil {
		return err
	}
	return c.rekey(r, passphrase)
}

// rekey writes every key anew. A single key is replaced in its place; several
// get new files, which count from the moment that issuers.json names them.
func (c *CA) rekey(r *ring, passphrase []byte) error {
	if r.stamp == nil {
		return c.replaceKey(keyFile, r.members[0].key, passphrase)
	}
	list := r.list()
	for i, m := range r.members {
		name, err := c.writeKey(m.ID, m.key, passphrase)
		if err != nil {
			return err
		}
		list.Issuers[i].Key = name
	}
	if err := list.save(c.dir); err != nil {
		return err
	}
	after, err := c.reload()
	if err != nil {
		return err
	}
	return removeUnnamed(c.dir, after)
}

// replaceKey also overwrites the file that it replaces (see wipe).
func (c *CA) replaceKey(name string, key *ecdsa.PrivateKey, passphrase []byte) error {
	data, err := encodeKey(key, passphrase)
	if err != nil {
		return err
	}
	old, err := os.OpenFile(filepath.Join(c.dir, name), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	if err := writeFile(c.dir, name, data); err != nil {
		return errors.Join(err, old.Close())
	}
	if err := errors.Join(overwrite(old), old.Close()); err != nil {
		return fmt.Errorf("overwrite the old %s: %w", name, err)
	}
	return nil
}
