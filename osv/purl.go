package osv

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	packageurl "github.com/package-url/packageurl-go"
)

// Component is a package of a bill of materials, in OSV's terms.
type Component struct {
	PURL    string // as the document has it
	Version string // empty: not said
	// keys name the package; a record that names it has one of them.
	keys []string
	// ecosystem is OSV's, without a release; empty where OSV has none for the type.
	ecosystem string
	// releases are the names of the distribution's release; none: not said.
	releases []string
}

// Keys name the package for whoever keeps records by package: a record concerns
// the component only if one of its Affected has one of these keys.
func (c Component) Keys() []string { return c.keys }

// ParseComponent reads a package URL.
func ParseComponent(purl string) (Component, error) {
	if len(purl) > 4*maxWord {
		return Component{}, fmt.Errorf("%w: a package URL of more than %d bytes", ErrSBOM, 4*maxWord)
	}
	p, err := packageurl.FromString(purl)
	if err != nil {
		return Component{}, fmt.Errorf("%w: %w", ErrSBOM, err)
	}
	c := Component{PURL: purl, Version: p.Version}
	qualifiers := p.Qualifiers.Map()
	names := []string{p.Name}
	c.ecosystem = ecosystemOf(p)
	switch p.Type {
	case packageurl.TypeDebian, packageurl.TypeApk:
		// Records name source packages; upstream says which one a binary is built from.
		if source, version, _ := strings.Cut(qualifiers["upstream"], "@"); source != "" {
			names = []string{source}
			c.Version = or(version, c.Version)
		}
		c.releases = releasesOf(qualifiers["distro"])
	case packageurl.TypeRPM:
		if epoch := qualifiers["epoch"]; epoch != "" && c.Version != "" {
			c.Version = epoch + ":" + c.Version
		}
		if source := sourceRPM.FindStringSubmatch(qualifiers["upstream"]); source != nil {
			names = append(names, source[1])
		}
		c.releases = releasesOf(qualifiers["distro"])
	}
	for _, name := range names {
		p.Name = name
		if c.ecosystem != "" {
			c.keys = append(c.keys, packageKey(c.ecosystem, nameOf(p)))
		}
		c.keys = append(c.keys, purlKey(p))
	}
	return c, nil
}

var sourceRPM = regexp.MustCompile(`^(.+)-[^-]+-[^-]+\.src\.rpm$`)

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// Keys name the package as Component.Keys do.
func (a Affected) Keys() []string {
	var keys []string
	if base, _, _ := strings.Cut(a.Package.Ecosystem, ":"); base != "" && a.Package.Name != "" {
		keys = append(keys, packageKey(base, a.Package.Name))
	}
	if a.Package.PURL != "" {
		if p, err := packageurl.FromString(a.Package.PURL); err == nil {
			keys = append(keys, purlKey(p))
		}
	}
	return keys
}

// packageKey spells the name as its ecosystem compares names.
func packageKey(ecosystem, name string) string {
	switch ecosystem {
	case "PyPI": // PEP 503
		name = pythonSeparators.ReplaceAllString(strings.ToLower(name), "-")
	case "NuGet", "Packagist":
		name = strings.ToLower(name)
	}
	return ecosystem + "/" + name
}

var pythonSeparators = regexp.MustCompile(`[-_.]+`)

func purlKey(p packageurl.PackageURL) string {
	return "pkg:" + p.Type + "/" + p.Namespace + "/" + p.Name
}

// ecosystemOf is OSV's name for what the type, and for distributions the
// namespace, of a package URL means.
func ecosystemOf(p packageurl.PackageURL) string {
	switch p.Type {
	case packageurl.TypeDebian:
		return of(p.Namespace, "debian Debian ubuntu Ubuntu echo Echo")
	case packageurl.TypeApk:
		return of(p.Namespace, "alpine Alpine wolfi Wolfi chainguard Chainguard alpaquita Alpaquita minimos MinimOS")
	case packageurl.TypeRPM:
		switch p.Namespace {
		case "redhat", "rhel":
			return "Red Hat"
		case "rocky", "rockylinux", "rocky-linux":
			return "Rocky Linux"
		case "sles", "sled":
			return "SUSE"
		}
		return of(p.Namespace, "almalinux AlmaLinux mageia Mageia openeuler openEuler opensuse openSUSE suse SUSE")
	}
	return of(p.Type, "bitnami Bitnami cargo crates.io composer Packagist conan ConanCenter cran CRAN gem RubyGems golang Go hackage Hackage hex Hex julia Julia maven Maven npm npm nuget NuGet pub Pub pypi PyPI swift SwiftURL")
}

// of finds a word's partner in a list of pairs.
func of(word, pairs string) string {
	list := strings.Fields(pairs)
	for i := 0; i < len(list); i += 2 {
		if list[i] == word {
			return list[i+1]
		}
	}
	return ""
}

// nameOf joins namespace and name as the ecosystem writes them.
func nameOf(p packageurl.PackageURL) string {
	switch p.Type {
	case packageurl.TypeDebian, packageurl.TypeApk, packageurl.TypeRPM, packageurl.TypeConan:
		return p.Name
	case packageurl.TypeMaven:
		return p.Namespace + ":" + p.Name
	}
	return strings.TrimPrefix(p.Namespace+"/"+p.Name, "/")
}

var codenames = []string{
	"buster", "10", "bullseye", "11", "bookworm", "12", "trixie", "13", "forky", "14", // Debian
	"bionic", "18.04", "focal", "20.04", "jammy", "22.04", "noble", "24.04", // Ubuntu
}

var number = regexp.MustCompile(`^v?[0-9]+(\.[0-9]+)*$`)

// releasesOf are the names that a distribution's release may have in records: of
// debian-11.6 these are 11.6 and 11.
func releasesOf(distro string) []string {
	_, name, dashed := strings.Cut(distro, "-")
	if !dashed {
		name = distro
	}
	if name == "" {
		return nil
	}
	if i := slices.Index(codenames, name); i >= 0 && i%2 == 0 {
		name = codenames[i+1]
	}
	list := []string{name}
	for number.MatchString(name) && strings.Contains(name, ".") {
		name = name[:strings.LastIndexByte(name, '.')]
		list = append(list, name)
	}
	return list
}

// ofRelease says whether the ecosystem of a record, with its release, is that of
// the component: Decided false where one of them does not say, or not in numbers.
func (c Component) ofRelease(ecosystem string) (is, decided bool) {
	_, suffix, found := strings.Cut(ecosystem, ":")
	if !found || suffix == "" {
		return true, true
	}
	if len(c.releases) == 0 {
		return false, false
	}
	numbers := false
	for part := range strings.SplitSeq(suffix, ":") {
		numeric := number.MatchString(part)
		numbers = numbers || numeric
		if numeric {
			part = strings.TrimPrefix(part, "v")
		}
		if slices.ContainsFunc(c.releases, func(r string) bool { return strings.TrimPrefix(r, "v") == part }) {
			return true, true
		}
	}
	return false, numbers && number.MatchString(c.releases[0])
}
