package result

import (
	"encoding/json"
	"time"

	"troth/attest/ear"
	"troth/internal/fleet"
)

// Details are what a token says in this service's own words, as the member
// "troth" of ear_verifier_claims. They name the grounds of the result, so that
// an auditor finds them again.
type Details struct {
	Verdict     string    `json:"verdict"` // believed at iat
	Lifecycle   string    `json:"lifecycle"`
	AppraisedAt int64     `json:"appraised_at,omitempty"` // seconds, Unix; when the evidence was verified
	FreshUntil  int64     `json:"fresh_until,omitempty"`  // seconds, Unix; when the verdict lapses
	Firmware    string    `json:"firmware,omitempty"`     // the release that the PCRs prove
	Failing     []Failing `json:"controls_failing,omitempty"`
	Decision    string    `json:"decision,omitempty"`
	Policy      string    `json:"policy,omitempty"`   // SHA-256, hexadecimal
	Input       string    `json:"input,omitempty"`    // SHA-256, hexadecimal
	Evidence    string    `json:"evidence,omitempty"` // SHA-256, hexadecimal
}

// Failing is a control that the device fails. Its reason stays with the service:
// it may quote the device's own words.
type Failing struct {
	ID       string `json:"id"`
	Outcome  string `json:"outcome"`
	Severity string `json:"severity"`
	Enforced bool   `json:"enforced"` // false: within its grace, and not counted yet
}

// believed is the verdict at now. One that lapses within this second is not
// believed, because a token counts in seconds.
func (st state) believed(now time.Time) fleet.Verdict {
	if st.posture == nil || st.device.FreshUntil.Unix() <= now.Unix() {
		return fleet.Unknown
	}
	v := st.device.Believed(now)
	if v == fleet.Compliant && st.posture.Verdict != fleet.Compliant {
		return st.posture.Verdict // it changed while we read: the worse counts
	}
	return v
}

// until is when a token made now ends: not later than limit, than the verdict is
// believed, and than the grace of any control runs out.
func (st state) until(now, limit time.Time) time.Time {
	end := limit
	sooner := func(t time.Time) {
		if t.Unix() > now.Unix() && t.Before(end) {
			end = t
		}
	}
	if st.posture != nil {
		sooner(st.device.FreshUntil)
		for _, c := range st.posture.Controls {
			if c.Failing() && c.EnforcedAt != nil {
				sooner(*c.EnforcedAt)
			}
		}
	}
	if end.Unix() <= now.Unix() {
		end = now.Add(time.Second)
	}
	return end
}

// appraisal is what the token says of the device.
func (st state) appraisal(now time.Time) ear.Appraisal {
	vector := st.vector(now)
	a := ear.Appraisal{
		Status: st.status(vector, now), Vector: vector,
		AttesterClaims: map[string]any{"ueid": ueid(st.device.ID)},
		VerifierClaims: map[string]any{"troth": st.details(now)},
	}
	if id := policyID(st.decision.Policy); id != "" && st.believed(now) != fleet.Unknown {
		a.PolicyIDs = []string{id}
	}
	return a
}

// status is the tier of the whole device. Only what is compliant, fresh and
// active is affirmed.
func (st state) status(v ear.Vector, now time.Time) ear.Tier {
	verdict := st.believed(now)
	switch st.device.Lifecycle {
	case fleet.Active:
	case fleet.Quarantined, fleet.Retired:
		return ear.Contraindicated
	default:
		return ear.None
	}
	switch worst := v.Worst(); {
	case verdict == fleet.Compliant && (worst >= ear.Warning || v[ear.InstanceIdentity].Tier() == ear.Affirming):
		return worst
	case verdict == fleet.Noncompliant:
		return max(worst, ear.Warning)
	case worst >= ear.Warning: // nothing was decided, and something is wrong
		return worst
	default:
		return ear.None
	}
}

// vector are the trustworthiness claims. Aspects that the service does not
// appraise (file-system, runtime-opaque, storage-opaque, sourced-data) are left
// out, which says nothing of them.
func (st state) vector(now time.Time) ear.Vector {
	v := ear.Vector{ear.InstanceIdentity: ear.NoClaim, ear.Configuration: ear.NoClaim, ear.Executables: ear.NoClaim, ear.Hardware: ear.NoClaim}
	switch lifecycle, verdict := st.device.Lifecycle, st.believed(now); {
	case lifecycle == fleet.Quarantined, lifecycle == fleet.Retired:
		v[ear.InstanceIdentity] = ear.UntrustedInstance
		return v
	case lifecycle != fleet.Active, verdict == fleet.Unknown:
		return v
	case st.posture.NothingDecided():
		for aspect := range v {
			v[aspect] = ear.Malfunction
		}
		return v
	}
	st.affirm(v)
	for _, c := range st.posture.Controls {
		if c.Enforced(now) {
			v.Lower(weigh(c))
		}
	}
	return v
}

// affirm sets what the posture shows to be well.
func (st state) affirm(v ear.Vector) {
	var attestation struct { // of attest.Result
		Verified bool `json:"verified"`
	}
	if json.Unmarshal(st.posture.Attestation, &attestation) == nil && attestation.Verified {
		v[ear.InstanceIdentity] = ear.KnownInstance
	}
	if st.device.Manufacturer != "" {
		v[ear.Hardware] = ear.GenuineHardware
	}
	for _, c := range st.posture.Controls {
		if c.Outcome != fleet.Pass || c.Reported { // its own words affirm nothing
			continue
		}
		switch {
		case c.ID == firmwareKnown:
			v[ear.Executables] = ear.ApprovedBoot
		case aspectOf(c.ID) == ear.Configuration:
			v[ear.Configuration] = ear.ApprovedConfig
		}
	}
}

func (st state) details(now time.Time) Details {
	d := Details{Verdict: string(st.believed(now)), Lifecycle: string(st.device.Lifecycle)}
	p := st.posture
	if p == nil {
		return d
	}
	d.AppraisedAt, d.FreshUntil, d.Firmware = p.At.Unix(), max(0, st.device.FreshUntil.Unix()), st.device.FirmwareVersion
	d.Decision, d.Evidence, d.Policy, d.Input = p.Decision, p.Evidence, st.decision.Policy, st.decision.Input
	for _, c := range p.Controls {
		if c.Failing() && !c.Advisory {
			d.Failing = append(d.Failing, Failing{ID: c.ID, Outcome: string(c.Outcome), Severity: string(c.Severity), Enforced: c.Enforced(now)})
		}
	}
	return d
}
