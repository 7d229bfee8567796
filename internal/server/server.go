// Package server puts the service together: it reads the configuration, opens
// what it names, wires the use cases, serves, and stops in order.
package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"troth/attest/ek"
	"troth/attest/eventlog"
	"troth/ca"
	"troth/ca/local"
	"troth/internal/access"
	"troth/internal/alert"
	"troth/internal/atomicfile"
	"troth/internal/bundle"
	"troth/internal/crl"
	"troth/internal/decision"
	"troth/internal/device"
	"troth/internal/enroll"
	"troth/internal/firmware"
	"troth/internal/fleet"
	"troth/internal/httpapi"
	"troth/internal/nonce"
	"troth/internal/operator"
	"troth/internal/posture"
	"troth/internal/publication"
	"troth/internal/report"
	"troth/internal/rollout"
	"troth/internal/store"
	"troth/internal/vuln"
	"troth/policy"
	"troth/tuf/kms"
)

// Lifetimes that nobody needs to set.
const (
	nonceLife     = 10 * time.Minute
	challengeLife = 2 * time.Minute
)

// eventLogMemory is about what the service spends, in bytes, on event logs that it
// has read: enough for some hundred different boots, each shared by all devices
// that booted so.
const eventLogMemory = 64 << 20

// Service is a wired trothd.
type Service struct {
	config   Config
	log      *slog.Logger
	store    *store.Store
	issuer   ca.Issuer
	identity *identity // of the service itself, in TLS
	firmware *firmware.Repository
	enroll   *enroll.Service
	crlDir   *crl.Directory // nil: none is configured
	posture  *posture.Service
	rollouts *rollout.Service
	vulns    *vuln.Service
	bundles  *bundle.Service
	recorder *decision.Recorder
	operator *operator.Service
	results  *resultKeys
	handler  http.Handler
	beats    *heartbeats
}

// New opens and wires everything that the configuration names. Close it.
func New(ctx context.Context, c Config, version string, log *slog.Logger) (*Service, error) {
	c, err := c.complete()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	atomicfile.Clean(c.DataDir) // of what power cuts left
	s := &Service{config: c, log: log, beats: newHeartbeats()}
	if s.store, err = store.Open(ctx, c.Database); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := s.wire(ctx, version); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close lets go of the database and the CA.
func (s *Service) Close() error {
	if s.bundles != nil {
		s.bundles.Close()
	}
	if issuer, ok := s.issuer.(io.Closer); ok {
		return errors.Join(issuer.Close(), s.store.Close())
	}
	return s.store.Close()
}

func (s *Service) wire(ctx context.Context, version string) error {
	c := s.config
	ownCA, err := local.Open(c.localCA())
	if err != nil {
		return fmt.Errorf("open CA: %w", err)
	}
	if s.issuer, err = issuer(c, ownCA); err != nil {
		return err
	}
	if s.identity, err = newIdentity(ctx, ownCA, s.issuer, c); err != nil {
		return err
	}
	nonces, err := openNonces(filepath.Join(c.DataDir, "nonce.key"))
	if err != nil {
		return err
	}
	engine := &policy.Current{}
	if s.firmware, err = s.repository(engine); err != nil {
		return err
	}
	if err := s.openPolicies(ctx, engine); err != nil {
		return err
	}
	crls, err := s.revocation()
	if err != nil {
		return err
	}
	s.enroll = enroll.New(enroll.Config{
		Store: s.store, Issuer: s.issuer, Policy: engine, Nonces: nonces, TrustDomain: c.TrustDomain,
		CRLs: crls, Revocation: ek.RevocationPolicy(c.Enrollment.Revocation.Policy), CRLPatience: time.Duration(c.Enrollment.Revocation.Wait),
		RequireRegistration: c.Enrollment.RequireRegistration, CertificateLife: time.Duration(c.Certificates.Lifetime), MaxCertificateLife: time.Duration(c.Certificates.MaxLifetime),
		ChallengeLife: challengeLife, Now: time.Now,
	})
	s.rollouts = rollout.New(rollout.Config{Store: s.store, Releases: s.firmware, Policy: engine, Plan: fleet.DefaultPlan(), Now: time.Now})
	s.vulns = vuln.New(vuln.Config{Store: s.store, Releases: s.firmware, Now: time.Now})
	eventLogs, err := eventlog.NewCache(eventLogMemory)
	if err != nil {
		return err
	}
	s.posture = posture.New(posture.Config{
		Store: s.store, Policy: s.bundles, Releases: s.firmware, Loaded: s.firmware.Loaded, Files: s.firmware, Rollouts: s.rollouts, Vulnerabilities: s.vulns, Nonces: nonces, EventLogs: eventLogs,
		Interval: time.Duration(c.CheckIn.Interval), Fresh: time.Duration(c.CheckIn.Fresh), Now: time.Now,
	})
	s.recorder = decision.NewRecorder(s.store)
	s.operator = &operator.Service{Store: s.store, Policy: decision.Operators{Policy: engine, Log: s.recorder, Now: time.Now}, Now: time.Now}
	results, err := s.openResults(version)
	if err != nil {
		return err
	}
	s.handler = httpapi.New(httpapi.Config{
		Enroll: s.enroll, Posture: s.posture, Rollouts: s.rollouts, Vulnerabilities: s.vulns, Operators: s.operator,
		Devices:  &device.Service{Store: s.store, Now: time.Now},
		Decided:  &decision.Log{Store: s.store},
		Alerts:   &alert.Service{Store: s.store, Now: time.Now},
		Access:   &access.Service{Store: s.store, Policy: engine, Log: s.recorder, Now: time.Now},
		Reports:  &report.Service{Store: s.store, Policy: engine.Digest, Now: time.Now},
		Policies: s.policyEdge(),
		Results:  results, CA: s.openAuthorities(ownCA), Catalog: s.firmware, Records: s.store, Firmware: os.DirFS(c.Firmware.Repository),
		Ready: s.ready, Version: version, Log: s.log, Now: time.Now,
	})
	return nil
}

// repository is the verifier's view of the firmware repository.
func (s *Service) repository(engine *policy.Current) (*firmware.Repository, error) {
	c := s.config.Firmware
	trust, err := publication.ReadTrust(c.TrustedRoot, c.TrustedKeys)
	if err != nil {
		return nil, err
	}
	return firmware.NewRepository(firmware.Config{
		Dir: c.Repository, Root: c.Root, OnlineKeys: c.OnlineKeys,
		TrustDir: filepath.Join(s.config.DataDir, "tuf-trust"), Now: time.Now,
		Passphrase: onlinePassphrase(c), Remote: kms.Open, Alerts: s.store,
		Policy: engine, Trust: trust,
	}), nil
}

// issuer is Vault where it is configured, and the CA in the data directory
// otherwise.
func issuer(c Config, own *local.CA) (ca.Issuer, error) {
	v := c.Certificates.Vault
	if v == nil {
		return own, nil
	}
	return openVault(v, c.TrustDomain)
}

// openNonces reads the key of nonces, or makes it. Every replica of a service
// needs the same one.
func openNonces(path string) (*nonce.Issuer, error) {
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, nonce.KeySize)
		_, _ = rand.Read(key) // never fails (crypto/rand)
		err = atomicfile.Write(path, key, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("open nonce key: %w", err)
	}
	return nonce.New(key, nonceLife)
}

