package result_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"troth/attest/ear"
	"troth/internal/fleet"
	"troth/internal/result"
	"troth/policies"
)

var now = time.Unix(1_800_000_000, 0)

const fresh = 10 * time.Minute

// memory is a store with one device.
type memory struct {
	device   fleet.Device
	posture  *fleet.Posture
	decision *fleet.Decision
	between  func(*memory) // after the posture is read
}

func (m *memory) Device(_ context.Context, id fleet.DeviceID) (fleet.Device, error) {
	if id != m.device.ID {
		return fleet.Device{}, fleet.ErrNotFound
	}
	return m.device, nil
}

func (m *memory) Posture(context.Context, fleet.DeviceID) (fleet.Posture, error) {
	if m.posture == nil {
		return fleet.Posture{}, fleet.ErrNotFound
	}
	p := *m.posture
	if m.between != nil {
		m.between(m)
	}
	return p, nil
}

func (m *memory) Decision(context.Context, string) (fleet.Decision, error) {
	if m.decision == nil {
		return fleet.Decision{}, fleet.ErrNotFound
	}
	return *m.decision, nil
}

type oneKey struct{ key ear.Key }

func (k oneKey) Key() ear.Key { return k.key }

// bench is the service over one device that is well.
type bench struct {
	memory
	service *result.Service
	keys    ear.KeySet
	tls     *ecdsa.PrivateKey
}

var builtIn = []string{
	"attestation-verified", "boot-authorities", "boot-command-line", "boot-dbx", "boot-mok", "boot-option-roms", "boot-sbat",
	"certificate-current", "clock-monotonic", "clock-safe", "event-log", "firmware-current", "firmware-known", "firmware-reported",
	"ima-boot-aggregate", "ima-known-files", "ima-list", "ima-no-violations", "no-unexplained-pcrs", "secure-boot", "update-healthy",
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ear.NewKey(private)
	if err != nil {
		t.Fatal(err)
	}
	if b.tls, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&b.tls.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	b.keys = ear.NewKeySet(key)
	b.device = fleet.Device{
		ID: fleet.DeviceID(strings.Repeat("ab", 32)), Lifecycle: fleet.Active, Manufacturer: "acme", TLSPublic: spki, FirmwareVersion: "1.0.0",
		Verdict: fleet.Compliant, VerdictAt: now.Add(-time.Minute), FreshUntil: now.Add(fresh),
	}
	b.posture = &fleet.Posture{
		Device: b.device.ID, At: now.Add(-time.Minute), Verdict: fleet.Compliant, Attestation: json.RawMessage(`{"verified":true}`),
		Decision: "decision-1", Evidence: strings.Repeat("0e", 32),
	}
	b.decision = &fleet.Decision{ID: "decision-1", Policy: strings.Repeat("01", 32), Input: strings.Repeat("02", 32)}
	for _, id := range builtIn {
		b.posture.Controls = append(b.posture.Controls, fleet.Control{ID: id, Severity: fleet.High, Outcome: fleet.Pass, Reason: "fine"})
	}
	b.service = &result.Service{
		Store: &b.memory, Keys: oneKey{key}, Issuer: "spiffe://troth.example", TrustDomain: "troth.example", Build: "1.2.3",
		Lifetime: time.Hour, Now: func() time.Time { return now },
	}
	return b
}

// control changes one control, or adds it.
func (b *bench) control(id string, change func(*fleet.Control)) {
	i := slices.IndexFunc(b.posture.Controls, func(c fleet.Control) bool { return c.ID == id })
	if i < 0 {
		i = len(b.posture.Controls)
		b.posture.Controls = append(b.posture.Controls, fleet.Control{ID: id})
	}
	change(&b.posture.Controls[i])
}

// fails makes a control a finding that counts since a minute.
func fails(id string) func(*bench) {
	return func(b *bench) {
		since := now.Add(-time.Minute)
		b.control(id, func(c *fleet.Control) { c.Outcome, c.Since, c.EnforcedAt = fleet.Fail, &since, &since })
		b.device.Verdict, b.posture.Verdict = fleet.Noncompliant, fleet.Noncompliant
	}
}

