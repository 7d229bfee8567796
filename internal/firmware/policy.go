package firmware

import (
	"context"

	"troth/internal/fleet"
	"troth/tuf"
	"troth/tuf/client"
)

// PolicyBundle fetches the policy bundle that the repository has signed under the
// target name: what is said of it, and its archive, verified. Errors are of kind
// Refused where something about the signatures does not hold, with the code
// policy_unsigned or policy_signature, and Unavailable where the repository cannot
// be read.
func (r *Repository) PolicyBundle(ctx context.Context, name string) (fleet.SignedBundle, []byte, error) {
	refuse := func(err error) (fleet.SignedBundle, []byte, error) { return fleet.SignedBundle{}, nil, err }
	updater, err := r.latest(ctx)
	if err != nil {
		return refuse(err)
	}
	target, err := updater.Lookup(ctx, name)
	switch {
	case client.Code(err) == client.CodeNotFound:
		return refuse(fleet.Because(err, fleet.Refused, "policy_unsigned", "no bundle is signed under the name %s: publish it first, with troth policy publish", name))
	case err != nil:
		return refuse(distrust(ctx, err))
	}
	signed, err := target.PolicyBundle()
	if err != nil {
		return refuse(fleet.Because(err, fleet.Refused, "policy_unsigned", "%s is signed, but not as a policy bundle: publish it with troth policy publish", name))
	}
	content, err := r.content(ctx, updater, target.Name, tuf.MaxPolicyBytes)
	if err != nil {
		return refuse(distrust(ctx, err))
	}
	return fleet.SignedBundle{Counter: signed.Counter, Version: signed.Version, Target: name, Archive: target.Hashes["sha256"]}, content, nil
}

// latest is the client after it has read what is signed now.
func (r *Repository) latest(ctx context.Context) (*client.Client, error) {
	if err := r.Refresh(ctx); err != nil {
		// An allow-list of some release that is missing has no code, and is no matter here.
		if client.Code(err) != "" || r.client.Load() == nil {
			return nil, distrust(ctx, err)
		}
	}
	updater := r.client.Load()
	if updater == nil {
		return nil, fleet.Errorf(fleet.Refused, "policy_unsigned", "there is no repository yet that could have signed a bundle: see troth tuf init")
	}
	return updater, nil
}

// distrust says what of the signatures does not hold.
func distrust(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	switch client.Code(err) {
	case client.CodeExpired, client.CodeRollback, client.CodeSignature, client.CodeMalformed, client.CodeContent, client.CodeTooLarge, client.CodeName, client.CodeDelegation:
		return fleet.Because(err, fleet.Refused, "policy_signature", "what the repository signed does not hold: %v", err)
	}
	return fleet.Because(err, fleet.Unavailable, "repository_unavailable", "the repository of signed bundles cannot be read: %v", err)
}
