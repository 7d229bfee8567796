package fleet

// RefusedRelease is a published release that policy does not take in: it is listed
// and nothing else. No device is told to install it, and one that runs it runs
// nothing that is known.
type RefusedRelease struct {
	Release
	Code   string // stable
	Reason string // a sentence
}

// KeyReleaseRefused is the key of the alert about such a release; its subject is
// that of the release.
const KeyReleaseRefused = "release_refused"

// InstallableBy reports whether a device that proved a release of the model with
// the given counter may install this one: its counter is lower, or this release
// says that it may take the place of that one; and it is not below the minimum. Zero
// stands for a device that has proven no release: it is below every minimum.
func (r Release) InstallableBy(counter uint64) bool {
	return counter >= r.Minimum && r.Replaces(counter)
}

// Replaces reports whether the release comes after one of its model with that
// counter, or may take its place although it comes before.
func (r Release) Replaces(counter uint64) bool {
	return counter < r.Counter || counter > r.Counter && counter <= r.DowngradeFrom
}
