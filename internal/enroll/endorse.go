package enroll

import (
	"bytes"
	"context"
	"crypto/x509"
	"slices"
	"sync"
	"time"

	"troth/attest/ek"
	"troth/internal/fleet"
)

// endorse establishes which TPM this is and who vouches for it. The public area
// is rebuilt from the TCG's templates, never taken from the client as it is
// (TCG EK Credential Profile, annex B).
func (s *Service) endorse(ctx context.Context, e *fleet.Enrollment, c Claim, now time.Time) error {
	if len(c.EKCertificate) == 0 {
		if err := ek.CheckPublic(c.EKPublic); err != nil {
			return coded(err, "ek_refused", "the endorsement key is refused")
		}
		e.EKPublic, e.EKProblem = c.EKPublic, "ek_no_certificate"
		e.Device = fleet.DeviceID(ek.DeviceID(c.EKPublic))
		return nil
	}
	cert, err := ek.ParseCertificate(c.EKCertificate)
	if err != nil {
		return coded(err, "ek_malformed", "the EK certificate cannot be read")
	}
	public, err := rebuild(cert, c)
	if err != nil {
		return coded(err, "ek_refused", "the key of the EK certificate is refused")
	}
	e.EKCertificate, e.EKPublic, e.Device = c.EKCertificate, public, fleet.DeviceID(ek.DeviceID(public))
	e.Manufacturer, e.EKProblem, err = s.vouch(ctx, cert, c.EKChain, now)
	return err
}

// rebuild makes the EK's public area from its certificate. What the device says
// of it only tells templates apart whose keys look alike, and must hold.
func rebuild(cert *x509.Certificate, c Claim) ([]byte, error) {
	if len(c.EKPublic) > 0 {
		if err := ek.CheckMatch(cert, c.EKPublic); err != nil {
			return nil, err
		}
	}
	if len(c.EKTemplate)+len(c.EKNonce) == 0 {
		if len(c.EKPublic) > 0 {
			return c.EKPublic, nil
		}
		return ek.Public(cert)
	}
	public, err := ek.PublicStored(cert, orNil(c.EKTemplate), orNil(c.EKNonce))
	if err != nil {
		return nil, err
	}
	if len(c.EKPublic) > 0 && !bytes.Equal(public, c.EKPublic) {
		return nil, &ek.Error{Code: ek.CodeNotTemplate, Message: "the template from NV memory is of another range than the EK"}
	}
	return public, nil
}

func orNil(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// vouch finds who made the TPM. With a manufacturer, the problem is a warning:
// what policy may want to know; without, it is why there is none.
func (s *Service) vouch(ctx context.Context, cert *x509.Certificate, nvChain []byte, now time.Time) (manufacturer, problem string, err error) {
	roots, err := s.roots(ctx)
	if err != nil {
		return "", "", err
	}
	// What cannot be read between certificate and root vouches for nothing, and
	// is no reason to refuse who can do without.
	supplied, unreadable := ek.ParseChain(nvChain)
	chain, err := roots.VerifyWith(cert, supplied, now)
	if err != nil {
		if code := codeOf(err, "ek_refused"); unreadable == nil || code != ek.CodeUnknownManufacturer {
			return "", code, nil
		}
		return "", codeOf(unreadable, "ek_malformed"), nil
	}
	if problem, err = s.revoked(ctx, chain, now); err != nil {
		return "", problem, nil //nolint:nilerr // the problem says it
	}
	return chain.Manufacturer, problem, nil
}

// roots are the trusted manufacturers as they are now.
func (s *Service) roots(ctx context.Context) (*ek.Roots, error) {
	makers, err := s.Store.Manufacturers(ctx)
	if err != nil {
		return nil, err
	}
	return s.known.of(makers)
}

// knownRoots remembers what stored manufacturers were read as. They are parsed and
// verified again only when they change.
type knownRoots struct {
	mu     sync.Mutex
	makers []fleet.Manufacturer
	roots  *ek.Roots
}

func (k *knownRoots) of(makers []fleet.Manufacturer) (*ek.Roots, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	same := func(a, b fleet.Manufacturer) bool { return a.Name == b.Name && bytes.Equal(a.PEM, b.PEM) }
	if k.roots != nil && slices.EqualFunc(k.makers, makers, same) {
		return k.roots, nil
	}
	roots := ek.NewRoots()
	for _, m := range makers {
		if err := roots.Add(m.Name, m.PEM); err != nil {
			return nil, fleet.Because(err, fleet.Internal, "manufacturer_unusable", "the stored certificates of manufacturer %s cannot be read", m.Name)
		}
	}
	k.makers, k.roots = makers, roots
	return roots, nil
}

// onlyOnce refuses the key of a known device in another template's clothes. A TPM
// answers the challenge for either, so it could be two devices (and one that was
// retired could come back).
func (s *Service) onlyOnce(ctx context.Context, e fleet.Enrollment) error {
	twins, err := ek.Twins(e.EKPublic)
	if err != nil {
		return coded(err, "ek_refused", "the endorsement key is refused")
	}
	for _, public := range twins {
		other, err := s.existing(ctx, fleet.DeviceID(ek.DeviceID(public)))
		if err != nil {
			return err
		}
		neverCame := other.EnrolledAt.IsZero() && other.Lifecycle == fleet.Retired
		if other.Revision > 0 && !neverCame {
			return fleet.Errorf(fleet.Refused, "ek_shown_twice",
				"this endorsement key is that of device %s, by another template: one TPM is one device", other.ID.Short())
		}
	}
	return nil
}

func stranger(e fleet.Enrollment) error {
	if e.DevID.Problem != "" && e.EKProblem != ek.CodeRevoked {
		return fleet.Errorf(fleet.Refused, e.DevID.Problem,
			"device %s is not registered, and neither its EK (%s) nor what its manufacturer certified vouches for its TPM", e.Device.Short(), e.EKProblem)
	}
	advice := "register its EK hash or add the manufacturer's root"
	switch e.EKProblem {
	case ek.CodeRevoked:
		advice = "its manufacturer revoked the EK certificate"
	case ek.CodeCRLUnavailable, ek.CodeCRLStale:
		advice = "no current revocation list of its manufacturer is at hand, and the configuration requires one: try again, or give the list as a file"
	case ek.CodeExpired:
		advice = "a certificate of its chain is not valid now"
	}
	return fleet.Errorf(fleet.Refused, e.EKProblem,
		"device %s is not registered, and no trusted manufacturer vouches for its TPM: %s", e.Device.Short(), advice)
}
