package vault

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/vault/api"

	"troth/ca"
)

// nextPrefix begins the name of an issuer that was announced and does not sign.
const nextPrefix = "troth-next-"

// Rotation replaces the root that signs device certificates by another one in the
// same mount. It needs an administrator's token: the service's own may make no
// issuer. The state is in Vault: an issuer named troth-next-… is the next one,
// the role names the one that signs, and whatever else is in the mount retires.
// The service must not pin an issuer meanwhile.
type Rotation struct {
	client *api.Client
	config BootstrapConfig
}

var _ ca.Rotator = (*Rotation)(nil)

// NewRotation uses the names of the set-up that Bootstrap made.
func NewRotation(client *api.Client, config BootstrapConfig) (*Rotation, error) {
	if err := config.complete(); err != nil {
		return nil, fmt.Errorf("prepare a change of Vault's root: %w", err)
	}
	return &Rotation{client: client, config: config}, nil
}

// issuer is one of the mount.
type issuer struct {
	id, name, key string
	authority     ca.Authority
}

// Authorities implements ca.Rotator.
func (r *Rotation) Authorities(ctx context.Context) ([]ca.Authority, error) {
	all, err := r.read(ctx)
	if err != nil {
		return nil, fmt.Errorf("list authorities: %w", err)
	}
	return authoritiesOf(all), nil
}

func authoritiesOf(all []issuer) []ca.Authority {
	slices.SortFunc(all, func(a, b issuer) int { return order(a.authority.Role) - order(b.authority.Role) })
	var out []ca.Authority
	for _, i := range all {
		out = append(out, i.authority)
	}
	return out
}

func order(role ca.Role) int {
	return slices.Index([]ca.Role{ca.Retiring, ca.Signing, ca.Next}, role)
}

// read lists the issuers of the mount with their roles.
func (r *Rotation) read(ctx context.Context) ([]issuer, error) {
	role, err := r.client.Logical().ReadWithContext(ctx, r.rolePath())
	if err != nil {
		return nil, err
	}
	if role == nil {
		return nil, fmt.Errorf("%w: Vault has no role %s", ca.ErrRefused, r.config.Role)
	}
	reference, _ := role.Data["issuer_ref"].(string)
	signs, err := r.readIssuer(ctx, reference)
	if err != nil {
		return nil, err
	}
	names, err := listMountIssuers(ctx, r.client, r.config.Mount)
	if err != nil {
		return nil, err
	}
	var all []issuer
	for reference, id := range names {
		if reference != id {
			continue // the same issuer by its name
		}
		one, err := r.readIssuer(ctx, id)
		if err != nil {
			return nil, err
		}
		switch {
		case id == signs.id:
			one.authority.Role = ca.Signing
		case strings.HasPrefix(one.name, nextPrefix):
			one.authority.Role = ca.Next
		default:
			one.authority.Role = ca.Retiring
		}
		all = append(all, one)
	}
	return all, nil
}

func (r *Rotation) readIssuer(ctx context.Context, reference string) (issuer, error) {
	answer, err := r.client.Logical().ReadWithContext(ctx, r.issuerPath(reference))
	if err != nil {
		return issuer{}, err
	}
	if answer == nil {
		return issuer{}, fmt.Errorf("%w: Vault has no issuer %s", ca.ErrRefused, reference)
	}
	text := func(name string) string { s, _ := answer.Data[name].(string); return s }
	certificate, err := parseCertificate(text("certificate"))
	if err != nil {
		return issuer{}, fmt.Errorf("read issuer %s: %w", reference, err)
	}
	return issuer{
		id: text("issuer_id"), name: text("issuer_name"), key: text("key_id"),
		authority: ca.Authority{ID: hex.EncodeToString(certificate.SubjectKeyId), Certificate: certificate},
	}, nil
}

func in(all []issuer, role ca.Role) *issuer {
	if i := slices.IndexFunc(all, func(i issuer) bool { return i.authority.Role == role }); i >= 0 {
		return &all[i]
	}
	return nil
}

func (r *Rotation) rolePath() string { return r.config.Mount + "/roles/" + r.config.Role }

func (r *Rotation) issuerPath(reference string) string {
	return r.config.Mount + "/issuer/" + reference
}

// Begin implements ca.Rotator: a new root, whose key is made in Vault and cannot
// be exported. A mount whose issuer is below a root elsewhere is ca.ErrRefused:
// there the root is what devices' verifiers know, and it stays.
func (r *Rotation) Begin(ctx context.Context) (ca.Authority, error) {
	all, err := r.read(ctx)
	if err != nil {
		return ca.Authority{}, fmt.Errorf("begin a change of Vault's root: %w", err)
	}
	if next := in(all, ca.Next); next != nil {
		return next.authority, nil
	}
	if old := in(all, ca.Retiring); old != nil {
		return ca.Authority{}, fmt.Errorf("begin a change of Vault's root: %w: the mount has another issuer, %s, that is still retiring", ca.ErrRefused, old.name)
	}
	signs := in(all, ca.Signing)
	if signs == nil || !ca.SelfSigned(signs.authority.Certificate) {
		return ca.Authority{}, fmt.Errorf("begin a change of Vault's root: %w: the issuer that signs is no root of this mount", ca.ErrRefused)
	}
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	request := r.config.rootRequest()
	request["issuer_name"] = nextPrefix + hex.EncodeToString(random[:])
	request["key_name"] = request["issuer_name"]
	if _, err := r.client.Logical().WriteWithContext(ctx, r.config.Mount+"/issuers/generate/root/internal", request); err != nil {
		return ca.Authority{}, fmt.Errorf("begin a change of Vault's root: %w", err)
	}
	return r.now(ctx, ca.Next)
}

