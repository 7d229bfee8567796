package sbom_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"troth/tuf/sbom"
)

const document = `{"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
	"metadata": {"component": {"type": "firmware", "name": "fw"}},
	"components": [
		{"type": "library", "name": "zlib", "version": "1.3", "purl": "pkg:deb/debian/zlib1g@1.3"},
		{"type": "application", "name": "init", "components": [{"type": "library", "name": "musl", "purl": "pkg:apk/alpine/musl@1.2"}]}
	],
	"dependencies": [{"ref": "a", "dependsOn": ["components"]}]}`

func TestRead(t *testing.T) {
	got, err := sbom.Read([]byte(document))
	if err != nil || got != (sbom.Facts{Spec: "1.6", Components: 3, Identified: 2}) {
		t.Errorf("%+v, %v", got, err)
	}
	got, err = sbom.Read([]byte(`{"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1}`))
	if err != nil || got != (sbom.Facts{Spec: "1.5"}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestReadRefuses(t *testing.T) {
	component := `{"type":"library","name":"x"}`
	for name, text := range map[string]string{
		"empty":             "",
		"no JSON":           "<bom/>",
		"an array":          "[]",
		"another format":    strings.Replace(document, "CycloneDX", "SPDX", 1),
		"no format":         strings.Replace(document, `"bomFormat": "CycloneDX", `, "", 1),
		"unknown version":   strings.Replace(document, `"1.6"`, `"9.9"`, 1),
		"no JSON form":      strings.Replace(document, `"1.6"`, `"1.1"`, 1),
		"no name":           strings.Replace(document, `"name": "zlib", `, "", 1),
		"wrong type":        strings.Replace(document, `"name": "zlib"`, `"name": 7`, 1),
		"more after it":     document + "{}",
		"cut":               document[:len(document)/2],
		"deep":              strings.Repeat(`{"components":[`, 40) + strings.Repeat(`]}`, 40),
		"many components":   `{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"components":[` + strings.Repeat(component+",", sbom.MaxComponents) + component + `]}`,
		"many in a nested":  `{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"components":[{"name":"a","components":[` + strings.Repeat("{},", sbom.MaxComponents) + `{}]}]}`,
		"many, in capitals": `{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"COMPONENTS":[` + strings.Repeat(component+",", sbom.MaxComponents) + component + `]}`,
		"huge":              strings.Repeat(" ", sbom.MaxBytes+1),
	} {
		if got, err := sbom.Read([]byte(text)); !errors.Is(err, sbom.ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(document))
	f.Add([]byte(`{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"":"","components":[{}]}]}`))
	f.Add([]byte(fmt.Sprintf(`{"":{"components":[%s]}}`, strings.Repeat("{},", 8)+"{}")))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := sbom.Read(text)
		if err != nil && !errors.Is(err, sbom.ErrMalformed) {
			t.Fatalf("an error of no kind: %v", err)
		}
		if got.Identified > got.Components || got.Components > sbom.MaxComponents {
			t.Fatalf("%+v", got)
		}
	})
}