// token makes the device's token and opens it as a relying party does.
func (b *bench) token(t *testing.T) ear.Result {
	t.Helper()
	token, err := b.service.Token(t.Context(), b.device.ID, "")
	if err != nil {
		t.Fatal(err)
	}
	r, err := ear.Verify(token.Text, b.keys, ear.Expectation{Now: now, Issuer: "spiffe://troth.example", Subject: "spiffe://troth.example/device/" + string(b.device.ID)})
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != token.Status || r.ExpiresAt != token.ExpiresAt.Unix() || len(r.Submods) != 1 || r.Submods["device"].Status != r.Status {
		t.Fatalf("the token %+v is not what was said of it: %+v", r, token)
	}
	return r
}

func both(changes ...func(*bench)) func(*bench) {
	return func(b *bench) {
		for _, c := range changes {
			c(b)
		}
	}
}

func lifecycle(l fleet.Lifecycle) func(*bench) { return func(b *bench) { b.device.Lifecycle = l } }

func verdict(v fleet.Verdict) func(*bench) {
	return func(b *bench) { b.device.Verdict, b.posture.Verdict = v, v }
}

func stale(b *bench) { b.device.FreshUntil = now.Add(-1) }

func errored(id string) func(*bench) {
	return func(b *bench) {
		since := now.Add(-time.Minute)
		b.control(id, func(c *fleet.Control) { c.Outcome, c.Since, c.EnforcedAt = fleet.Errored, &since, &since })
		b.device.Verdict, b.posture.Verdict = fleet.Undecided, fleet.Undecided
	}
}

