package firmware

import (
	"strconv"

	"troth/internal/fleet"
	"troth/tuf/client"
)

// release reads a target as a firmware release; ok is false for a target that
// is none, which nothing can match or install.
func release(t client.Target) (r fleet.Release, ok bool) {
	signed := t.Release
	if signed == nil || signed.Reference == nil {
		return fleet.Release{}, false
	}
	r = fleet.Release{
		Target: t.Name, Model: signed.Model, Version: signed.Version, Counter: signed.Counter, Security: signed.Security,
		Notes: signed.Notes, Length: t.Length, SHA256: t.Hashes["sha256"], Reference: fleet.ReferencePCRs{},
	}
	for index, value := range signed.Reference.PCRs {
		i, err := strconv.Atoi(index)
		if err != nil {
			return fleet.Release{}, false // tuf validates it: never
		}
		r.Reference[i] = value
	}
	return r, true
}
