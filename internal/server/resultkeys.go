package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"troth/attest/ear"
	"troth/internal/atomicfile"
)

// resultKeys sign result tokens. They stand in one file of the data directory;
// the newest signs, and those before it stay published until the last token that
// they signed has ended.
type resultKeys struct {
	path     string
	rotate   time.Duration // a key signs for this long
	lifetime time.Duration // of a token, at most
	now      func() time.Time

	mu   sync.RWMutex
	keys []ear.Key // oldest first, never empty
}

// storedKey is a key as the file has it.
type storedKey struct {
	Made    time.Time `json:"made"`
	Private []byte    `json:"private"` // PKCS #8, DER
}

// keyFile is the file. It holds secrets: it is made with mode 0600.
type keyFile struct {
	Keys []storedKey `json:"keys"`
}

// publishedAfter is how long an old key stays published beyond the end of its
// last token: for the clocks of relying parties.
const publishedAfter = time.Hour

// openResultKeys reads the keys, or makes the first.
func openResultKeys(path string, rotate, lifetime time.Duration, now func() time.Time) (*resultKeys, error) {
	k := &resultKeys{path: path, rotate: rotate, lifetime: lifetime, now: now}
	if err := k.refresh(context.Background()); err != nil {
		return nil, fmt.Errorf("open result keys: %w", err)
	}
	return k, nil
}

// refresh reads the file anew, so that another key can be put there; it makes a
// new key when the newest has signed for long enough, and forgets those whose
// tokens have all ended.
func (k *resultKeys) refresh(context.Context) error {
	stored, err := readKeys(k.path)
	if err != nil {
		return err
	}
	now := k.now()
	next, err := k.turn(stored, now)
	if err != nil {
		return err
	}
	keys := make([]ear.Key, len(next))
	for i, s := range next {
		if keys[i], err = s.key(); err != nil {
			return err
		}
	}
	if !slices.EqualFunc(next, stored, func(a, b storedKey) bool { return a.Made.Equal(b.Made) }) {
		if err := writeKeys(k.path, next); err != nil {
			return err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys = keys
	return nil
}

// turn is the keys as they should stand at now.
func (k *resultKeys) turn(stored []storedKey, now time.Time) ([]storedKey, error) {
	var next []storedKey
	for i, s := range stored {
		// The key signed until its successor was made.
		if i == len(stored)-1 || now.Before(stored[i+1].Made.Add(k.lifetime+publishedAfter)) {
			next = append(next, s)
		}
	}
	if n := len(next); n > 0 && now.Before(next[n-1].Made.Add(k.rotate)) {
		return next, nil
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return append(next, storedKey{Made: now.UTC(), Private: der}), nil
}

// Key is the one that signs.
func (k *resultKeys) Key() ear.Key {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.keys[len(k.keys)-1]
}

// Set is the public keys that relying parties need.
func (k *resultKeys) Set() ear.KeySet {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return ear.NewKeySet(k.keys...)
}

func (s storedKey) key() (ear.Key, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(s.Private)
	if err != nil {
		return ear.Key{}, errors.New("read result keys: a key is damaged") // the cause might quote it
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return ear.Key{}, errors.New("read result keys: a key is not for ECDSA")
	}
	return ear.NewKey(private)
}

// readKeys is empty where there is no file. A damaged one is an error: new keys
// would make every token out there worthless without a word.
func readKeys(path string) ([]storedKey, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read result keys: %w", err)
	}
	var f keyFile
	if json.Unmarshal(text, &f) != nil || len(f.Keys) == 0 {
		return nil, fmt.Errorf("read result keys: %s is damaged: restore it, or remove it to begin with a new key", path)
	}
	slices.SortStableFunc(f.Keys, func(a, b storedKey) int { return a.Made.Compare(b.Made) })
	return f.Keys, nil
}

func writeKeys(path string, keys []storedKey) error {
	text, err := json.Marshal(keyFile{Keys: keys})
	if err != nil {
		return fmt.Errorf("encode result keys: %w", err)
	}
	return atomicfile.Write(path, text, 0o600)
}