// TestMapping is the table from posture to AR4SI: claims of instance-identity,
// configuration, executables and hardware.
func TestMapping(t *testing.T) {
	custom := func(s fleet.Severity) func(*bench) {
		return both(fails("my-own"), func(b *bench) { b.control("my-own", func(c *fleet.Control) { c.Severity = s }) })
	}
	for name, c := range map[string]struct {
		change func(*bench)
		status ear.Tier
		vector [4]ear.Claim
	}{
		"compliant and fresh": {func(*bench) {}, ear.Affirming, [4]ear.Claim{2, 2, 3, 2}},
		"registered by hash":  {func(b *bench) { b.device.Manufacturer = "" }, ear.Affirming, [4]ear.Claim{2, 2, 3, 0}},
		"a control that does not apply": {func(b *bench) {
			b.control("firmware-known", func(c *fleet.Control) { c.Outcome = fleet.NotApplicable })
		}, ear.Affirming, [4]ear.Claim{2, 2, 0, 2}},
		"stale":                          {stale, ear.None, [4]ear.Claim{}},
		"lapses within this second":      {func(b *bench) { b.device.FreshUntil = now.Add(time.Second - 1) }, ear.None, [4]ear.Claim{}},
		"swept":                          {func(b *bench) { b.device.Verdict = fleet.Unknown }, ear.None, [4]ear.Claim{}},
		"no posture":                     {func(b *bench) { b.posture = nil }, ear.None, [4]ear.Claim{}},
		"pending":                        {both(lifecycle(fleet.Pending), func(b *bench) { b.posture = nil }), ear.None, [4]ear.Claim{}},
		"pending, whatever is stored":    {lifecycle(fleet.Pending), ear.None, [4]ear.Claim{}},
		"quarantined":                    {lifecycle(fleet.Quarantined), ear.Contraindicated, [4]ear.Claim{96, 0, 0, 0}},
		"quarantined and stale":          {both(lifecycle(fleet.Quarantined), stale), ear.Contraindicated, [4]ear.Claim{96, 0, 0, 0}},
		"retired":                        {both(lifecycle(fleet.Retired), stale), ear.Contraindicated, [4]ear.Claim{96, 0, 0, 0}},
		"retired, and still called well": {lifecycle(fleet.Retired), ear.Contraindicated, [4]ear.Claim{96, 0, 0, 0}},
		"a lifecycle of nobody":          {lifecycle("blessed"), ear.None, [4]ear.Claim{}},
		"noncompliant, nobody says why":  {verdict(fleet.Noncompliant), ear.Warning, [4]ear.Claim{2, 2, 3, 2}},
		"a verdict of nobody":            {verdict("splendid"), ear.None, [4]ear.Claim{2, 2, 3, 2}},
		"evidence not verified":          {func(b *bench) { b.posture.Attestation = json.RawMessage(`{"verified":false}`) }, ear.None, [4]ear.Claim{0, 2, 3, 2}},

		"fails attestation-verified": {fails("attestation-verified"), ear.Contraindicated, [4]ear.Claim{99, 2, 3, 2}},
		"fails clock-monotonic":      {fails("clock-monotonic"), ear.Contraindicated, [4]ear.Claim{2, 2, 3, 96}},
		"fails clock-safe":           {fails("clock-safe"), ear.Warning, [4]ear.Claim{2, 2, 3, 32}},
		"fails firmware-known":       {fails("firmware-known"), ear.Contraindicated, [4]ear.Claim{2, 2, 96, 2}},
		"fails firmware-current":     {fails("firmware-current"), ear.Warning, [4]ear.Claim{2, 2, 32, 2}},
		"fails no-unexplained-pcrs":  {fails("no-unexplained-pcrs"), ear.Warning, [4]ear.Claim{2, 2, 33, 2}},
		"fails ima-list":             {fails("ima-list"), ear.Warning, [4]ear.Claim{2, 2, 33, 2}},
		"fails ima-no-violations":    {fails("ima-no-violations"), ear.Warning, [4]ear.Claim{2, 2, 33, 2}},
		"fails secure-boot":          {fails("secure-boot"), ear.Contraindicated, [4]ear.Claim{2, 96, 3, 2}},
		"fails event-log":            {fails("event-log"), ear.Warning, [4]ear.Claim{2, 36, 3, 2}},
		"fails firmware-reported":    {fails("firmware-reported"), ear.Warning, [4]ear.Claim{2, 32, 3, 2}},
		"fails certificate-current":  {fails("certificate-current"), ear.Warning, [4]ear.Claim{2, 32, 3, 2}},
		"fails update-healthy":       {fails("update-healthy"), ear.Warning, [4]ear.Claim{2, 32, 3, 2}},
		"fails two of one aspect":    {both(fails("event-log"), fails("secure-boot")), ear.Contraindicated, [4]ear.Claim{2, 96, 3, 2}},
		"fails a critical of theirs": {custom(fleet.Critical), ear.Contraindicated, [4]ear.Claim{2, 96, 3, 2}},
		"fails a high of theirs":     {custom(fleet.High), ear.Contraindicated, [4]ear.Claim{2, 96, 3, 2}},
		"fails a low of theirs":      {custom(fleet.Low), ear.Warning, [4]ear.Claim{2, 32, 3, 2}},

		"one undecided":                  {errored("firmware-known"), ear.None, [4]ear.Claim{2, 2, 0, 2}},
		"undecided, and something fails": {both(fails("event-log"), errored("firmware-known")), ear.Warning, [4]ear.Claim{2, 36, 0, 2}},
		"policy gave no answer": {func(b *bench) {
			b.posture.Controls = b.posture.Undecide()
			b.device.Verdict, b.posture.Verdict = fleet.Undecided, fleet.Undecided
		}, ear.None, [4]ear.Claim{-1, -1, -1, -1}},
		"policy never gave an answer": {func(b *bench) {
			b.posture.Controls, b.device.Verdict, b.posture.Verdict = nil, fleet.Undecided, fleet.Undecided
		}, ear.None, [4]ear.Claim{-1, -1, -1, -1}},
	} {
		b := newBench(t)
		c.change(b)
		r := b.token(t)
		v := r.Submods["device"].Vector
		got := [4]ear.Claim{v[ear.InstanceIdentity], v[ear.Configuration], v[ear.Executables], v[ear.Hardware]}
		if r.Status != c.status || got != c.vector {
			t.Errorf("%s: %s %v, want %s %v", name, r.Status, got, c.status, c.vector)
		}
		if len(v) != 4 {
			t.Errorf("%s: the vector speaks of %d aspects", name, len(v))
		}
	}
}

