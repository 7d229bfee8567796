package vault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"troth/ca"
)

// firstWait is about the pause before the second try; each further one is doubled.
const firstWait = 200 * time.Millisecond

// exchange is one HTTP exchange with Vault. It may be called more than once.
type exchange func(ctx context.Context, logical *api.Logical) (*api.Secret, error)

// failure is an exchange that did not succeed, and what follows from it.
type failure struct {
	kind      error // ca.ErrUnavailable, ca.ErrRefused or ca.ErrAmbiguous
	retry     bool  // nothing happened, and it may soon work
	forbidden bool  // Vault does not accept our token
	status    int   // of Vault's answer; 0 if there was none
	cause     error
}

// Error implements error. Vault's own sentence is part of it.
func (f *failure) Error() string   { return f.kind.Error() + ": " + f.cause.Error() }
func (f *failure) Unwrap() []error { return []error{f.kind, f.cause} }

// sign does an exchange that must not happen twice: it is repeated only when it
// certainly had no effect.
func (c *CA) sign(ctx context.Context, do exchange) (*api.Secret, error) {
	return c.try(ctx, do, false)
}

// repeat does an exchange that may happen twice.
func (c *CA) repeat(ctx context.Context, do exchange) (*api.Secret, error) {
	return c.try(ctx, do, true)
}

func (c *CA) try(ctx context.Context, do exchange, idempotent bool) (*api.Secret, error) {
	wait := firstWait
	relogin := true
	for attempt := 1; ; attempt++ {
		token, failed := c.authenticate(ctx)
		if failed == nil {
			var secret *api.Secret
			if secret, failed = c.once(ctx, do, idempotent); failed == nil {
				return secret, nil
			}
		}
		// A token may have been revoked or have expired early. One new login is
		// worth a try; Vault checks the token before it does anything.
		if failed.forbidden && relogin && c.forget(token) {
			relogin = false
			attempt--
			continue
		}
		if !failed.retry || attempt >= c.config.Attempts || !sleep(ctx, wait) {
			return nil, failed
		}
		wait *= 2
	}
}

// sleep waits for about as long as wait says, so that many who failed together
// do not come back together. It reports false when ctx ended first.
func sleep(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(spread(wait))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// spread is a time around wait, from half to one and a half of it.
func spread(wait time.Duration) time.Duration {
	return wait/2 + rand.N(wait) //nolint:gosec // chance, not secrecy
}

func (c *CA) once(ctx context.Context, do exchange, idempotent bool) (*api.Secret, *failure) {
	if err := ctx.Err(); err != nil {
		return nil, &failure{kind: ca.ErrUnavailable, cause: err}
	}
	var sent atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaders: func() { sent.Store(true) },
	})
	secret, err := do(traced, c.client.Logical())
	if err != nil {
		return nil, classify(ctx, err, sent.Load() && !idempotent)
	}
	return secret, nil
}

// classify decides what an error means. An answer of Vault is decisive; without
// one it depends on whether the request left us.
func classify(ctx context.Context, err error, sent bool) *failure {
	if errors.Is(err, errLocal) {
		return &failure{kind: ca.ErrUnavailable, cause: err}
	}
	var answer *api.ResponseError
	if !errors.As(err, &answer) {
		if sent {
			return &failure{kind: ca.ErrAmbiguous, cause: err}
		}
		return &failure{kind: ca.ErrUnavailable, cause: err, retry: ctx.Err() == nil}
	}
	f := &failure{kind: ca.ErrUnavailable, status: answer.StatusCode, cause: sentence(answer)}
	switch answer.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		// Our token is revoked, expired, or not allowed this. That says
		// nothing about the device that asks, so the request is not refused:
		// it is granted once the operator has repaired our access.
		f.forbidden = true
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		// No such mount or path: also ours to repair.
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		// A proxy's words. Vault may have had the request.
		if sent {
			f.kind = ca.ErrAmbiguous
		} else {
			f.retry = true
		}
	case http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusPreconditionFailed, 472, 473:
		// Sealed, standby, over a quota, behind in replication: not done.
		f.retry = true
	default:
		switch {
		case answer.StatusCode < http.StatusInternalServerError:
			f.kind = ca.ErrRefused
		case sent:
			// Vault also fails after it has signed: when its audit device does not
			// take the answer, or it is sealed meanwhile.
			f.kind = ca.ErrAmbiguous
		}
	}
	return f
}

// sentence keeps of Vault's answer what a person can use: one line, of bounded
// length, since it may come from anything that answers at the address.
func sentence(answer *api.ResponseError) error {
	const limit = 500
	text := strings.Join(strings.Fields(strings.Join(answer.Errors, "; ")), " ")
	if text == "" {
		text = "no reason given"
	}
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return fmt.Errorf("vault answers %d: %s", answer.StatusCode, text)
}

// Answer finds Vault's answer in an error: its HTTP status, and its sentence on
// one line. The status is 0 where Vault did not answer.
func Answer(err error) (status int, text string) {
	var answer *api.ResponseError
	if !errors.As(err, &answer) {
		return 0, ""
	}
	return answer.StatusCode, sentence(answer).Error()
}
