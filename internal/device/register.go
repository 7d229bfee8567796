package device

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"strings"

	"troth/internal/fleet"
)

// Registration makes one device known.
type Registration struct {
	ID     fleet.DeviceID
	Name   string
	Model  string
	Labels map[string]string
}

// Register makes devices known by the hashes of their endorsement keys: all of
// them, or none. A device that is known already is left as it is, so that a
// list may be sent again.
func (s *Service) Register(ctx context.Context, list []Registration, by string) (registered, known int, err error) {
	now := s.Now()
	change := fleet.Change{}
	seen := map[fleet.DeviceID]bool{}
	for i, r := range list {
		if seen[r.ID] {
			return 0, 0, fleet.Errorf(fleet.Invalid, "duplicate_ek_hash", "entry %d: EK hash %s stands twice in the list", i+1, r.ID.Short())
		}
		seen[r.ID] = true
		switch _, err := s.Store.Device(ctx, r.ID); {
		case err == nil:
			known++
			continue
		case !fleet.IsKind(err, fleet.NotFound):
			return 0, 0, err
		}
		d, err := fleet.Register(r.ID, r.Name, r.Model, r.Labels, now)
		if err != nil {
			return 0, 0, fleet.Errorf(fleet.Invalid, fleet.CodeOf(err), "entry %d: an EK hash has 64 lower-case hexadecimal digits", i+1)
		}
		change.Devices = append(change.Devices, d)
		change.Events = append(change.Events, fleet.NewEvent(now, by, "device.register", string(r.ID), r.Name))
	}
	if len(change.Devices) == 0 {
		return 0, known, nil
	}
	if err := s.Store.Apply(ctx, change); err != nil {
		return 0, 0, err
	}
	return len(change.Devices), known, nil
}

// maxCertificates of one manufacturer.
const maxCertificates = 200

// AddManufacturer trusts the makers behind the certificates of a PEM file.
func (s *Service) AddManufacturer(ctx context.Context, name, text, by string) (fleet.Manufacturer, error) {
	if err := checkPEM([]byte(text)); err != nil {
		return fleet.Manufacturer{}, err
	}
	now := s.Now()
	m := fleet.Manufacturer{Name: strings.TrimSpace(name), PEM: []byte(text), AddedAt: now, AddedBy: by}
	return m, s.Store.Apply(ctx, fleet.Change{
		Manufacturers: []fleet.Manufacturer{m},
		Events:        []fleet.Event{fleet.NewEvent(now, by, "manufacturer.add", m.Name, "")},
	})
}

// Manufacturers are the trusted makers of TPMs.
func (s *Service) Manufacturers(ctx context.Context) ([]fleet.Manufacturer, error) {
	return s.Store.Manufacturers(ctx)
}

// checkPEM requires certificates only, with a root among them.
func checkPEM(rest []byte) error {
	roots, count := 0, 0
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil {
			return fleet.Because(err, fleet.Invalid, "pem_malformed", "block %d of the file is not a certificate", count+1)
		}
		if count++; count > maxCertificates {
			return fleet.Errorf(fleet.Invalid, "pem_too_large", "a manufacturer has at most %d certificates", maxCertificates)
		}
		if cert.IsCA && cert.CheckSignatureFrom(cert) == nil {
			roots++
		}
	}
	if roots == 0 {
		return fleet.Errorf(fleet.Invalid, "pem_no_root", "the file holds no self-signed CA certificate, so nothing could be trusted by it")
	}
	return nil
}
