package fleet

// ReferencePCRs are the PCR values that a device must show after a release is
// installed: bank sha256, index to lower-case hexadecimal digest.
type ReferencePCRs map[int]string

// Release is a published firmware release, as the verifier read it from signed
// TUF metadata.
type Release struct {
	Target    string // TUF target path
	Model     string
	Version   string
	Counter   uint64 // grows with each release of the model
	Security  bool   // fixes a vulnerability: older releases are outdated
	Notes     string
	Length    int64
	SHA256    string
	Reference ReferencePCRs
	Files     FileRules
	SBOM      *SBOM // nil: none, or none that is published here
	// Minimum is the lowest counter of a release that a device must run to install
	// this one; zero: any. DowngradeFrom is the highest counter of a release that this
	// one may take the place of although it comes before; zero: none.
	Minimum, DowngradeFrom uint64
}

// SBOM is a TUF target with the bill of materials of a release.
type SBOM struct {
	Target string
	Format string // in the publisher's words: cyclonedx+json
	SHA256 string // of the target
}

// FileRules say which files may run with a release: those of its allow-list, and
// those that are signed with one of its keys. They name what the signed metadata
// pins; the zero value says nothing of files.
type FileRules struct {
	ID           string     // SHA-256 over all of it, hexadecimal; empty: no rules
	AllowList    *AllowList // nil: none
	Certificates [][]byte   // X.509 DER of IMA signing keys
}

// AllowList is a TUF target with the digests of files.
type AllowList struct {
	Target    string
	Length    int64
	SHA256    string // of the target
	Algorithm string // of the digests in it
}

// Subject is the name of the release in alerts and events.
func (r Release) Subject() string { return "release:" + r.Model + "/" + r.Version }

// Matches reports whether the PCR values (sha256, index to hexadecimal) are
// those of the release, and which are not. A release without reference values
// matches nothing.
func (r Release) Matches(pcrs map[int]string) (bool, []int) {
	var wrong []int
	for i := range 24 {
		if want, ok := r.Reference[i]; ok && pcrs[i] != want {
			wrong = append(wrong, i)
		}
	}
	return len(r.Reference) > 0 && len(wrong) == 0, wrong
}

// Catalog is the set of published releases.
type Catalog []Release

// Identify finds the release of the model whose reference values the PCRs show.
// Where none matches, it returns the one that comes closest with the PCRs that
// differ, so that a person learns where to look.
func (c Catalog) Identify(model string, pcrs map[int]string) (r Release, known bool, wrong []int) {
	best := -1
	for _, candidate := range c {
		if candidate.Model != model {
			continue
		}
		ok, diff := candidate.Matches(pcrs)
		switch {
		case ok && (!known || candidate.Counter > r.Counter):
			r, known, wrong = candidate, true, nil
		case !ok && !known && (best < 0 || len(diff) < best):
			r, wrong, best = candidate, diff, len(diff)
		}
	}
	return r, known, wrong
}

// Latest is the model's release with the highest counter.
func (c Catalog) Latest(model string) (Release, bool) {
	return c.highest(func(r Release) bool { return r.Model == model })
}

// LatestSecurity is the model's newest release that fixes a vulnerability.
func (c Catalog) LatestSecurity(model string) (Release, bool) {
	return c.highest(func(r Release) bool { return r.Model == model && r.Security })
}

// Find is the release of the model with the version.
func (c Catalog) Find(model, version string) (Release, bool) {
	return c.highest(func(r Release) bool { return r.Model == model && r.Version == version })
}

func (c Catalog) highest(match func(Release) bool) (best Release, found bool) {
	for _, r := range c {
		if match(r) && (!found || r.Counter > best.Counter) {
			best, found = r, true
		}
	}
	return best, found
}
