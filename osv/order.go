package osv

import (
	"errors"
	"fmt"
	"strings"

	"deps.dev/util/semver"
	apk "github.com/knqyf263/go-apk-version"
	deb "github.com/knqyf263/go-deb-version"
	rpm "github.com/knqyf263/go-rpm-version"
)

// errOrder says that two versions cannot be compared.
var errOrder = errors.New("versions cannot be ordered")

// comparison compares a fixed version with another: negative where the fixed one
// is before it.
type comparison func(other string) (int, error)

// order parses a version in the order of an ecosystem (without the release); the
// type of the range decides where the ecosystem has none of its own. It fails for
// what cannot be ordered.
func order(ecosystem, rangeType, version string) (comparison, error) {
	if len(version) > maxOrdered || version == "" {
		return nil, fmt.Errorf("%w: no version of 1 to %d bytes", errOrder, maxOrdered)
	}
	var c comparison
	var err error
	switch ecosystem {
	case "Debian", "Ubuntu", "Echo":
		c, err = debOrder(version)
	case "Alpine", "Alpaquita", "BellSoft Hardened Containers", "Chainguard", "MinimOS", "Wolfi":
		c, err = apkOrder(version)
	case "AlmaLinux", "Azure Linux", "Mageia", "openEuler", "openSUSE", "Red Hat", "Rocky Linux", "SUSE":
		c = rpmOrder(version)
	default:
		c, err = semverOrder(ecosystem, rangeType, version)
	}
	if err != nil {
		return nil, err
	}
	return guarded(c), nil
}

// guarded bounds what libraries are given. One that breaks on a hostile version
// must not take the service with it: that version cannot be ordered.
func guarded(c comparison) comparison {
	return func(other string) (n int, err error) {
		if len(other) > maxOrdered || other == "" {
			return 0, fmt.Errorf("%w: no version of 1 to %d bytes", errOrder, maxOrdered)
		}
		defer func() {
			if p := recover(); p != nil {
				n, err = 0, fmt.Errorf("%w: %v", errOrder, p)
			}
		}()
		return c(other)
	}
}

func debOrder(version string) (comparison, error) {
	v, err := deb.NewVersion(version)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errOrder, err)
	}
	return func(other string) (int, error) {
		w, err := deb.NewVersion(other)
		if err != nil {
			return 0, fmt.Errorf("%w: %w", errOrder, err)
		}
		return v.Compare(w), nil
	}, nil
}

func apkOrder(version string) (comparison, error) {
	v, err := apk.NewVersion(version)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errOrder, err)
	}
	return func(other string) (int, error) {
		w, err := apk.NewVersion(other)
		if err != nil {
			return 0, fmt.Errorf("%w: %w", errOrder, err)
		}
		return v.Compare(w), nil
	}, nil
}

func rpmOrder(version string) comparison {
	v := rpm.NewVersion(version)
	return func(other string) (int, error) { return v.Compare(rpm.NewVersion(other)), nil }
}

// semverOrder serves the ecosystems of languages.
func semverOrder(ecosystem, rangeType, version string) (comparison, error) {
	system, ok := systemOf(ecosystem)
	if !ok && rangeType != "SEMVER" {
		return nil, fmt.Errorf("%w: the order of %.64q is not known", errOrder, ecosystem)
	}
	v, err := parseSemver(system, version)
	if err != nil {
		return nil, err
	}
	return func(other string) (int, error) {
		w, err := parseSemver(system, other)
		if err != nil {
			return 0, err
		}
		return v.Compare(w), nil
	}, nil
}

func parseSemver(system semver.System, version string) (*semver.Version, error) {
	switch system {
	case semver.Go: // OSV leaves out the v; the standard library has go
		version = "v" + strings.TrimPrefix(strings.TrimPrefix(version, "go"), "v")
	case semver.DefaultSystem:
		version = strings.TrimPrefix(version, "v")
	}
	v, err := system.Parse(version)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errOrder, err)
	}
	if v.IsWildcard() {
		return nil, fmt.Errorf("%w: %.64q is no single version", errOrder, version)
	}
	return v, nil
}

// systemOf is whose order of versions an ecosystem has (OSV schema, defined
// ecosystems).
func systemOf(ecosystem string) (semver.System, bool) {
	switch ecosystem {
	case "npm":
		return semver.NPM, true
	case "crates.io":
		return semver.Cargo, true
	case "Go":
		return semver.Go, true
	case "Maven":
		return semver.Maven, true
	case "NuGet":
		return semver.NuGet, true
	case "Packagist":
		return semver.Composer, true
	case "PyPI":
		return semver.PyPI, true
	case "RubyGems":
		return semver.RubyGems, true
	case "Bitnami", "Hex", "Julia", "Pub", "SwiftURL":
		return semver.DefaultSystem, true
	}
	return semver.DefaultSystem, false
}