func (r *Rotation) now(ctx context.Context, role ca.Role) (ca.Authority, error) {
	all, err := r.read(ctx)
	if err != nil {
		return ca.Authority{}, err
	}
	one := in(all, role)
	if one == nil {
		return ca.Authority{}, fmt.Errorf("%w: somebody else changes the mount", ca.ErrUnavailable)
	}
	return one.authority, nil
}

// Activate implements ca.Rotator. The role is changed first: from then on the new
// root signs, and what follows, the mount's default and the name, is finished by
// another call where this one is cut off.
func (r *Rotation) Activate(ctx context.Context) (ca.Authority, error) {
	all, err := r.read(ctx)
	if err != nil {
		return ca.Authority{}, fmt.Errorf("activate Vault's next root: %w", err)
	}
	next := in(all, ca.Next)
	if next == nil {
		signs := in(all, ca.Signing)
		if in(all, ca.Retiring) == nil || signs == nil {
			return ca.Authority{}, fmt.Errorf("activate Vault's next root: %w", ca.ErrNoRotation)
		}
		next = signs
	}
	for _, write := range []struct {
		path  string
		patch bool
		data  map[string]any
	}{
		{r.rolePath(), true, map[string]any{"issuer_ref": next.id}},
		{r.config.Mount + "/config/issuers", false, map[string]any{"default": next.id}},
		{r.issuerPath(next.id), true, map[string]any{"issuer_name": strings.Replace(next.name, nextPrefix, ownRoot+"-", 1)}},
	} {
		if err := r.write(ctx, write.path, write.patch, write.data); err != nil {
			return ca.Authority{}, fmt.Errorf("activate Vault's next root: %w", err)
		}
	}
	return r.now(ctx, ca.Signing)
}

func (r *Rotation) write(ctx context.Context, path string, patch bool, data map[string]any) error {
	if patch { // the other fields stay
		_, err := r.client.Logical().JSONMergePatch(ctx, path, data)
		return err
	}
	_, err := r.client.Logical().WriteWithContext(ctx, path, data)
	return err
}

// Retire implements ca.Rotator: the old issuer and its key are deleted. The new
// one then has the old one's name, so that what names it need not be changed.
func (r *Rotation) Retire(ctx context.Context) (ca.Authority, error) {
	all, err := r.read(ctx)
	if err != nil {
		return ca.Authority{}, fmt.Errorf("retire Vault's old root: %w", err)
	}
	old, signs := in(all, ca.Retiring), in(all, ca.Signing)
	if old == nil || signs == nil {
		return ca.Authority{}, fmt.Errorf("retire Vault's old root: %w", ca.ErrNoRotation)
	}
	_, err = r.client.Logical().DeleteWithContext(ctx, r.issuerPath(old.id))
	if err == nil && old.key != "" {
		_, err = r.client.Logical().DeleteWithContext(ctx, r.config.Mount+"/key/"+old.key)
	}
	if err == nil && old.name != "" {
		err = errors.Join(
			r.write(ctx, r.issuerPath(signs.id), true, map[string]any{"issuer_name": old.name}),
			r.write(ctx, r.rolePath(), true, map[string]any{"issuer_ref": old.name}))
	}
	if err != nil {
		return ca.Authority{}, fmt.Errorf("retire Vault's old root: %w", err)
	}
	return old.authority, nil
}

// Authorities lists the roots that are in the bundle, for the service to count
// what depends on each. Which one the role names its token may not read; the
// mount's default is the same (Rotation.Activate).
func (c *CA) Authorities(ctx context.Context) ([]ca.Authority, error) {
	signs := c.config.Issuer
	setDefault(&signs, "default")
	chain, err := c.readIssuer(ctx, signs)
	if err != nil {
		return nil, fmt.Errorf("list authorities: %w", err)
	}
	answer, err := c.repeat(ctx, func(ctx context.Context, logical *api.Logical) (*api.Secret, error) {
		return logical.ListWithContext(ctx, c.config.Mount+"/issuers")
	})
	if err != nil || answer == nil {
		return nil, fmt.Errorf("list authorities: %w", errors.Join(ca.ErrUnavailable, err))
	}
	infos, _ := answer.Data["key_info"].(map[string]any)
	var all []issuer
	for id, info := range infos {
		links, err := c.readIssuer(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("list authorities: %w", err)
		}
		fields, _ := info.(map[string]any)
		name, _ := fields["issuer_name"].(string)
		all = append(all, issuer{id: id, name: name, authority: authorityOf(links[0], chain[0], name)})
	}
	return authoritiesOf(all), nil
}

func authorityOf(certificate, signs *x509.Certificate, name string) ca.Authority {
	a := ca.Authority{ID: hex.EncodeToString(certificate.SubjectKeyId), Role: ca.Retiring, Certificate: certificate}
	switch {
	case certificate.Equal(signs):
		a.Role = ca.Signing
	case strings.HasPrefix(name, nextPrefix):
		a.Role = ca.Next
	}
	return a
}
