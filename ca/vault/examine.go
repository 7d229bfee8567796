package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"troth/ca"
)

// Level says what a finding means.
type Level string

// Levels of a Finding.
const (
	OK        Level = "ok"
	Warning   Level = "warning"   // worth a look; nothing is open
	Problem   Level = "problem"   // against the lock-down list
	Undecided Level = "undecided" // it could not be checked
)

// Finding is one thing that Examine looked at.
type Finding struct {
	Level   Level  `json:"level"`
	Code    string `json:"code,omitempty"`
	Subject string `json:"subject"`
	Message string `json:"message"`
}

// Limits of Examine.
const (
	clockWarning = 5 * time.Second
	clockProblem = time.Minute // CheckIssued refuses certificates beyond that
	issuerNotice = 90 * 24 * time.Hour
)

// examination collects findings.
type examination struct {
	client   *api.Client
	config   BootstrapConfig
	now      func() time.Time
	findings []Finding
}

// Examine compares a Vault with what Bootstrap would set up with config, and
// looks at what else makes a set-up weak: a role or a policy that somebody
// loosened, keys that may leave, secrets that never end, no audit, a clock that
// is off. It changes nothing. The client's token needs no more than the policy
// that Bootstrap writes for it. Only a config that cannot be used is an error.
func Examine(ctx context.Context, client *api.Client, config BootstrapConfig, now func() time.Time) ([]Finding, error) {
	if err := config.complete(); err != nil {
		return nil, fmt.Errorf("examine Vault: %w", err)
	}
	e := &examination{client: client, config: config, now: now}
	if !e.server(ctx) {
		return e.findings, nil
	}
	if err := e.config.resolve(ctx, client); err != nil {
		e.unread("PKI mount "+config.Mount, err)
		return e.findings, nil
	}
	e.audit(ctx)
	e.issuer(ctx)
	for _, p := range e.config.pieces() {
		e.piece(ctx, p)
	}
	e.otherRoles(ctx)
	e.grants(ctx)
	return e.findings, nil
}

func (e *examination) say(level Level, code, subject, format string, args ...any) {
	e.findings = append(e.findings, Finding{Level: level, Code: code, Subject: subject, Message: fmt.Sprintf(format, args...)})
}

// unread says that something could not be looked at.
func (e *examination) unread(subject string, err error) {
	var answer *api.ResponseError
	if errors.As(err, &answer) {
		err = sentence(answer)
	}
	e.say(Undecided, CodeUnread, subject, "could not be read: %v", err)
}

// server looks at Vault itself, and reports whether it is worth going on.
func (e *examination) server(ctx context.Context) bool {
	address := e.client.Address()
	if strings.HasPrefix(address, "http:") {
		e.say(Warning, CodePlain, address, "Vault is spoken to without TLS; that is for tests on one machine only")
	}
	before := e.now()
	health, err := e.client.Sys().HealthWithContext(ctx)
	if err != nil {
		e.say(Undecided, CodeUnready, address, "Vault does not say how it is: %v", err)
		return false
	}
	if !health.Initialized || health.Sealed {
		e.say(Problem, CodeUnready, address, "Vault is sealed or not initialized: nothing can be signed")
		return false
	}
	// The answer has whole seconds, cut off: on average half a second more.
	middle := before.Add(e.now().Sub(before) / 2)
	off := time.Unix(health.ServerTimeUTC, 0).Add(time.Second / 2).Sub(middle).Round(time.Second)
	switch {
	case off.Abs() > clockProblem:
		e.say(Problem, CodeClock, address, "its clock differs from this machine's by %v: certificates would be refused as too early or too late", off)
	case off.Abs() > clockWarning:
		e.say(Warning, CodeClock, address, "its clock differs from this machine's by %v", off)
	default:
		e.say(OK, "", address, "Vault %s is unsealed, and its clock is right", health.Version)
	}
	return true
}

func (e *examination) audit(ctx context.Context) {
	devices, err := e.client.Sys().ListAuditWithContext(ctx)
	switch {
	case err != nil:
		e.unread("audit devices", err)
	case len(devices) == 0:
		e.say(Warning, CodeAudit, "audit devices", "there is none: nobody could say later who had what signed")
	default:
		e.say(OK, "", "audit devices", "there are %d", len(devices))
	}
}

