package local

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	"troth/ca"
)

var _ ca.Rotator = (*CA)(nil)

// Authorities implements ca.Rotator.
func (c *CA) Authorities(ctx context.Context) ([]ca.Authority, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list authorities: %w: %w", ca.ErrUnavailable, err)
	}
	r, err := c.current()
	if err != nil {
		return nil, fmt.Errorf("list authorities: %w: %w", ca.ErrUnavailable, err)
	}
	var all []ca.Authority
	for _, m := range r.members {
		all = append(all, m.authority())
	}
	return all, nil
}

// Sequence grows with every change of the bundle.
func (c *CA) Sequence() (uint64, error) {
	r, err := c.current()
	if err != nil {
		return 0, err
	}
	return r.sequence, nil
}

// Begin implements ca.Rotator: a new root, and a certificate for its key that
// the root in force signs, so that who knows only that one can verify it.
func (c *CA) Begin(ctx context.Context) (ca.Authority, error) {
	return c.step(ctx, "begin a change of the CA", func(r *ring) (*member, *issuers, error) {
		if next := r.in(ca.Next); next != nil {
			return next, nil, nil
		}
		if old := r.in(ca.Retiring); old != nil {
			return nil, nil, fmt.Errorf("%w: the authority %s is still retiring", ca.ErrRefused, old.ID)
		}
		next, err := c.makeNext(r.in(ca.Signing))
		if err != nil {
			return nil, nil, err
		}
		list := r.list()
		list.Sequence++
		list.Issuers = append(list.Issuers, next.record)
		return next, &list, nil
	})
}

// Activate implements ca.Rotator.
func (c *CA) Activate(ctx context.Context) (ca.Authority, error) {
	return c.step(ctx, "activate the next CA", func(r *ring) (*member, *issuers, error) {
		next := r.in(ca.Next)
		if next == nil {
			if r.in(ca.Retiring) != nil {
				return r.in(ca.Signing), nil, nil
			}
			return nil, nil, ca.ErrNoRotation
		}
		if now := c.options.Now(); now.Before(next.root.NotBefore) || !now.Before(next.root.NotAfter) {
			return nil, nil, fmt.Errorf("%w: the next root is not valid now", ca.ErrRefused)
		}
		list := r.list()
		for i := range list.Issuers {
			switch list.Issuers[i].Role {
			case ca.Signing:
				list.Issuers[i].Role = ca.Retiring
			case ca.Next:
				list.Issuers[i].Role = ca.Signing
			}
		}
		return next, &list, nil
	})
}

// Retire implements ca.Rotator. The key is overwritten and removed, and there
// are no more revocation lists of that authority.
func (c *CA) Retire(ctx context.Context) (ca.Authority, error) {
	return c.step(ctx, "retire the old CA", func(r *ring) (*member, *issuers, error) {
		old := r.in(ca.Retiring)
		if old == nil {
			return nil, nil, ca.ErrNoRotation
		}
		list := r.list()
		list.Sequence++
		list.Issuers = slices.DeleteFunc(list.Issuers, func(rec record) bool { return rec.Role == ca.Retiring })
		return old, &list, nil
	})
}

// step changes the ring under the lock. The plan returns the authority that the
// answer is about, and the new list; nil: nothing is to be changed.
func (c *CA) step(ctx context.Context, what string, plan func(*ring) (*member, *issuers, error)) (ca.Authority, error) {
	if err := ctx.Err(); err != nil {
		return ca.Authority{}, fmt.Errorf("%s: %w: %w", what, ca.ErrUnavailable, err)
	}
	unlock, err := lock(c.dir)
	if err != nil {
		return ca.Authority{}, fmt.Errorf("%s: %w: %w", what, ca.ErrUnavailable, err)
	}
	defer unlock()
	before, err := c.reload()
	if err != nil {
		return ca.Authority{}, fmt.Errorf("%s: %w: %w", what, ca.ErrUnavailable, err)
	}
	about, list, err := plan(before)
	if err != nil {
		return ca.Authority{}, fmt.Errorf("%s: %w", what, err)
	}
	answer := about.authority()
	if list == nil {
		return answer, nil
	}
	if err := list.save(c.dir); err != nil {
		return ca.Authority{}, fmt.Errorf("%s: %w: %w", what, ca.ErrUnavailable, err)
	}
	after, err := c.reload()
	if err == nil {
		err = removeUnnamed(c.dir, after)
	}
	if err != nil {
		return ca.Authority{}, fmt.Errorf("%s: %w: %w", what, ca.ErrUnavailable, err)
	}
	if m := after.byID(answer.ID); m != nil {
		answer = m.authority()
	}
	return answer, nil
}

// list is the ring as it is written.
func (r *ring) list() issuers {
	l := issuers{Sequence: r.sequence}
	for _, m := range r.members {
		l.Issuers = append(l.Issuers, m.record)
	}
	return l
}

// makeNext writes the files of a new authority. Until issuers.json names them
// they do not count.
func (c *CA) makeNext(old *member) (*member, error) {
	passphrase, err := c.options.passphrase()
	if err != nil {
		return nil, err
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	root, err := c.newRoot(key)
	if err != nil {
		return nil, err
	}
	id := hex.EncodeToString(root.SubjectKeyId)
	next := &member{key: key, root: root, sealed: passphrase != nil, record: record{ID: id, Role: ca.Next, Cert: "root-" + id[:12] + ".pem"}}
	if next.Key, err = c.writeKey(id, key, passphrase); err != nil {
		return nil, err
	}
	if err := writeFile(c.dir, next.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})); err != nil {
		return nil, err
	}
	// A root that allows no CA below it, as roots once were made here, cannot
	// vouch for the next.
	if old.root.MaxPathLenZero {
		return next, nil
	}
	if next.cross, err = c.crossSign(old, root); err != nil {
		return nil, err
	}
	next.Cross = "root-" + id[:12] + "-by-" + old.ID[:12] + ".pem"
	return next, writeFile(c.dir, next.Cross, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: next.cross.Raw}))
}

// writeKey writes a key under a name that no other file has.
func (c *CA) writeKey(id string, key *ecdsa.PrivateKey, passphrase []byte) (string, error) {
	data, err := encodeKey(key, passphrase)
	if err != nil {
		return "", err
	}
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	name := "root-" + id[:12] + "-" + hex.EncodeToString(random[:]) + ".key"
	return name, writeFile(c.dir, name, data)
}

// crossSign certifies the next root's key by the old root (RFC 5280,
// section 3.2 calls it a cross-certificate), for as long as both are valid.
func (c *CA) crossSign(old *member, next *x509.Certificate) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: next.Subject, URIs: next.URIs, SubjectKeyId: next.SubjectKeyId,
		NotBefore: latest(c.options.Now().Add(-ca.MaxBackdate), old.root.NotBefore).Truncate(time.Second),
		NotAfter:  earliest(next.NotAfter, old.root.NotAfter),
		KeyUsage:  x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, old.root, next.PublicKey, old.key)
	if err != nil {
		return nil, fmt.Errorf("sign cross-certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}
