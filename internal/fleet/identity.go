package fleet

import "time"

// Enrollment is a device's attempt to enrol: the challenge it was given and
// what it claimed, kept until it is answered once or expires.
type Enrollment struct {
	ID            string
	Device        DeviceID
	Name          string // as claimed; a registration's own name wins
	Model         string
	EKPublic      []byte
	EKCertificate []byte
	Manufacturer  string // empty: the chain was not verified
	EKProblem     string // why not
	DevIDPublic   []byte // TPMT_PUBLIC of the manufacturer's key; nil: none was shown
	DevID         DevID
	AKPublic      []byte
	TLSPublic     []byte // TPMT_PUBLIC
	SecretSHA256  []byte // the secret itself is never kept
	Nonce         []byte
	CreatedAt     time.Time
	ExpiresAt     time.Time
}

// Manufacturer is a trusted maker of TPMs: whose EK certificates count.
type Manufacturer struct {
	Name    string
	PEM     []byte // roots (self-signed) and intermediates
	AddedAt time.Time
	AddedBy string
}

// Role is what an operator may be.
type Role string

// The roles. What each may do is decided in Rego.
const (
	RoleBootstrap Role = "bootstrap" // may log in once, nothing else
	RoleAdmin     Role = "admin"
	RoleSecurity  Role = "security"
	RoleOperator  Role = "operator"
	RoleAuditor   Role = "auditor"
	RoleViewer    Role = "viewer"
	RoleProxy     Role = "proxy" // may ask /authz
)

// Token is an operator's API credential; only its hash is kept.
type Token struct {
	ID        string
	Operator  string
	Role      Role
	Scope     Scope // the devices that it is good for
	SHA256    []byte
	CreatedAt time.Time
	ExpiresAt time.Time
	UsedAt    time.Time // of a bootstrap token: when it was spent
	RevokedAt time.Time
}

// Usable reports whether the token still opens anything.
func (t Token) Usable(now time.Time) bool {
	return now.Before(t.ExpiresAt) && t.RevokedAt.IsZero() && (t.Role != RoleBootstrap || t.UsedAt.IsZero())
}
