package device_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troth/internal/device"
	"troth/internal/fleet"
	"troth/internal/store"
)

var now = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

func newService(t *testing.T) (*device.Service, *store.Store) {
	t.Helper()
	s, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "troth.db")+"?synchronous=normal")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &device.Service{Store: s, Now: func() time.Time { return now }}, s
}

func apply(t *testing.T, s *store.Store, c fleet.Change) {
	t.Helper()
	if err := s.Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// id begins with the digits and goes on with zeros.
func id(digits string) fleet.DeviceID {
	return fleet.DeviceID(digits + strings.Repeat("0", 64-len(digits)))
}

func TestResolve(t *testing.T) {
	service, s := newService(t)
	apply(t, s, fleet.Change{Devices: []fleet.Device{
		{ID: id("abcdef1"), Name: "pump", Lifecycle: fleet.Active},
		{ID: id("abcdef2"), Name: "deadbeef", Lifecycle: fleet.Active},
		{ID: id("deadbeef"), Lifecycle: fleet.Active},
		{ID: id("111111"), Name: "valve", Lifecycle: fleet.Retired},
		{ID: id("222222"), Name: "valve", Lifecycle: fleet.Active},
		{ID: id("333333"), Name: "gone", Lifecycle: fleet.Retired},
	}})
	tests := []struct {
		key  string
		want fleet.DeviceID
		code string
	}{
		{string(id("abcdef1")), id("abcdef1"), ""},
		{"abcdef1", id("abcdef1"), ""},
		{"pump", id("abcdef1"), ""},
		{"deadbeef", id("abcdef2"), ""}, // a name before a prefix
		{"deadbeef0", id("deadbeef"), ""},
		{"valve", id("222222"), ""}, // the living before the retired
		{"gone", id("333333"), ""},
		{"abcdef", "", "device_ambiguous"},
		{"abcde", "", "device_not_found"}, // too short
		{"ABCDEF1", "", "device_not_found"},
		{"fedcba", "", "device_not_found"},
		{"%", "", "device_not_found"},
		{"' OR 1=1 --", "", "device_not_found"},
		{string(id("ffffff")), "", "not_found"},
	}
	for _, tt := range tests {
		d, err := service.Resolve(t.Context(), tt.key)
		if d.ID != tt.want || (tt.code == "") != (err == nil) || tt.code != "" && fleet.CodeOf(err) != tt.code {
			t.Errorf("%q: %s, %v; want %s %s", tt.key, d.ID.Short(), err, tt.want.Short(), tt.code)
		}
	}
}

func TestRegisterAllOrNothing(t *testing.T) {
	service, s := newService(t)
	ctx := t.Context()
	apply(t, s, fleet.Change{Devices: []fleet.Device{{ID: id("aa"), Name: "pump", Lifecycle: fleet.Active}}})
	entry := func(digits, name string) device.Registration {
		return device.Registration{ID: id(digits), Name: name, Model: "edge"}
	}
	tests := []struct {
		name string
		list []device.Registration
		code string
	}{
		{"one twice", []device.Registration{entry("bb", ""), entry("bb", "")}, "duplicate_ek_hash"},
		{"a known one twice", []device.Registration{entry("bb", ""), entry("aa", ""), entry("aa", "")}, "duplicate_ek_hash"},
		{"a hash in no form", []device.Registration{entry("bb", ""), {ID: "xyz"}}, "invalid_ek_hash"},
		{"a name that is taken", []device.Registration{entry("bb", ""), entry("cc", "pump")}, "name_taken"},
		{"a name twice", []device.Registration{entry("bb", "x"), entry("cc", "x")}, "name_taken"},
	}
	for _, tt := range tests {
		if n, known, err := service.Register(ctx, tt.list, "ada"); fleet.CodeOf(err) != tt.code || n+known != 0 {
			t.Errorf("%s: registered %d, known %d, %v; want %s", tt.name, n, known, err, tt.code)
		}
		if _, err := s.Device(ctx, id("bb")); !errors.Is(err, fleet.ErrNotFound) {
			t.Errorf("%s: the good entry before it was kept", tt.name)
		}
	}
	list := []device.Registration{entry("aa", "other"), entry("bb", "valve"), entry("cc", "")}
	if n, known, err := service.Register(ctx, list, "ada"); err != nil || n != 2 || known != 1 {
		t.Errorf("registered %d, known %d, %v", n, known, err)
	}
	if n, known, err := service.Register(ctx, list, "ada"); err != nil || n != 0 || known != 3 {
		t.Errorf("sent again: registered %d, known %d, %v", n, known, err)
	}
	if d, err := s.Device(ctx, id("aa")); err != nil || d.Name != "pump" || d.Lifecycle != fleet.Active {
		t.Errorf("a known device was changed: %+v, %v", d, err)
	}
	if d, err := s.Device(ctx, id("bb")); err != nil || d.Lifecycle != fleet.Pending || !d.RegisteredAt.Equal(now) || d.Model != "edge" {
		t.Errorf("%+v, %v", d, err)
	}
	if events, err := s.Events(ctx, string(id("bb")), 0); err != nil || len(events) != 1 || events[0].Actor != "ada" {
		t.Errorf("events %+v, %v", events, err)
	}
}

func TestRetireRevokesAndCloses(t *testing.T) {
	service, s := newService(t)
	ctx := t.Context()
	d := fleet.Device{ID: id("aa"), Name: "pump", Lifecycle: fleet.Active, Verdict: fleet.Noncompliant, FreshUntil: now.Add(time.Hour)}
	intent := fleet.Certificate{ID: "c", Device: d.ID, State: fleet.CertificateIntended}
	apply(t, s, fleet.Change{
		Devices: []fleet.Device{d}, Certificates: []fleet.Certificate{intent},
		Alerts: []fleet.Alert{fleet.Raise(nil, fleet.Alert{Subject: string(d.ID), Key: "silent", Device: d.ID}, now)},
	})
	intent.State, intent.Serial, intent.NotAfter = fleet.CertificateIssued, "01", now.Add(time.Hour)
	apply(t, s, fleet.Change{Certificates: []fleet.Certificate{intent}})
	if detail, err := service.Get(ctx, "pump"); err != nil || detail.Certificate == nil || detail.Posture != nil {
		t.Fatalf("%+v, %v", detail, err)
	}
	for range 2 { // the second time changes nothing
		moved, err := service.Move(ctx, string(d.ID), "retire", "sold", "ada", fleet.Device.Retire)
		if err != nil || moved.Lifecycle != fleet.Retired || moved.Believed(now) != fleet.Unknown {
			t.Fatalf("%+v, %v", moved, err)
		}
	}
	certificates, err := s.Certificates(ctx, d.ID)
	if err != nil || certificates[0].State != fleet.CertificateRevoked || certificates[0].EndedAt.IsZero() {
		t.Errorf("certificates %+v, %v", certificates, err)
	}
	if open, err := s.Alerts(ctx, fleet.AlertFilter{Open: true}); err != nil || len(open) != 0 {
		t.Errorf("open alerts %+v, %v", open, err)
	}
	events, err := s.Events(ctx, string(d.ID), 0)
	if err != nil || len(events) != 1 || events[0].Action != "device.retire" || events[0].Detail != "sold" {
		t.Errorf("events %+v, %v", events, err)
	}
	for action, move := range map[string]device.Move{"quarantine": fleet.Device.Quarantine, "release": fleet.Device.Release} {
		if _, err := service.Move(ctx, string(d.ID), action, "", "ada", move); fleet.CodeOf(err) != "wrong_lifecycle" {
			t.Errorf("%s of a retired device: %v", action, err)
		}
	}
	// Its name is free again.
	if n, _, err := service.Register(ctx, []device.Registration{{ID: id("bb"), Name: "pump"}}, "ada"); err != nil || n != 1 {
		t.Errorf("another device of the name: %d, %v", n, err)
	}
}

func TestGetPrefersTheLatestCertificate(t *testing.T) {
	service, s := newService(t)
	d := fleet.Device{ID: id("aa"), Lifecycle: fleet.Active}
	apply(t, s, fleet.Change{Devices: []fleet.Device{d}})
	for i, hours := range []int{2, 3, 1} {
		c := fleet.Certificate{ID: string(rune('a' + i)), Device: d.ID, State: fleet.CertificateIntended}
		apply(t, s, fleet.Change{Certificates: []fleet.Certificate{c}})
		c.State, c.Serial, c.NotAfter = fleet.CertificateIssued, string(rune('1'+i)), now.Add(time.Duration(hours)*time.Hour)
		apply(t, s, fleet.Change{Certificates: []fleet.Certificate{c}})
	}
	detail, err := service.Get(t.Context(), string(d.ID))
	if err != nil || detail.Certificate == nil || detail.Certificate.Serial != "2" {
		t.Errorf("%+v, %v", detail.Certificate, err)
	}
}

// certificate is a CA's, or a leaf that signs itself.
func certificate(t *testing.T, isCA bool) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now, NotAfter: now.Add(time.Hour), IsCA: isCA, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestManufacturers(t *testing.T) {
	service, s := newService(t)
	root := certificate(t, true)
	for _, tt := range []struct{ name, pem, code string }{
		{"nothing", "", "pem_no_root"},
		{"no PEM", "hello", "pem_no_root"},
		{"a leaf", certificate(t, false), "pem_no_root"},
		{"a key", root + string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte("x")})), "pem_malformed"},
		{"not a certificate", root + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})), "pem_malformed"},
		{"too many", strings.Repeat(root, 201), "pem_too_large"},
	} {
		if _, err := service.AddManufacturer(t.Context(), "acme", tt.pem, "ada"); fleet.CodeOf(err) != tt.code {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.code)
		}
	}
	if list, err := s.Manufacturers(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("kept what it refused: %+v, %v", list, err)
	}
	m, err := service.AddManufacturer(t.Context(), " acme ", root, "ada")
	if err != nil || m.Name != "acme" || m.AddedBy != "ada" {
		t.Errorf("%+v, %v", m, err)
	}
}
