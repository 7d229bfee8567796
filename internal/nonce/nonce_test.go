package nonce_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"troth/internal/fleet"
	"troth/internal/nonce"
)

var (
	now   = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	meter = fleet.Device{ID: fleet.DeviceID(strings.Repeat("a", 64))}
	pump  = fleet.Device{ID: fleet.DeviceID(strings.Repeat("b", 64))}
)

func issuer(t *testing.T, fill byte) *nonce.Issuer {
	t.Helper()
	i, err := nonce.New(bytes.Repeat([]byte{fill}, nonce.KeySize), 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestAttack_Q3_NonceIsFreshSingleUseAndBound(t *testing.T) {
	i := issuer(t, 1)
	good := i.Issue(meter, now)
	used := meter
	at, err := i.Check(good, meter, now.Add(time.Minute))
	if err != nil {
		t.Fatalf("a fresh nonce: %v", err)
	}
	used.LastNonce = at

	flipped := bytes.Clone(good)
	flipped[3] ^= 1
	tests := []struct {
		name   string
		nonce  []byte
		device fleet.Device
		now    time.Time
		code   string
	}{
		{"replayed", good, used, now.Add(time.Minute), "nonce_replayed"},
		{"expired", good, meter, now.Add(11 * time.Minute), "nonce_expired"},
		{"of another device", good, pump, now, "nonce_invalid"},
		{"edited", flipped, meter, now, "nonce_invalid"},
		{"truncated", good[:len(good)-1], meter, now, "nonce_invalid"},
		{"empty", nil, meter, now, "nonce_invalid"},
		{"of another service", issuer(t, 2).Issue(meter, now), meter, now, "nonce_invalid"},
		{"from the future", i.Issue(meter, now.Add(time.Hour)), meter, now, "nonce_expired"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := i.Check(tt.nonce, tt.device, tt.now); fleet.CodeOf(err) != tt.code {
				t.Errorf("got %v, want code %s", err, tt.code)
			}
		})
	}
	if bytes.Equal(i.Issue(meter, now), i.Issue(meter, now)) {
		t.Error("two nonces of one instant are equal")
	}
}

// A service whose clock stepped back must still be able to hear its devices.
func TestClockStepsBack(t *testing.T) {
	i := issuer(t, 1)
	d := meter
	d.LastNonce = now.UnixMicro()
	earlier := now.Add(-time.Hour)
	at, err := i.Check(i.Issue(d, earlier), d, earlier)
	if err != nil {
		t.Fatal(err)
	}
	if at <= d.LastNonce {
		t.Errorf("time of the nonce %d does not follow %d", at, d.LastNonce)
	}
}

func TestKeySize(t *testing.T) {
	if _, err := nonce.New([]byte("short"), time.Minute); err == nil {
		t.Error("a short key was accepted")
	}
}