// TestGrace: a finding within its grace does not count, is told, and the token
// ends with the grace.
func TestGrace(t *testing.T) {
	b := newBench(t)
	since, counts := now.Add(-time.Hour), now.Add(90*time.Second)
	b.control("firmware-current", func(c *fleet.Control) { c.Outcome, c.Since, c.EnforcedAt = fleet.Fail, &since, &counts })
	r := b.token(t)
	if r.Status != ear.Affirming || r.ExpiresAt != counts.Unix() {
		t.Errorf("within the grace: %s until %d", r.Status, r.ExpiresAt)
	}
	d := details(t, r)
	if want := (result.Failing{ID: "firmware-current", Outcome: "fail", Severity: "high"}); len(d.Failing) != 1 || d.Failing[0] != want {
		t.Errorf("findings %+v", d.Failing)
	}
	// The grace ends before the next check-in: the posture still says compliant.
	b.service.Now = func() time.Time { return now }
	counts = now
	if r = b.token(t); r.Status != ear.Warning || r.Submods["device"].Vector[ear.Executables] != 32 {
		t.Errorf("after the grace: %+v", r)
	}
}

func details(t *testing.T, r ear.Result) (d result.Details) {
	t.Helper()
	text, err := json.Marshal(r.Submods["device"].VerifierClaims["troth"])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestEnd: a token is not for longer than the posture is believed, nor than its
// own life, and always for a moment.
func TestEnd(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*bench)
		want   time.Duration
	}{
		"as long as it is fresh":   {func(*bench) {}, fresh},
		"as long as a token lives": {func(b *bench) { b.service.Lifetime = time.Minute }, time.Minute},
		"stale":                    {stale, time.Hour},
		"no life":                  {func(b *bench) { b.service.Lifetime = 0 }, time.Second},
		"quarantined":              {lifecycle(fleet.Quarantined), fresh},
	} {
		b := newBench(t)
		c.change(b)
		if r := b.token(t); r.IssuedAt != now.Unix() || r.ExpiresAt != now.Add(c.want).Unix() {
			t.Errorf("%s: ends after %ds, want %s", name, r.ExpiresAt-r.IssuedAt, c.want)
		}
	}
}

// TestClaims are those beside the vector.
func TestClaims(t *testing.T) {
	b := newBench(t)
	r := b.token(t)
	a := r.Submods["device"]
	thumbprint, err := ear.Thumbprint(&b.tls.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if r.Confirmation == nil || r.Confirmation.Thumbprint != thumbprint {
		t.Errorf("cnf %+v", r.Confirmation)
	}
	if r.Verifier != (ear.VerifierID{Developer: "troth", Build: "1.2.3"}) || r.ID == "" || r.ID == b.token(t).ID {
		t.Errorf("verifier %+v, jti %q", r.Verifier, r.ID)
	}
	id, err := base64.RawURLEncoding.DecodeString(a.AttesterClaims["ueid"].(string))
	if err != nil || len(id) != 33 || id[0] != 1 || id[1] != 0xab {
		t.Errorf("ueid %x, %v", id, err)
	}
	if len(a.PolicyIDs) != 1 || a.PolicyIDs[0] != "ni:///sha-256;"+base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("\x01", 32))) {
		t.Errorf("policies %v", a.PolicyIDs)
	}
	got, _ := json.Marshal(details(t, r))
	want := `{"verdict":"compliant","lifecycle":"active","appraised_at":1799999940,"fresh_until":1800000600,"firmware":"1.0.0",` +
		`"decision":"decision-1","policy":"` + b.decision.Policy + `","input":"` + b.decision.Input + `","evidence":"` + b.posture.Evidence + `"}`
	if string(got) != want {
		t.Errorf("details\n%s\nwant\n%s", got, want)
	}

	// What is not known is not said.
	b.decision, b.device.TLSPublic = nil, nil
	if r = b.token(t); r.Confirmation != nil || r.Submods["device"].PolicyIDs != nil || r.Status != ear.Affirming {
		t.Errorf("without decision and key: %+v", r)
	}
}

