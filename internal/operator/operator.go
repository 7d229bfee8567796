// Package operator knows who calls the operator API: bearer tokens, of which
// only hashes are kept, and the bootstrap token that opens a new service once.
// What a role may do is decided in Rego.
package operator

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"

	"troth/internal/fleet"
	"troth/policy"
)

// Lifetimes of tokens.
const (
	bootstrapLife = 24 * time.Hour
	loginLife     = 30 * 24 * time.Hour
)

// prefix tells a leaked token apart from other secrets.
const prefix = "troth_"

// Store keeps tokens.
type Store interface {
	// TokenBySHA256 finds a token by the SHA-256 of its text.
	TokenBySHA256(ctx context.Context, sum []byte) (fleet.Token, error)
	Tokens(ctx context.Context) ([]fleet.Token, error)
	Apply(ctx context.Context, c fleet.Change) error
}

// Policy decides what a role may do.
type Policy interface {
	Operator(ctx context.Context, in policy.OperatorInput) (policy.OperatorDecision, error)
}

// Service is the use case.
type Service struct {
	Store  Store
	Policy Policy
	Now    func() time.Time
}

// Bootstrap returns a bootstrap token for a service that has no other token
// yet, and an empty string for one that has. Each start of a service that nobody
// has logged in to replaces the token of the last.
func (s *Service) Bootstrap(ctx context.Context) (string, error) {
	now := s.Now()
	tokens, err := s.Store.Tokens(ctx)
	if err != nil {
		return "", err
	}
	change := fleet.Change{}
	for _, t := range tokens {
		if t.Role != fleet.RoleBootstrap || !t.UsedAt.IsZero() {
			return "", nil
		}
		if t.RevokedAt.IsZero() {
			t.RevokedAt = now
			change.Tokens = append(change.Tokens, t)
		}
	}
	text, token := mint("bootstrap", fleet.RoleBootstrap, now, bootstrapLife)
	change.Tokens = append(change.Tokens, token)
	err = s.Store.Apply(ctx, change)
	if fleet.IsKind(err, fleet.Conflict) {
		return "", nil // another replica starts too, and says its own
	}
	return text, err
}

// Recover returns a bootstrap token for a service whose administrators have lost
// theirs. Whoever may call it has the service's own rights already.
func (s *Service) Recover(ctx context.Context) (string, error) {
	now := s.Now()
	text, token := mint("bootstrap", fleet.RoleBootstrap, now, bootstrapLife)
	return text, s.Store.Apply(ctx, fleet.Change{
		Tokens: []fleet.Token{token},
		Events: []fleet.Event{fleet.NewEvent(now, "system", "operator.recover", token.ID, "a bootstrap token was made on the service's machine")},
	})
}

// Authenticate finds the token that text is. Whatever is wrong with it, the
// answer is the same.
func (s *Service) Authenticate(ctx context.Context, text string) (fleet.Token, error) {
	denied := fleet.Errorf(fleet.Unauthorized, "unauthorized", "a valid token is needed: log in first")
	if !strings.HasPrefix(text, prefix) {
		return fleet.Token{}, denied
	}
	sum := sha256.Sum256([]byte(text))
	t, err := s.Store.TokenBySHA256(ctx, sum[:])
	if fleet.IsKind(err, fleet.NotFound) {
		return fleet.Token{}, denied
	}
	if err != nil {
		return fleet.Token{}, err
	}
	if !t.Usable(s.Now()) {
		return fleet.Token{}, denied
	}
	return t, nil
}

// CodeOutOfScope is policy's refusal for what the role may do, but not here.
const CodeOutOfScope = "out_of_scope"

// Authorize asks policy whether the token may do the action. Where the action is
// about one device, that is given with its id and labels; otherwise it is zero.
func (s *Service) Authorize(ctx context.Context, t fleet.Token, action, resource string, about fleet.Device) error {
	d, err := s.Policy.Operator(ctx, policy.OperatorInput{
		Operator: t.Operator, Role: string(t.Role), Action: action, Resource: resource, Scope: t.Scope,
		Device: policy.OperatorDevice{ID: string(about.ID), Labels: about.Labels},
	})
	if err != nil {
		return fleet.Because(err, fleet.Refused, "policy_error", "the operator policy could not decide, so the answer is no")
	}
	if !d.Allow && d.Code == CodeOutOfScope {
		return fleet.Errorf(fleet.Refused, CodeOutOfScope, "%s", d.Reason)
	}
	if !d.Allow {
		return fleet.Errorf(fleet.Refused, "forbidden", "%s", d.Reason)
	}
	return nil
}

// Login spends a bootstrap token and returns an administrator's token.
func (s *Service) Login(ctx context.Context, bootstrap fleet.Token, name string) (string, fleet.Token, error) {
	if bootstrap.Role != fleet.RoleBootstrap {
		return "", fleet.Token{}, fleet.Errorf(fleet.Refused, "not_a_bootstrap_token", "only a bootstrap token can be exchanged; use this token as it is")
	}
	now := s.Now()
	bootstrap.UsedAt = now
	text, token := mint(name, fleet.RoleAdmin, now, loginLife)
	err := s.Store.Apply(ctx, fleet.Change{
		Tokens: []fleet.Token{bootstrap, token},
		Events: []fleet.Event{fleet.NewEvent(now, name, "operator.login", token.ID, "bootstrap token spent")},
	})
	if fleet.IsKind(err, fleet.Conflict) {
		return "", fleet.Token{}, fleet.Errorf(fleet.Unauthorized, "unauthorized", "the bootstrap token was used already")
	}
	return text, token, err
}

// Create makes a token for another operator or program, good for the devices in
// the scope.
func (s *Service) Create(ctx context.Context, by, name string, role fleet.Role, scope fleet.Scope, life time.Duration) (string, fleet.Token, error) {
	now := s.Now()
	if life <= 0 {
		life = loginLife
	}
	text, token := mint(name, role, now, life)
	token.Scope = scope
	detail := name + " as " + string(role)
	if len(scope) > 0 {
		detail += " for " + scope.String()
	}
	return text, token, s.Store.Apply(ctx, fleet.Change{
		Tokens: []fleet.Token{token},
		Events: []fleet.Event{fleet.NewEvent(now, by, "token.create", token.ID, detail)},
	})
}

func mint(name string, role fleet.Role, now time.Time, life time.Duration) (string, fleet.Token) {
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails (crypto/rand)
	text := prefix + base64.RawURLEncoding.EncodeToString(secret[:])
	sum := sha256.Sum256([]byte(text))
	return text, fleet.Token{ID: fleet.NewID(), Operator: name, Role: role, SHA256: sum[:], CreatedAt: now, ExpiresAt: now.Add(life)}
}
