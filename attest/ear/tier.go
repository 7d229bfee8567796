package ear

import "fmt"

// Tier is a trustworthiness tier (AR4SI, section 3.2). A larger number is less
// trust, but for None, which says nothing.
type Tier int8

// The tiers.
const (
	None            Tier = 0  // the verifier makes no assertion
	Affirming       Tier = 2  // it affirms
	Warning         Tier = 32 // it warns
	Contraindicated Tier = 96 // it says that the attester is not to be trusted
)

// String is the tier's label in JSON.
func (t Tier) String() string {
	switch t {
	case None:
		return "none"
	case Affirming:
		return "affirming"
	case Warning:
		return "warning"
	case Contraindicated:
		return "contraindicated"
	default:
		return fmt.Sprintf("tier(%d)", int8(t))
	}
}

// MarshalText writes the label; a number that is no tier is an error.
func (t Tier) MarshalText() ([]byte, error) {
	switch t {
	case None, Affirming, Warning, Contraindicated:
		return []byte(t.String()), nil
	default:
		return nil, fmt.Errorf("encode tier: %d is none", int8(t))
	}
}

// UnmarshalText reads a label; any other word is an error.
func (t *Tier) UnmarshalText(b []byte) error {
	for _, tier := range []Tier{None, Affirming, Warning, Contraindicated} {
		if string(b) == tier.String() {
			*t = tier
			return nil
		}
	}
	return fmt.Errorf("decode tier: %.32q is none", b)
}

// Claim is a trustworthiness claim: a reason within a tier (AR4SI, section
// 2.3.2). Negative numbers beyond -1 are reasons that no standard names.
type Claim int8

// Claims that hold for every aspect.
const (
	NoClaim      Claim = 0  // the evidence does not suffice to conclude anything
	NotEvaluated Claim = 1  // the evidence has elements that the verifier cannot evaluate
	Malfunction  Claim = -1 // the verifier itself did not work
	BadCrypto    Claim = 99 // cryptographic validation of the evidence failed
)

// Claims of one aspect each (AR4SI, section 2.3.4).
const (
	KnownInstance     Claim = 2  // instance-identity: recognised, not known to be compromised
	UntrustedInstance Claim = 96 // instance-identity: recognised, and not trustworthy

	ApprovedConfig      Claim = 2  // configuration: known and approved
	UnsafeConfig        Claim = 32 // configuration: known vulnerabilities
	HiddenConfig        Claim = 36 // configuration: elements that matter are not available to the verifier
	UnsupportableConfig Claim = 96 // configuration: unacceptable vulnerabilities

	ApprovedBoot         Claim = 3  // executables: only approved ones were loaded during boot
	UnsafeExecutables    Claim = 32 // executables: recognised, some with known vulnerabilities
	UnknownExecutables   Claim = 33 // executables: some are not recognised
	UntrustedExecutables Claim = 96 // executables: some are contraindicated

	GenuineHardware    Claim = 2  // hardware: genuine and supported
	UnsafeHardware     Claim = 32 // hardware: genuine, with known vulnerabilities
	UntrustedHardware  Claim = 96 // hardware: recognised, and contraindicated
	UnexpectedHardware Claim = 97 // hardware: not recognised, and should be
)

// Tier is the tier that the claim's number lies in.
func (c Claim) Tier() Tier {
	switch {
	case c >= -1 && c <= 1:
		return None
	case c >= 96 || c < -96:
		return Contraindicated
	case c >= 32 || c < -32:
		return Warning
	default:
		return Affirming
	}
}

// Aspect is what a claim is about: a member of a trustworthiness vector.
type Aspect string

// The aspects (AR4SI, section 2.3.4).
const (
	InstanceIdentity Aspect = "instance-identity"
	Configuration    Aspect = "configuration"
	Executables      Aspect = "executables"
	FileSystem       Aspect = "file-system"
	Hardware         Aspect = "hardware"
	RuntimeOpaque    Aspect = "runtime-opaque"
	StorageOpaque    Aspect = "storage-opaque"
	SourcedData      Aspect = "sourced-data"
)

// Aspects are all of them, in the order of the specification's labels.
func Aspects() []Aspect {
	return []Aspect{InstanceIdentity, Configuration, Executables, FileSystem, Hardware, RuntimeOpaque, StorageOpaque, SourcedData}
}

// Vector is a trustworthiness vector. An aspect that is not in it, and one with
// a claim of the tier None, say the same: nothing.
type Vector map[Aspect]Claim

// Worst is the least trust of all claims that say something; None if none does.
func (v Vector) Worst() Tier {
	worst := None
	for _, c := range v {
		worst = max(worst, c.Tier())
	}
	return worst
}

// Lower sets an aspect's claim where c is less trust than what stands there. A
// claim that says nothing takes away an affirmation, but hides no warning.
func (v Vector) Lower(a Aspect, c Claim) {
	old, ok := v[a]
	if !ok || rank(c) > rank(old) || rank(c) == rank(old) && c > old {
		v[a] = c
	}
}

// rank orders claims from most trust to least.
func rank(c Claim) int {
	switch c.Tier() {
	case Affirming:
		return 0
	case None:
		return 1
	case Warning:
		return 2
	default:
		return 3
	}
}
