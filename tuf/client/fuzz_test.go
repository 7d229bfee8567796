package client_test

import (
	"testing"

	"troth/tuf/client"
)

// FuzzMetadata puts hostile bytes in the place of each role's file. None may
// reach a panic of the parser, and each refusal has a code.
func FuzzMetadata(f *testing.F) {
	h := newHostile(f)
	h.delegate("team", start)
	h.bump()
	h.bumpRoot()
	files := [][]byte{
		h.get("/metadata/1.root.json"), h.get("/metadata/2.root.json"), h.get("/metadata/timestamp.json"),
		h.get("/metadata/2.snapshot.json"), h.get("/metadata/2.targets.json"),
	}
	if _, err := client.Accept(start, files[0], files[1], files[2], files[3], files[4]); err != nil {
		f.Fatal(err)
	}
	for i, data := range files {
		f.Add(uint8(i), data)
	}
	f.Add(uint8(1), []byte(`{"signed":{"_type":"root","spec_version":"1.0.31","version":2,"keys":{"a":null},"roles":{"root":null}},"signatures":[]}`))
	f.Add(uint8(4), []byte(`{"signed":{"_type":"targets","spec_version":"1.0.31","version":1,"targets":{"x":{"length":1,"hashes":{"sha256":"zz"}}},"delegations":{"keys":{},"roles":[null]}}}`))
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		g := append([][]byte(nil), files...)
		g[int(which)%len(g)] = data
		panicked, err := client.Accept(start, g[0], g[1], g[2], g[3], g[4])
		if panicked {
			t.Fatalf("the shape check missed %q: %v", data, err)
		}
		if err != nil && client.Code(err) == "" {
			t.Fatalf("error without a code: %v", err)
		}
	})
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-0/1", "bytes 5-9/10", "bytes 5-9/*", "bytes 9-5/10", "bytes 5-9/9", "bytes 0-9223372036854775807/*", "bytes -1-5/10", "bytes */10", "chunks 1-2/3", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		first, length, total, err := client.ContentRange(s)
		if err == nil && (first < 0 || total < -1 || total >= 0 && (length < 1 || first+length > total)) {
			t.Fatalf("%q is read as %d bytes from %d of %d", s, length, first, total)
		}
	})
}
