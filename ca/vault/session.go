package vault

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"troth/ca"
)

// loginPause is about how long a token that is still good is used after a login
// failed, before the next is tried.
const loginPause = 5 * time.Second

// session is our present token and how long it may be used.
type session struct {
	mu      sync.Mutex
	token   string
	due     time.Time // when to log in anew; zero for never
	watcher *api.LifetimeWatcher
}

// current returns the token, and whether it is to be replaced.
func (s *session) current(now time.Time) (token string, due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token, s.token == "" || (!s.due.IsZero() && !now.Before(s.due))
}

func (s *session) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watcher != nil {
		s.watcher.Stop()
	}
	s.watcher = nil
}

// postpone puts the next login off.
func (s *session) postpone(until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.due = until
}

// drop forgets a token, unless it was replaced already.
func (s *session) drop(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == token {
		s.token = ""
	}
}

// authenticate makes sure that the client has a token, and returns it. One
// caller logs in, the others wait for it no longer than their context.
func (c *CA) authenticate(ctx context.Context) (string, *failure) {
	if token, due := c.session.current(c.config.Now()); !due {
		return token, nil
	}
	select {
	case c.login <- struct{}{}:
		defer func() { <-c.login }()
	case <-ctx.Done():
		return "", &failure{kind: ca.ErrUnavailable, cause: ctx.Err()}
	}
	old, due := c.session.current(c.config.Now())
	if !due {
		return old, nil
	}
	if err := ctx.Err(); err != nil {
		return "", &failure{kind: ca.ErrUnavailable, cause: err}
	}
	secret, err := c.logIn(ctx)
	if err == nil {
		err = c.adopt(secret)
	}
	if err == nil {
		return secret.Auth.ClientToken, nil
	}
	if old != "" {
		// It is due before it ends, and so may still be good.
		c.session.postpone(c.config.Now().Add(spread(loginPause)))
		return old, nil
	}
	f := classify(ctx, err, false)
	// Whatever the reason, no device is to blame for it.
	f.kind, f.forbidden = ca.ErrUnavailable, false
	f.cause = fmt.Errorf("log in: %w", f.cause)
	return "", f
}

// adopt uses a new token from now on, and has it renewed for as long as Vault
// allows. It is due for replacement when renewal ends, and by our own clock at
// nine tenths of what Vault last granted, should the watcher not know.
func (c *CA) adopt(secret *api.Secret) error {
	lease := time.Duration(secret.Auth.LeaseDuration) * time.Second
	var watcher *api.LifetimeWatcher
	if lease > 0 {
		var err error
		watcher, err = c.anonymous.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: secret})
		if err != nil {
			return fmt.Errorf("watch token: %w", err)
		}
	}
	c.session.close()
	c.client.SetToken(secret.Auth.ClientToken)
	c.session.mu.Lock()
	c.session.token, c.session.watcher, c.session.due = secret.Auth.ClientToken, watcher, time.Time{}
	if lease > 0 {
		c.session.due = c.config.Now().Add(lease * 9 / 10)
	}
	c.session.mu.Unlock()
	if watcher != nil {
		go watcher.Start()
		go c.follow(watcher)
	}
	return nil
}

// follow keeps the session's end where the watcher has moved it, until the
// watcher stops.
func (c *CA) follow(watcher *api.LifetimeWatcher) {
	for {
		select {
		case renewal := <-watcher.RenewCh():
			if renewal.Secret.Auth != nil {
				lease := time.Duration(renewal.Secret.Auth.LeaseDuration) * time.Second
				c.moveDue(watcher, c.config.Now().Add(lease*9/10))
			}
		case err := <-watcher.DoneCh():
			_ = err // whatever ended renewal, a new login follows
			c.moveDue(watcher, c.config.Now())
			return
		}
	}
}

// moveDue sets when to log in anew, on behalf of the watcher of the present
// token.
func (c *CA) moveDue(watcher *api.LifetimeWatcher, due time.Time) {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	if c.session.watcher == watcher {
		c.session.due = due
	}
}

// forget drops a token that Vault did not accept, unless another caller has
// replaced it already. It reports whether a new login could bring another one.
func (c *CA) forget(token string) bool {
	if c.config.Token != "" || token == "" {
		return false
	}
	c.session.drop(token)
	return true
}
