package vuln

import (
	"troth/internal/fleet"
	"troth/osv"
	"troth/policy"
)

// Facts is what policy is told of the release that a device proved; the zero
// Release is none. It reads nothing but the last comparison.
func (s *Service) Facts(r fleet.Release) policy.ReleaseVulnerabilitiesInput {
	c := s.current.Load()
	if c == nil {
		return policy.ReleaseVulnerabilitiesInput{Problem: problemPending}
	}
	in := policy.ReleaseVulnerabilitiesInput{FeedAt: c.feed.At, Problem: c.problem(r)}
	a := c.releases[named(r)]
	if in.Problem != "" {
		return in
	}
	in.Known, in.Components, in.Nameless = true, a.components, a.nameless
	in.Affecting, in.Undecided = a.counts(false), a.counts(true)
	later := c.later(r)
	for _, f := range a.findings {
		if len(in.List) == policy.MaxVulnerabilities {
			break
		}
		in.List = append(in.List, policy.ReleaseVulnerabilityInput{
			ID: f.ID, Severity: string(f.Severity), Component: f.Component, Fixed: f.Fixed,
			FixedBy: versionOf(firstWithout(later, namesOf(f))), Undecided: f.Undecided != "",
		})
	}
	in.NoCritical, in.NoHigh = fixed(firstAbove(later, osv.Critical)), fixed(firstAbove(later, osv.High))
	return in
}

// problem is why nothing is known of the release.
func (c *comparison) problem(r fleet.Release) string {
	a := c.releases[named(r)]
	switch {
	case c.feed.Revision == 0:
		return problemFeed
	case r.Version == "":
		return problemRelease
	case r.SBOM == nil:
		return problemSBOM
	case a == nil || digest(a.Release) != digest(r):
		return problemPending
	}
	return a.problem
}

func (a *assessment) counts(undecided bool) policy.VulnerabilityCounts {
	return policy.VulnerabilityCounts{
		Critical: a.count(osv.Critical, undecided), High: a.count(osv.High, undecided), Medium: a.count(osv.Medium, undecided),
		Low: a.count(osv.Low, undecided), Unrated: a.count(osv.Unrated, undecided),
	}
}

func fixed(a *assessment) policy.FixedRelease {
	if a == nil {
		return policy.FixedRelease{}
	}
	return policy.FixedRelease{Version: a.Version, Counter: a.Counter}
}

func versionOf(a *assessment) string {
	if a == nil {
		return ""
	}
	return a.Version
}

func namesOf(f osv.Finding) []string { return append([]string{f.ID}, f.Names...) }
