// Package nonce makes and checks the challenges that a quote must contain
// (RFC 9334, section 10.3).
//
// A nonce is stateless: a time, some randomness and a MAC over both and the
// device it was made for. Any replica that holds the key can check it. It is
// single-use because a device's nonces are used in the order of their times: the
// time of the last one used up is part of the device's stored state, and only a
// later one is accepted.
package nonce

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"troth/internal/fleet"
)

// Sizes in bytes.
const (
	KeySize    = 32
	timeSize   = 8
	randomSize = 16
	macSize    = sha256.Size
	Size       = timeSize + randomSize + macSize
)

// Clock skew between replicas that is tolerated in a nonce's time.
const skew = time.Minute

// Issuer makes and checks nonces under one key.
type Issuer struct {
	key  [KeySize]byte
	life time.Duration
}

// New returns an Issuer whose nonces live for the duration life. The key is
// shared by all replicas of a service and has 32 bytes.
func New(key []byte, life time.Duration) (*Issuer, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("make nonce issuer: the key has %d bytes, want %d", len(key), KeySize)
	}
	i := &Issuer{life: life}
	copy(i.key[:], key)
	return i, nil
}

// Issue makes a nonce for the device. Its time is now, or just after the last
// nonce that the device used up where the clock has stepped back behind it.
func (i *Issuer) Issue(d fleet.Device, now time.Time) []byte {
	at := max(now.UnixMicro(), d.LastNonce+1)
	n := make([]byte, timeSize+randomSize, Size)
	binary.BigEndian.PutUint64(n, uint64(at))
	_, _ = rand.Read(n[timeSize:]) // never fails (crypto/rand)
	return append(n, i.mac(n, d.ID)...)
}

// Check verifies a nonce that the device d presents and returns the time to
// store as the device's LastNonce once the nonce is used up.
func (i *Issuer) Check(nonce []byte, d fleet.Device, now time.Time) (int64, error) {
	if len(nonce) != Size || !hmac.Equal(nonce[timeSize+randomSize:], i.mac(nonce[:timeSize+randomSize], d.ID)) {
		return 0, fleet.Errorf(fleet.Refused, "nonce_invalid", "the nonce is not one that this service made for this device: ask for a new one")
	}
	at := int64(binary.BigEndian.Uint64(nonce)) //nolint:gosec // authenticated: written by Issue
	if at <= d.LastNonce {
		return 0, fleet.Errorf(fleet.Refused, "nonce_replayed", "the nonce was used already, or a later one was: ask for a new one")
	}
	issued := time.UnixMicro(at)
	if now.After(issued.Add(i.life)) || issued.After(now.Add(skew)) && at != d.LastNonce+1 {
		return 0, fleet.Errorf(fleet.Refused, "nonce_expired", "the nonce is older than %s: ask for a new one", i.life)
	}
	return at, nil
}

func (i *Issuer) mac(body []byte, id fleet.DeviceID) []byte {
	m := hmac.New(sha256.New, i.key[:])
	m.Write([]byte("troth nonce v1\x00"))
	m.Write([]byte(id))
	m.Write(body)
	return m.Sum(nil)
}
