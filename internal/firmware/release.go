package firmware

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

	"troth/internal/fleet"
	"troth/tuf"
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
		Files: fileRules(signed.IMA), Minimum: signed.Minimum, DowngradeFrom: signed.DowngradeFrom,
	}
	if bom := signed.SBOM; bom != nil && bom.Target != "" {
		r.SBOM = &fleet.SBOM{Target: bom.Target, Format: bom.Format, SHA256: bom.SHA256}
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

// fileRules names what a release says of files by its content, so that it is
// judged anew when that changes, and shared where it is the same.
func fileRules(i *tuf.IMA) fleet.FileRules {
	if i == nil {
		return fleet.FileRules{}
	}
	rules := fleet.FileRules{Certificates: i.Certificates}
	h := sha256.New()
	if l := i.AllowList; l != nil {
		rules.AllowList = &fleet.AllowList{Target: l.Target, Length: l.Length, SHA256: l.SHA256, Algorithm: l.Algorithm}
		fmt.Fprintf(h, "%s %s\n", l.Algorithm, l.SHA256)
	}
	for _, der := range i.Certificates {
		fmt.Fprintf(h, "%x\n", der)
	}
	rules.ID = hex.EncodeToString(h.Sum(nil))
	return rules
}
