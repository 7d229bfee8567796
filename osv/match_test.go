package osv_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"troth/osv"
)

// record makes one of what it affects, as JSON.
func record(t testing.TB, affected string) osv.Record {
	t.Helper()
	r, err := osv.Parse(fmt.Appendf(nil, `{"id":"X-1","modified":"2026-01-02T03:04:05Z","affected":[%s]}`, affected))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func component(t testing.TB, purl string) osv.Component {
	t.Helper()
	c, err := osv.ParseComponent(purl)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// in is one package of a record.
func in(ecosystem, name, rest string) string {
	return fmt.Sprintf(`{"package":{"ecosystem":%q,"name":%q},%s}`, ecosystem, name, rest)
}

// span is a range with events, given as introduced=1 fixed=2.
func span(kind, events string) string {
	var list []string
	for word := range strings.FieldsSeq(events) {
		key, value, _ := strings.Cut(word, "=")
		list = append(list, fmt.Sprintf(`{%q:%q}`, key, value))
	}
	return fmt.Sprintf(`"ranges":[{"type":%q,"events":[%s]}]`, kind, strings.Join(list, ","))
}

// TestVersions: the evaluation algorithm of the OSV schema, in the order of each
// ecosystem.
func TestVersions(t *testing.T) {
	const yes, no, maybe = osv.HasIt, osv.NotAffected, osv.Undecided
	for _, c := range []struct {
		purl     string
		affected string
		want     osv.Outcome
		fixed    string
	}{
		// Each ecosystem's own order.
		{"pkg:npm/%40acme/x@1.9.0", in("npm", "@acme/x", span("SEMVER", "introduced=0 fixed=1.10.0")), yes, "1.10.0"},
		{"pkg:npm/%40acme/x@1.10.0-rc.1", in("npm", "@acme/x", span("SEMVER", "introduced=0 fixed=1.10.0")), yes, "1.10.0"},
		{"pkg:npm/x@1.10.0", in("npm", "x", span("SEMVER", "introduced=0 fixed=1.10.0")), no, ""},
		{"pkg:golang/golang.org/x/net@v0.16.0", in("Go", "golang.org/x/net", span("SEMVER", "introduced=0 fixed=0.17.0")), yes, "0.17.0"},
		{"pkg:golang/golang.org/x/net@v0.0.0-20210101000000-0123456789ab", in("Go", "golang.org/x/net", span("SEMVER", "introduced=0 fixed=0.17.0")), yes, "0.17.0"},
		{"pkg:golang/stdlib@1.21.4", in("Go", "stdlib", span("SEMVER", "introduced=0 fixed=1.20.12 introduced=1.21.0-0 fixed=1.21.5")), yes, "1.21.5"},
		{"pkg:golang/stdlib@1.20.12", in("Go", "stdlib", span("SEMVER", "introduced=0 fixed=1.20.12 introduced=1.21.0-0 fixed=1.21.5")), no, ""},
		{"pkg:pypi/Some_Thing@1.0rc1", in("PyPI", "some-thing", span("ECOSYSTEM", "introduced=0 fixed=1.0")), yes, "1.0"},
		{"pkg:pypi/x@1!0.1", in("PyPI", "x", span("ECOSYSTEM", "introduced=0 fixed=2.0")), no, ""},
		{"pkg:maven/org.acme/x@1.0-SNAPSHOT", in("Maven", "org.acme:x", span("ECOSYSTEM", "introduced=0 fixed=1.0")), yes, "1.0"},
		{"pkg:cargo/x@0.4.5", in("crates.io", "x", span("SEMVER", "introduced=0.0.0-0 fixed=0.4.5")), no, ""},
		{"pkg:gem/x@1.0.0.pre2", in("RubyGems", "x", span("ECOSYSTEM", "introduced=0 fixed=1.0.0")), yes, "1.0.0"},
		{"pkg:nuget/Acme.X@1.0.0.1", in("NuGet", "acme.x", span("ECOSYSTEM", "introduced=0 fixed=1.0.0.2")), yes, "1.0.0.2"},
		{"pkg:composer/acme/x@v1.2.0", in("Packagist", "acme/x", span("ECOSYSTEM", "introduced=0 fixed=1.10.0")), yes, "1.10.0"},
		{"pkg:deb/debian/openssl@3.0.9-1?arch=amd64&distro=debian-12", in("Debian:12", "openssl", span("ECOSYSTEM", "introduced=0 fixed=3.0.10-1~deb12u1")), yes, "3.0.10-1~deb12u1"},
		{"pkg:deb/debian/openssl@3.0.10-1?distro=debian-12", in("Debian:12", "openssl", span("ECOSYSTEM", "introduced=0 fixed=3.0.10-1~deb12u1")), no, ""},
		{"pkg:apk/alpine/zlib@1.2.13-r9?distro=alpine-3.18.4", in("Alpine:v3.18", "zlib", span("ECOSYSTEM", "introduced=0 fixed=1.2.13-r10")), yes, "1.2.13-r10"},
		{"pkg:rpm/almalinux/openssl@1.1.1k-9.el8?epoch=1&distro=almalinux-8.7", in("AlmaLinux:8", "openssl", span("ECOSYSTEM", "introduced=0 fixed=1:1.1.1k-12.el8_9")), yes, "1:1.1.1k-12.el8_9"},
		{"pkg:rpm/rocky/openssl@3.0-1.el9?distro=rocky-9", in("Rocky Linux:9", "openssl", span("ECOSYSTEM", "introduced=0 fixed=0:3.0-1.el9")), no, ""},

		// A binary package is looked up by its source.
		{"pkg:deb/debian/libssl3@3.0.9-1?upstream=openssl&distro=debian-12", in("Debian:12", "openssl", span("ECOSYSTEM", "introduced=0 fixed=3.0.10-1")), yes, "3.0.10-1"},
		{"pkg:deb/debian/libc6@2.36-9%2Bb1?upstream=glibc%402.36-9&distro=bookworm", in("Debian:12", "glibc", span("ECOSYSTEM", "introduced=0 last_affected=2.36-9")), yes, ""},
		{"pkg:rpm/openeuler/libx@1-1?upstream=x-1-1.src.rpm&distro=openeuler-22.03", in("openEuler:22.03", "x", span("ECOSYSTEM", "introduced=0 fixed=1-2")), yes, "1-2"},

		// Releases of distributions.
		{"pkg:deb/debian/x@1?distro=debian-11.6", in("Debian:12", "x", span("ECOSYSTEM", "introduced=0")), no, ""},
		{"pkg:deb/debian/x@1", in("Debian:12", "x", span("ECOSYSTEM", "introduced=0")), yes, ""},
		{"pkg:deb/debian/x@1", in("Debian:12", "x", span("ECOSYSTEM", "introduced=0 fixed=2")) + "," + in("Debian:11", "x", span("ECOSYSTEM", "introduced=0 fixed=0.5")), maybe, "2"},
		{"pkg:deb/debian/x@3", in("Debian:12", "x", span("ECOSYSTEM", "introduced=0 fixed=2")), no, ""},
		{"pkg:deb/ubuntu/x@1?distro=jammy", in("Ubuntu:22.04:LTS", "x", span("ECOSYSTEM", "introduced=0 fixed=2")), yes, "2"},
		{"pkg:deb/ubuntu/x@1?distro=ubuntu-22.04", in("Ubuntu:Pro:22.04:LTS", "x", span("ECOSYSTEM", "introduced=0 fixed=2+esm1")), yes, "2+esm1"},
		{"pkg:rpm/suse/x@1-1?distro=sles-15.4", in("SUSE:Linux Enterprise Server 15 SP4", "x", span("ECOSYSTEM", "introduced=0 fixed=1-2")), yes, "1-2"},

		// Events.
		{"pkg:npm/x@1.5.0", in("npm", "x", span("SEMVER", "introduced=1.0.0 fixed=1.4.0 introduced=1.5.0 fixed=1.6.0")), yes, "1.6.0"},
		{"pkg:npm/x@1.5.0", in("npm", "x", span("SEMVER", "fixed=1.6.0 introduced=1.5.0 fixed=1.4.0 introduced=1.0.0")), yes, "1.6.0"},
		{"pkg:npm/x@1.4.9", in("npm", "x", span("SEMVER", "introduced=1.0.0 fixed=1.4.0 introduced=1.5.0 fixed=1.6.0")), no, ""},
		{"pkg:npm/x@0.9.0", in("npm", "x", span("SEMVER", "introduced=1.0.0")), no, ""},
		{"pkg:npm/x@1.5.0", in("npm", "x", span("SEMVER", "introduced=0 last_affected=1.5.0")), yes, ""},
		{"pkg:npm/x@1.5.1", in("npm", "x", span("SEMVER", "introduced=0 last_affected=1.5.0")), no, ""},
		{"pkg:npm/x@1.5.0", in("npm", "x", span("SEMVER", "introduced=1.5.0 last_affected=1.5.0")), yes, ""},
		{"pkg:npm/x@1.5.1", in("npm", "x", span("SEMVER", "introduced=1.5.0 last_affected=1.5.0")), no, ""},
		{"pkg:npm/x@1.5.1", in("npm", "x", span("SEMVER", "last_affected=1.5.0 introduced=1.5.0")), no, ""},
		{"pkg:npm/x@2.0.0", in("npm", "x", span("SEMVER", "introduced=0 limit=2.0.0")), no, ""},
		{"pkg:npm/x@1.9.0", in("npm", "x", span("SEMVER", "introduced=0 limit=2.0.0")), yes, ""},
		{"pkg:npm/x@3.0.0", in("npm", "x", span("SEMVER", "introduced=0 limit=2.0.0 limit=*")), yes, ""},
		{"pkg:npm/x@1.0.0", in("npm", "x", span("SEMVER", "introduced=0")), yes, ""},

		// Lists of versions.
		{"pkg:npm/x@1.0.0", in("npm", "x", `"versions":["0.9.0","1.0.0"]`), yes, ""},
		{"pkg:npm/x@1.0.1", in("npm", "x", `"versions":["0.9.0","1.0.0"]`), no, ""},
		{"pkg:pypi/x@2.0", in("PyPI", "x", `"versions":["2.0.0"]`), yes, ""},
		{"pkg:golang/acme/x@v1.2.3", in("Go", "acme/x", `"versions":["1.2.3"]`), yes, ""},
		{"pkg:npm/x@1.0.0", in("npm", "x", span("SEMVER", "introduced=2.0.0")+`,"versions":["1.0.0"]`), yes, ""},
		{"pkg:npm/x@1.0.0", in("npm", "x", span("GIT", "introduced=0")+`,"versions":["1.0.0"]`), yes, ""},

		// Vendors' own packages, by package URL.
		{"pkg:generic/acme/bootloader@1.2.0", `{"package":{"ecosystem":"Acme","name":"boot","purl":"pkg:generic/acme/bootloader"},` + span("SEMVER", "introduced=0 fixed=1.3.0") + `}`, yes, "1.3.0"},
		{"pkg:generic/acme/bootloader@1.2.0", `{"package":{"ecosystem":"Acme","name":"boot","purl":"pkg:generic/other/bootloader"},` + span("SEMVER", "introduced=0") + `}`, no, ""},

		// What cannot be ordered is never not affected.
		{"pkg:generic/acme/x@1.2.0", `{"package":{"ecosystem":"Acme","name":"x","purl":"pkg:generic/acme/x"},` + span("ECOSYSTEM", "introduced=0 fixed=1.1.0") + `}`, maybe, ""},
		{"pkg:conan/x@1.2.0", in("ConanCenter", "x", span("ECOSYSTEM", "introduced=0 fixed=1.1.0")), maybe, ""},
		{"pkg:npm/x@latest", in("npm", "x", span("SEMVER", "introduced=0 fixed=1.1.0")), maybe, ""},
		{"pkg:npm/x", in("npm", "x", span("SEMVER", "introduced=0 fixed=1.1.0")), maybe, ""},
		{"pkg:npm/x@1.0.0", in("npm", "x", span("SEMVER", "introduced=0 fixed=banana")), maybe, ""},
		{"pkg:npm/x@1.0.0", in("npm", "x", span("SEMVER", "fixed=2.0.0")), maybe, ""},
		{"pkg:npm/x@1.0.0", in("npm", "x", span("GIT", "introduced=0 fixed=0123abcd")), maybe, ""},
		{"pkg:npm/x@1.0.0", in("npm", "x", `"versions":[]`), maybe, ""},
		{"pkg:deb/debian/x@not_a_version?distro=debian-12", in("Debian:12", "x", span("ECOSYSTEM", "introduced=0 fixed=1")), maybe, ""},

		// Other packages.
		{"pkg:npm/y@1.0.0", in("npm", "x", span("SEMVER", "introduced=0")), no, ""},
		{"pkg:pypi/x@1.0.0", in("npm", "x", span("SEMVER", "introduced=0")), no, ""},
	} {
		got := record(t, c.affected).Judge(component(t, c.purl))
		if got.Outcome != c.want || got.Fixed != c.fixed {
			t.Errorf("%s of %s: %s, fixed %q (%s), want %s, %q", c.purl, c.affected, got.Outcome, got.Fixed, got.Reason, c.want, c.fixed)
		}
		if (got.Outcome == osv.Undecided) != (got.Reason != "") {
			t.Errorf("%s: %s with the reason %q", c.purl, got.Outcome, got.Reason)
		}
	}
}

func TestWithdrawnRecordSaysNothing(t *testing.T) {
	r := record(t, in("npm", "x", span("SEMVER", "introduced=0")))
	r.Withdrawn = r.Modified
	if got := r.Judge(component(t, "pkg:npm/x@1.0.0")); got.Outcome != osv.NotAffected {
		t.Errorf("%+v", got)
	}
}

func TestSeverity(t *testing.T) {
	for _, c := range []struct {
		record, affected string
		want             osv.Severity
	}{
		{`"severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]`, "", osv.Critical},
		{`"severity":[{"type":"CVSS_V3","score":"CVSS:3.0/AV:L/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H"}]`, "", osv.High},
		{`"severity":[{"type":"CVSS_V4","score":"CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"}]`, "", osv.Critical},
		{`"severity":[{"type":"CVSS_V2","score":"AV:N/AC:L/Au:N/C:C/I:C/A:C"}]`, "", osv.High},
		{`"severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N"},{"type":"CVSS_V3","score":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]`, "", osv.Critical},
		{`"severity":[{"type":"Ubuntu","score":"medium"}]`, "", osv.Medium},
		{`"severity":[{"type":"CVSS_V3","score":"CVSS:3.1/nonsense"}],"database_specific":{"severity":"MODERATE"}`, "", osv.Medium},
		{`"database_specific":{"severity":"HIGH"}`, "", osv.High},
		{`"database_specific":{"severity":7}`, "", osv.Unrated},
		{`"database_specific":["severity"]`, "", osv.Unrated},
		{`"database_specific":{"severity":"HIGH"}`, `"ecosystem_specific":{"urgency":"unimportant"}`, osv.Low},
		{`"database_specific":{"severity":"LOW"}`, `"severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]`, osv.Critical},
		{`"database_specific":{"severity":"LOW"}`, `"ecosystem_specific":{"urgency":"not yet assigned"}`, osv.Low},
		{`"summary":"nothing"`, "", osv.Unrated},
	} {
		text := fmt.Sprintf(`{"id":"X-1","modified":"2026-01-02T03:04:05Z",%s,"affected":[{"package":{"ecosystem":"npm","name":"x"},%s"versions":["1.0.0"]}]}`,
			c.record, comma(c.affected))
		r, err := osv.Parse([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := r.Judge(component(t, "pkg:npm/x@1.0.0")); got.Severity != c.want {
			t.Errorf("%s: %s, want %s", text, got.Severity, c.want)
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if r, err = osv.Parse(again); err != nil || r.Judge(component(t, "pkg:npm/x@1.0.0")).Severity != c.want {
			t.Errorf("its own JSON says otherwise: %s, %v", again, err)
		}
	}
}

func comma(s string) string {
	if s == "" {
		return ""
	}
	return s + ","
}
