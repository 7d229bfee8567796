package server

import (
	"context"
	"fmt"
	"sync"
	"time"

	"troth/internal/bundle"
	"troth/internal/decision"
)

// job is work that is repeated. Every run may happen in several replicas at
// once: the use cases compare and swap.
type job struct {
	name  string
	every time.Duration
	run   func(context.Context) error
}

func (s *Service) jobs() []job {
	sweep := time.Duration(s.config.CheckIn.Sweep)
	jobs := []job{
		{"posture sweep", sweep, func(ctx context.Context) error {
			n, err := s.posture.Sweep(ctx)
			if n > 0 {
				s.log.InfoContext(ctx, "verdicts lapsed", "devices", n)
			}
			return err
		}},
		{"file rules", sweep, s.posture.RecheckFiles},
		{"rollouts", sweep, s.rollouts.Tick},
		{"enrolment sweep", time.Minute, s.enroll.Sweep},
		{"revocation at the CA", min(sweep, 30*time.Second), s.enroll.Revoke},
		{"vulnerabilities", vulnerabilityRefresh, s.vulns.Compare},
		{"firmware catalogue", time.Duration(s.config.Firmware.Refresh), s.firmware.Refresh},
		{"device CA bundle", time.Minute, s.identity.refresh},
		{"policy bundle", bundle.SyncEvery, s.bundles.Sync},
		{"decision log", decision.Every, func(ctx context.Context) error { return s.recorder.Flush(ctx, time.Now()) }},
		{"result keys", time.Minute, s.results.refresh},
	}
	if s.crlDir != nil {
		jobs = append(jobs, job{"revocation lists", crlRefresh, func(context.Context) error { return s.crlDir.Refresh() }})
	}
	return jobs
}

// vulnerabilityRefresh is how soon a replica judges by what another one imported,
// and a release that was just read.
const vulnerabilityRefresh = 5 * time.Second

// repeat runs a job until the context ends. A run that fails is logged, and its
// heartbeat stops: /readyz says so.
func (s *Service) repeat(ctx context.Context, j job) error {
	for {
		if err := j.run(ctx); err == nil {
			s.beats.beat(j, time.Now())
		} else if ctx.Err() == nil {
			s.log.ErrorContext(ctx, "job did not succeed", "job", j.name, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(j.every):
		}
	}
}

// heartbeats remember when each job last succeeded.
type heartbeats struct {
	mu   sync.Mutex
	last map[string]time.Time
	due  map[string]time.Duration
}

func newHeartbeats() *heartbeats {
	return &heartbeats{last: map[string]time.Time{}, due: map[string]time.Duration{}}
}

func (h *heartbeats) beat(j job, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last[j.name], h.due[j.name] = now, 3*j.every+10*time.Second
}

// missed are the jobs that have not succeeded in time.
func (h *heartbeats) missed(jobs []job, now time.Time) map[string]error {
	h.mu.Lock()
	defer h.mu.Unlock()
	missed := map[string]error{}
	for _, j := range jobs {
		last, ok := h.last[j.name]
		if !ok || now.Sub(last) > h.due[j.name] {
			missed[j.name] = fmt.Errorf("last success at %s", last.Format(time.RFC3339))
		}
	}
	return missed
}

// readyTime bounds the questions that readiness asks of others.
const readyTime = 3 * time.Second

// ready returns what keeps the service from its work.
func (s *Service) ready(ctx context.Context) map[string]error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	problems := s.beats.missed(s.jobs(), time.Now())
	if err := s.store.Ping(ctx); err != nil {
		problems["database"] = err
	}
	if err := s.issuer.Check(ctx); err != nil {
		problems["certificate authority"] = err
	}
	return problems
}