// shutdownTime is how long requests under way may take when the service stops.
const shutdownTime = 10 * time.Second

// Run serves until the context ends. What a person must know to use the service
// is written to out.
func (s *Service) Run(ctx context.Context, out io.Writer) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.config.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	s.prepare(ctx)
	if err := s.greet(ctx, out, listener.Addr()); err != nil {
		return errors.Join(err, listener.Close())
	}
	server := &http.Server{
		Handler: s.handler, TLSConfig: s.identity.tlsConfig(),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 5 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // TLS handshakes of strangers
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		defer cancel()
		return server.Shutdown(stop)
	})
	for _, job := range s.jobs() {
		group.Go(func() error { return s.repeat(ctx, job) })
	}
	err = group.Wait()
	return errors.Join(err, s.recordRest(ctx))
}

// recordRest writes the decisions that are left, after the last request is
// answered.
func (s *Service) recordRest(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTime)
	defer cancel()
	return s.recorder.Flush(ctx, time.Now())
}

// prepare reads what the first requests need, so that devices which come right
// after a restart are not turned away. What is away is tried again by its job.
func (s *Service) prepare(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	for _, read := range []func(context.Context) error{s.firmware.Refresh, s.vulns.Compare, s.identity.refresh} {
		if err := read(ctx); err != nil {
			s.log.WarnContext(ctx, "not ready at the start", "error", err)
		}
	}
}

// Recover makes a bootstrap token for administrators who have lost theirs.
func Recover(ctx context.Context, c Config) (string, error) {
	c, err := c.complete()
	if err != nil {
		return "", err
	}
	db, err := store.Open(ctx, c.Database)
	if err != nil {
		return "", fmt.Errorf("open database: %w", err)
	}
	text, err := (&operator.Service{Store: db, Now: time.Now}).Recover(ctx)
	return text, errors.Join(err, db.Close())
}

// greet says where the service is and, until somebody has logged in, with which
// token to do so.
func (s *Service) greet(ctx context.Context, out io.Writer, addr net.Addr) error {
	token, err := s.operator.Bootstrap(ctx)
	if err != nil {
		return fmt.Errorf("make bootstrap token: %w", err)
	}
	fmt.Fprintf(out, "trothd: serving https://%s\n", addr)
	fmt.Fprintf(out, "trothd: its CA certificate is %s\n", s.identity.caFile)
	if note := sealing(s.identity.own); note != "" {
		fmt.Fprintf(out, "trothd: %s\n", note)
	}
	if token != "" {
		fmt.Fprintf(out, "trothd: bootstrap token, good for one login within 24 hours: %s\n", token)
	}
	fmt.Fprintln(out, "trothd: ready")
	return nil
}
