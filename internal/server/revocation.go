package server

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"troth/attest/ek"
	"troth/internal/crl"
)

// RevocationConfig is what the revocation lists of TPM manufacturers mean for an
// enrolment, and where they come from.
type RevocationConfig struct {
	// Policy says what it means that there is no current list: require, prefer or
	// ignore (ek.RevocationPolicy); prefer by default.
	Policy string `json:"policy"`
	// Dir holds lists in files .crl or .pem. It is read again every five seconds.
	Dir string `json:"dir"`
	// Fetch has lists fetched from the addresses in certificates; true by default.
	Fetch   *bool    `json:"fetch"`
	Timeout Duration `json:"timeout"` // of a fetch; 15s
	Wait    Duration `json:"wait"`    // how long an enrolment waits for a fetch; 3s
	// AllowAddresses are ranges (10.1.0.0/16) that may be reached though they are
	// not public.
	AllowAddresses []string `json:"allow_addresses"`
}

// crlRefresh is the time between looks into the directory of lists.
const crlRefresh = 5 * time.Second

func (c RevocationConfig) complete() RevocationConfig {
	c.Policy = or(c.Policy, string(ek.PreferCRLs))
	if c.Fetch == nil {
		yes := true
		c.Fetch = &yes
	}
	c.Timeout, c.Wait = or(c.Timeout, Duration(15*time.Second)), or(c.Wait, Duration(3*time.Second))
	return c
}

func (c RevocationConfig) validate() error {
	const where = "configuration: enrollment.revocation"
	if _, err := ek.ParseRevocationPolicy(c.Policy); err != nil {
		return fmt.Errorf("%s.policy: %w", where, err)
	}
	for name, d := range map[string]Duration{"timeout": c.Timeout, "wait": c.Wait} {
		if d < Duration(100*time.Millisecond) || d > Duration(time.Minute) {
			return fmt.Errorf("%s.%s must be from 100ms to 1m", where, name)
		}
	}
	if _, err := c.allowed(); err != nil {
		return fmt.Errorf("%s.allow_addresses: %w", where, err)
	}
	if c.Policy == string(ek.RequireCRLs) && c.Dir == "" && !*c.Fetch {
		return errors.New(where + ": policy require without dir and fetch would refuse every device")
	}
	return nil
}

func (c RevocationConfig) allowed() ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range c.AllowAddresses {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q is not a range as 10.1.0.0/16", text)
		}
		all = append(all, p)
	}
	return all, nil
}

// revocation opens what the configuration says; nil: nothing is looked up.
func (s *Service) revocation() (*ek.CRLs, error) {
	c := s.config.Enrollment.Revocation
	if c.Policy == string(ek.IgnoreCRLs) {
		return nil, nil
	}
	var options ek.CRLOptions
	if *c.Fetch {
		allowed, err := c.allowed()
		if err != nil {
			return nil, err
		}
		kept, err := crl.OpenKept(filepath.Join(s.config.DataDir, "crls"), time.Now())
		if err != nil {
			return nil, err
		}
		options.Kept = kept
		options.Fetch = crl.NewFetcher(crl.FetchOptions{Timeout: time.Duration(c.Timeout), Allowed: allowed}).Fetch
	}
	crls := ek.NewCRLs(options)
	if c.Dir == "" {
		return crls, nil
	}
	s.crlDir = crl.NewDirectory(c.Dir, crls)
	return crls, s.crlDir.Refresh()
}
