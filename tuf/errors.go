package tuf

import (
	"errors"
	"fmt"
	"strings"
)

// Reasons for which an operation is refused. Each leaves the repository as it
// was. Test with errors.Is.
var (
	// ErrInvalid: the release, its name or its reference values are not usable.
	ErrInvalid = errors.New("invalid release")
	// ErrCounter: the model already has a release with this or a higher counter.
	ErrCounter = errors.New("release counter is not higher than the last one of its model")
	// ErrExists: there already is a repository here, or a target of that name.
	ErrExists = errors.New("already exists")
	// ErrNotFound: the directory holds no repository.
	ErrNotFound = errors.New("no repository here")
	// ErrLocked: another process is writing to the repository.
	ErrLocked = errors.New("another writer holds the repository")
	// ErrExpired: a role that this operation cannot sign anew has expired.
	ErrExpired = errors.New("role has expired")
	// ErrDelegation: a release's model and its target's name do not belong to the
	// same role.
	ErrDelegation = errors.New("delegated to another role")
	// ErrNoRole: nobody delegates to a role of that name.
	ErrNoRole = errors.New("no such role")
	// ErrTwin: another release of the model has the same reference values.
	ErrTwin = errors.New("reference values are those of another release")
	// ErrStage: a stage file is damaged, or belongs to another state of the
	// repository.
	ErrStage = errors.New("stage does not fit")
	// ErrPending: something is staged already, or nothing is.
	ErrPending = errors.New("stage is pending")
	// ErrContent: content does not have the signed length or hashes.
	ErrContent = errors.New("content is not what was signed")
)

// MissingKeyError says that a role cannot be signed because too few of its
// private keys are in the keys directory.
type MissingKeyError struct {
	Role    string   // root, targets, snapshot, timestamp or a delegated one
	KeysDir string   // where the keys were looked for; empty: none was given
	KeyIDs  []string // the key ids that the signed root accepts for the role
	Found   int      // how many of them were there
	Need    int      // how many are needed (the role's threshold)
}

// Error names the role, the directory and the key ids that would do.
func (e *MissingKeyError) Error() string {
	where := e.KeysDir
	if where == "" {
		where = "(no keys directory given)"
	}
	ids := make([]string, len(e.KeyIDs))
	for i, id := range e.KeyIDs {
		ids[i] = id[:min(12, len(id))]
	}
	return fmt.Sprintf("the %s key is missing: %d of %d needed found in %s (key id %s)",
		e.Role, e.Found, e.Need, where, strings.Join(ids, ", "))
}