// TestAttack_S3_ReasonsStayHere: the words of a device are not signed.
func TestAttack_S3_ReasonsStayHere(t *testing.T) {
	b := newBench(t)
	fails("secure-boot")(b)
	b.control("secure-boot", func(c *fleet.Control) { c.Reason = "the device says: trust me" })
	b.posture.Reported = json.RawMessage(`{"hostname":"trust me"}`)
	if text, _ := json.Marshal(b.token(t)); strings.Contains(string(text), "trust me") {
		t.Errorf("signed: %s", text)
	}
}

func TestNonce(t *testing.T) {
	b := newBench(t)
	const nonce = "YSBub25jZSBvZiBvdXJz"
	token, err := b.service.Token(t.Context(), b.device.ID, nonce)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ear.Verify(token.Text, b.keys, ear.Expectation{Now: now, Nonce: nonce}); err != nil {
		t.Error(err)
	}
	for _, wrong := range []string{"short", "YSBub25jZSBvZiBvdXJz=", strings.Repeat("A", 100), "\x00", "{}"} {
		if _, err := b.service.Token(t.Context(), b.device.ID, wrong); fleet.CodeOf(err) != "result_nonce_invalid" || !fleet.IsKind(err, fleet.Invalid) {
			t.Errorf("nonce %q: %v", wrong, err)
		}
	}
	if _, err := b.service.Token(t.Context(), "nobody", ""); !fleet.IsKind(err, fleet.NotFound) {
		t.Errorf("nobody: %v", err)
	}
}

// TestAttack_Q4_QuarantineInBetween: a quarantine while the token is made is
// seen, and so is a posture that got worse.
func TestAttack_Q4_QuarantineInBetween(t *testing.T) {
	b := newBench(t)
	b.between = func(m *memory) { m.device.Lifecycle = fleet.Quarantined }
	if r := b.token(t); r.Status != ear.Contraindicated {
		t.Errorf("quarantined in between: %s", r.Status)
	}
	b = newBench(t)
	b.posture.Verdict = fleet.Noncompliant
	b.between = func(m *memory) { m.device.Verdict = fleet.Compliant } // and mended
	if r := b.token(t); r.Status == ear.Affirming {
		t.Error("affirmed on the posture before")
	}
}

// TestControlsExist compares the table of controls with the built-in policies
// and with the guide.
func TestControlsExist(t *testing.T) {
	var known []string
	err := fs.WalkDir(policies.FS, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(path, "posture") {
			return err
		}
		text, err := fs.ReadFile(policies.FS, path)
		for _, m := range regexp.MustCompile(`(?m)^#   id: ([a-z-]+)$`).FindAllStringSubmatch(string(text), -1) {
			known = append(known, m[1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	guide, err := os.ReadFile("../../docs/integrator-guide.md")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(known)
	// The library has more: what has no row weighs as configuration, by its severity.
	for _, id := range builtIn {
		if !slices.Contains(known, id) {
			t.Errorf("the policies have no control %s", id)
		}
	}
	for _, id := range builtIn {
		b := newBench(t)
		fails(id)(b)
		v := b.token(t).Submods["device"].Vector
		well := newBench(t).token(t).Submods["device"].Vector
		says := false
		for aspect, claim := range v {
			if claim == well[aspect] {
				continue
			}
			says = true
			row := regexp.MustCompile("(?m)^\\| `" + id + "`.*\\| `" + string(aspect) + "` \\| ([0-9]+) .*" + claim.Tier().String())
			if m := row.FindSubmatch(guide); m == nil || string(m[1]) != jsonOf(claim) {
				t.Errorf("the guide does not say that a failure of %s is the claim %s %d (%s)", id, aspect, claim, claim.Tier())
			}
		}
		if !says {
			t.Errorf("a failure of %s does not show in the vector", id)
		}
	}
}

func jsonOf(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}
