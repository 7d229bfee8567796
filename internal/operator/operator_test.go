package operator_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"troth/internal/fleet"
	"troth/internal/operator"
	"troth/internal/store"
	"troth/policies"
	"troth/policy"
)

type rig struct {
	*operator.Service
	store *store.Store
	path  string
	clock time.Time
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{path: filepath.Join(t.TempDir(), "troth.db"), clock: time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)}
	var err error
	if r.store, err = store.Open(t.Context(), "sqlite:"+r.path+"?synchronous=normal"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.store.Close() })
	r.Service = &operator.Service{Store: r.store, Now: func() time.Time { return r.clock }}
	return r
}

func (r *rig) bootstrap(t *testing.T) string {
	t.Helper()
	text, err := r.Bootstrap(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (r *rig) known(t *testing.T, text string) fleet.Token {
	t.Helper()
	token, err := r.Authenticate(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (r *rig) denied(t *testing.T, what, text string) {
	t.Helper()
	_, err := r.Authenticate(t.Context(), text)
	var e *fleet.Error
	if !errors.As(err, &e) || e.Kind != fleet.Unauthorized || e.Code != "unauthorized" || e.Message != "a valid token is needed: log in first" {
		t.Errorf("%s: %v; every refusal is to be the same", what, err)
	}
}

func TestBootstrap(t *testing.T) {
	r := newRig(t)
	first := r.bootstrap(t)
	second := r.bootstrap(t) // a restart before anybody has logged in
	if first == "" || second == "" || first == second {
		t.Fatalf("tokens %q and %q", first, second)
	}
	r.denied(t, "the token of the start before", first)
	token := r.known(t, second)
	if token.Role != fleet.RoleBootstrap {
		t.Errorf("role %s", token.Role)
	}
	text, admin, err := r.Login(t.Context(), token, "ada")
	if err != nil || admin.Role != fleet.RoleAdmin || r.known(t, text).Operator != "ada" {
		t.Fatalf("login: %+v, %v", admin, err)
	}
	r.denied(t, "a spent bootstrap token", second)
	if again := r.bootstrap(t); again != "" {
		t.Error("a service that somebody has logged in to offers another bootstrap token")
	}
	if _, _, err := r.Login(t.Context(), admin, "eve"); fleet.CodeOf(err) != "not_a_bootstrap_token" {
		t.Errorf("login with an administrator's token: %v", err)
	}
}

// A lost administrator's token must not mean a lost service.
func TestRecover(t *testing.T) {
	r := newRig(t)
	if _, _, err := r.Login(t.Context(), r.known(t, r.bootstrap(t)), "ada"); err != nil {
		t.Fatal(err)
	}
	text, err := r.Recover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, admin, err := r.Login(t.Context(), r.known(t, text), "grace"); err != nil || admin.Role != fleet.RoleAdmin {
		t.Fatalf("login after recovery: %+v, %v", admin, err)
	}
	r.denied(t, "a spent recovery token", text)
}

func TestBootstrapEnds(t *testing.T) {
	r := newRig(t)
	text := r.bootstrap(t)
	r.clock = r.clock.Add(24 * time.Hour)
	r.denied(t, "after a day", text)
	if r.bootstrap(t) == "" {
		t.Error("a service that nobody has logged in to offers no new token")
	}
}

// TestAttack_S7_TwoLoginsAtOnce: a bootstrap token opens once.
func TestAttack_S7_TwoLoginsAtOnce(t *testing.T) {
	r := newRig(t)
	token := r.known(t, r.bootstrap(t))
	var mu sync.Mutex
	var all sync.WaitGroup
	won := 0
	for range 8 {
		all.Go(func() {
			text, _, err := r.Login(t.Context(), token, "ada")
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && text != "":
				won++
			case !fleet.IsKind(err, fleet.Unauthorized) || text != "":
				t.Errorf("who was slower got %q, %v", text, err)
			}
		})
	}
	all.Wait()
	tokens, err := r.store.Tokens(t.Context())
	if won != 1 || err != nil || len(tokens) != 2 {
		t.Errorf("%d of 8 logged in; %d tokens, %v", won, len(tokens), err)
	}
}

// TestAttack_S7_OnlyHashesAreKept looks for the secret in everything the
// database wrote.
func TestAttack_S7_OnlyHashesAreKept(t *testing.T) {
	r := newRig(t)
	secrets := []string{r.bootstrap(t)}
	text, _, err := r.Create(t.Context(), "ada", "ci", fleet.RoleViewer, nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	secrets = append(secrets, text)
	files, err := filepath.Glob(r.path + "*")
	if err != nil || len(files) == 0 {
		t.Fatalf("files %v, %v", files, err)
	}
	found := false
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range secrets {
			if bytes.Contains(content, []byte(secret)) || bytes.Contains(content, []byte(secret[6:])) {
				t.Errorf("%s holds a token", filepath.Base(f))
			}
			sum := sha256.Sum256([]byte(secret))
			found = found || bytes.Contains(content, sum[:])
		}
	}
	if !found {
		t.Error("the hashes are nowhere either: this test looks in the wrong place")
	}
}

func TestAuthenticate(t *testing.T) {
	r := newRig(t)
	text, token, err := r.Create(t.Context(), "ada", "ci", fleet.RoleProxy, nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.known(t, text); got.ID != token.ID || got.Role != fleet.RoleProxy || got.Operator != "ci" {
		t.Errorf("%+v", got)
	}
	for what, wrong := range map[string]string{
		"nothing": "", "the prefix": "troth_", "without the prefix": text[6:], "cut short": text[:len(text)-1], "longer": text + "A",
		"in capitals": "TROTH_" + text[6:], "with a space": " " + text, "its hash": string(token.SHA256),
	} {
		r.denied(t, what, wrong)
	}
	r.clock = r.clock.Add(time.Hour)
	r.denied(t, "at its end", text)
	text, token, err = r.Create(t.Context(), "ada", "ci", fleet.RoleAdmin, nil, 0)
	if err != nil || !token.ExpiresAt.Equal(r.clock.Add(30*24*time.Hour)) {
		t.Errorf("a token without a life ends at %s, %v", token.ExpiresAt, err)
	}
	token.RevokedAt = r.clock
	if err := r.store.Apply(t.Context(), fleet.Change{Tokens: []fleet.Token{token}}); err != nil {
		t.Fatal(err)
	}
	r.denied(t, "revoked", text)
}

type broken struct{}

func (broken) Operator(context.Context, policy.OperatorInput) (policy.OperatorDecision, error) {
	return policy.OperatorDecision{Allow: true}, errors.New("deadline")
}

func TestAuthorize(t *testing.T) {
	r := newRig(t)
	engine, err := policy.New(t.Context(), policies.FS, policy.Options{Deadline: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	r.Policy = engine
	for _, tt := range []struct {
		role   fleet.Role
		action string
		code   string
	}{
		{fleet.RoleAdmin, "token.create", ""}, {fleet.RoleViewer, "device.list", ""}, {fleet.RoleProxy, "access.decide", ""},
		{fleet.RoleViewer, "device.retire", "forbidden"}, {fleet.RoleOperator, "token.create", "forbidden"},
		{"root", "device.list", "forbidden"}, {fleet.RoleBootstrap, "device.list", "forbidden"}, {fleet.RoleAdmin, "nonsense", "forbidden"},
	} {
		err := r.Authorize(t.Context(), fleet.Token{Operator: "ada", Role: tt.role}, tt.action, "", fleet.Device{})
		if tt.code == "" && err != nil || tt.code != "" && (fleet.CodeOf(err) != tt.code || !fleet.IsKind(err, fleet.Refused)) {
			t.Errorf("%s does %s: %v, want %q", tt.role, tt.action, err, tt.code)
		}
	}
	r.Policy = broken{}
	if err := r.Authorize(t.Context(), fleet.Token{Operator: "ada", Role: fleet.RoleAdmin}, "device.list", "", fleet.Device{}); fleet.CodeOf(err) != "policy_error" {
		t.Errorf("a policy that says yes and fails: %v", err)
	}
}
