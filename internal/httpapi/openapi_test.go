package httpapi_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write docs/openapi.json anew")

// TestOpenAPIDocument keeps the document that is checked in true:
//
//	go test ./internal/httpapi -run OpenAPI -update
func TestOpenAPIDocument(t *testing.T) {
	const golden = "../../docs/openapi.json"
	s := newService(t)
	a := s.must(credential{}, "GET", "/openapi.json", "")
	if a.status != 200 {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	var document map[string]any
	if err := json.Unmarshal(a.body, &document); err != nil {
		t.Fatal(err)
	}
	info, _ := document["info"].(map[string]any)
	info["version"] = "" // that of the program
	got, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/openapi.json is not what is served: run this test with -update and read the difference")
	}
}