func (e *examination) issuer(ctx context.Context) {
	subject := "issuer " + e.config.Issuer
	answer, err := e.client.Logical().ReadWithContext(ctx, e.config.Mount+"/issuer/"+e.config.Issuer)
	var unknown *api.ResponseError
	if errors.As(err, &unknown) && unknown.StatusCode >= http.StatusInternalServerError || err == nil && answer == nil {
		e.say(Problem, CodeIssuer, subject, "the mount %s has no such issuer", e.config.Mount)
		return
	}
	if err != nil {
		e.unread(subject, err)
		return
	}
	text, _ := answer.Data["certificate"].(string)
	certificate, err := parseCertificate(text)
	if err != nil {
		e.say(Problem, CodeIssuer, subject, "its certificate cannot be read: %v", err)
		return
	}
	if key, _ := answer.Data["key_id"].(string); key == "" {
		e.say(Problem, CodeIssuer, subject, "it has no key in this mount, so it signs nothing")
	}
	now := e.now()
	switch {
	case now.Before(certificate.NotBefore) || now.After(certificate.NotAfter):
		e.say(Problem, CodeIssuer, subject, "it is valid from %v to %v only", certificate.NotBefore, certificate.NotAfter)
	case certificate.NotAfter.Sub(now) < issuerNotice:
		e.say(Warning, CodeIssuerEnds, subject, "it ends at %v: begin its replacement", certificate.NotAfter)
	default:
		e.say(OK, "", subject, "it is valid until %s", certificate.NotAfter.UTC().Format(time.DateOnly))
	}
	if !certificate.MaxPathLenZero && !ca.SelfSigned(certificate) {
		e.say(Warning, CodeIssuer, subject, "its certificate allows further CAs below it: have it signed with path length 0")
	}
}

// piece compares one piece of the set-up.
func (e *examination) piece(ctx context.Context, p piece) {
	have, err := p.read(ctx, e.client)
	if err != nil {
		e.unread(p.what, err)
		return
	}
	if have == nil {
		level, code := Problem, missingCode(p)
		if p.path == "sys/policies/acl/"+e.config.DoctorPolicy {
			level = Warning
		}
		e.say(level, code, p.what, "there is none at %s", p.path)
		return
	}
	differences := p.compare(have)
	if len(differences) == 0 {
		e.say(OK, "", p.what, "is as it should be")
	}
	for _, d := range differences {
		f := p.fields[slices.IndexFunc(p.fields, func(f field) bool { return f.name == d.Field })]
		if p.kind == kindPolicy {
			// What it allows is looked at by itself.
			e.say(Warning, f.code, p.what, "it is not the text that bootstrap-vault writes")
			continue
		}
		e.say(Problem, f.code, p.what, "%s is %s, not %s: %s", d.Field, d.Have, d.Want, f.why)
	}
}

func missingCode(p piece) string {
	switch {
	case p.kind == kindPolicy:
		return CodePolicyMissing
	case strings.Contains(p.path, "/roles/"):
		return CodeRoleMissing
	}
	return p.fields[0].code
}

func (e *examination) otherRoles(ctx context.Context) {
	subject := "roles of " + e.config.Mount
	answer, err := e.client.Logical().ListWithContext(ctx, e.config.Mount+"/roles")
	if err := absent(err); err != nil {
		e.unread(subject, err)
		return
	}
	if answer == nil {
		return
	}
	for _, name := range list(answer.Data["keys"]) {
		if name != e.config.Role {
			e.say(Warning, CodeOtherRoles, "role "+name,
				"it signs with the issuer that devices are trusted by, and is not looked at here: give it a mount of its own")
		}
	}
}

// grants works out what the service's policies allow.
func (e *examination) grants(ctx context.Context) {
	names := []string{e.config.Policy}
	if !e.config.NoAppRole {
		role, err := e.client.Logical().ReadWithContext(ctx, "auth/"+e.config.Auth+"/role/"+e.config.AppRole)
		if err == nil && role != nil {
			names = list(role.Data["token_policies"])
		}
	}
	var rules acl
	for _, name := range names {
		text, err := readPolicy(ctx, e.client, name)
		if err == nil {
			err = rules.add(text)
		}
		if err != nil {
			e.unread("policy "+name, err)
			return
		}
	}
	subject := "permissions of " + strings.Join(names, ", ")
	fine := true
	for _, path := range e.config.forbidden() {
		if granted := rules.allows(path); len(granted) > 0 {
			fine = false
			e.say(Problem, CodePolicyGrants, subject, "they allow %s on %s", strings.Join(granted, ", "), path)
		}
	}
	for _, g := range e.config.grants() {
		path := strings.TrimSuffix(g.path, "*") + strings.Repeat("sha2-256", strings.Count(g.path, "*"))
		if !slices.Contains(rules.allows(path), g.capability) {
			fine = false
			e.say(Problem, CodePolicyLacks, subject, "they do not allow %s on %s: %s", g.capability, path, g.why)
		}
	}
	for _, pattern := range rules.templated {
		fine = false
		e.say(Undecided, CodePolicyGrants, subject, "what %s allows depends on who asks", pattern)
	}
	if fine {
		e.say(OK, "", subject, "they allow what the service needs, and none of %d other things", len(e.config.forbidden()))
	}
}
