package server

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"time"

	"troth/internal/httpapi"
	"troth/internal/result"
)

// ResultConfig is how attestation result tokens are made.
type ResultConfig struct {
	// Issuer is iss of the tokens; spiffe://TRUST_DOMAIN by default.
	Issuer string `json:"issuer"`
	// Lifetime is the longest life of a token. It never outlives the verdict that
	// it states; check_in.fresh by default.
	Lifetime Duration `json:"lifetime"`
	// Rotate is how long a key signs before the next one is made; 720h.
	Rotate Duration `json:"rotate"`
}

func (r ResultConfig) complete(c Config) ResultConfig {
	r.Issuer = or(r.Issuer, "spiffe://"+c.TrustDomain)
	r.Lifetime = or(r.Lifetime, c.CheckIn.Fresh)
	r.Rotate = or(r.Rotate, Duration(30*24*time.Hour))
	return r
}

func (r ResultConfig) validate() error {
	if time.Duration(r.Lifetime) < time.Second {
		return errors.New("configuration: result.lifetime must be at least 1s")
	}
	if time.Duration(r.Rotate) < time.Minute {
		return errors.New("configuration: result.rotate must be at least 1m, or relying parties cannot keep up with the keys")
	}
	return nil
}

// openResults opens the keys and makes the use case over them.
func (s *Service) openResults(version string) (httpapi.Results, error) {
	c := s.config
	lifetime := time.Duration(c.Result.Lifetime)
	keys, err := openResultKeys(filepath.Join(c.DataDir, "result-keys.json"), time.Duration(c.Result.Rotate), lifetime, time.Now)
	if err != nil {
		return httpapi.Results{}, err
	}
	s.results = keys
	return httpapi.Results{
		Service: &result.Service{
			Store: s.store, Keys: keys, Issuer: c.Result.Issuer, TrustDomain: c.TrustDomain, Build: version,
			Lifetime: lifetime, Now: time.Now,
		},
		Set: func() json.Marshaler { return keys.Set() },
	}, nil
}
