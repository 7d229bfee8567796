package attesttest_test

import (
	"archive/tar"
	"bytes"
	"reflect"
	"testing"

	"troth/attest/attesttest"
)

func TestImageRoundTrip(t *testing.T) {
	for name, image := range map[string]attesttest.Image{
		"made":  attesttest.NewImage("edge-100", "1.0.0"),
		"small": {Model: "m", Version: "v", BootLoader: []byte{}, Kernel: []byte{}},
	} {
		data := image.Bytes()
		got, err := attesttest.ParseImage(data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(got, image) {
			t.Errorf("%s: got %+v", name, got)
		}
		if !bytes.Equal(attesttest.NewImage("a", "1").Bytes(), attesttest.NewImage("a", "1").Bytes()) {
			t.Errorf("%s: not deterministic", name)
		}
	}
}

func TestParseImageRefuses(t *testing.T) {
	good := attesttest.NewImage("edge-100", "1.0.0")
	tarOf := func(files ...string) []byte {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		for i := 0; i < len(files); i += 2 {
			if err := w.WriteHeader(&tar.Header{Name: files[i], Size: int64(len(files[i+1])), Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write([]byte(files[i+1])); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	four := []string{"manifest.json", `{"model":"m","version":"v","files":[]}`, "bootloader.efi", "b", "vmlinuz", "k", "cmdline", "c"}
	if _, err := attesttest.ParseImage(tarOf(four...)); err != nil {
		t.Errorf("minimal image: %v", err)
	}
	trailing := append(good.Bytes(), "x"...)
	twice := good
	twice.Files = append(twice.Files, twice.Files[0])
	escaping := good
	escaping.Files = []attesttest.File{{Path: "/../etc/passwd"}}
	for name, data := range map[string][]byte{
		"nothing":    nil,
		"rubbish":    []byte("rubbish"),
		"truncated":  good.Bytes()[:3000],
		"trailing":   trailing,
		"no model":   attesttest.Image{Version: "1"}.Bytes(),
		"no version": attesttest.Image{Model: "1"}.Bytes(),
		"twice":      twice.Bytes(),
		"escaping":   escaping.Bytes(),
		"incomplete": tarOf(four[:4]...),
		"unlisted":   tarOf(append(four[:8:8], "root/x", "y")...),
		"swapped":    tarOf("manifest.json", four[1], "vmlinuz", "k", "bootloader.efi", "b", "cmdline", "c"),
	} {
		if _, err := attesttest.ParseImage(data); err == nil {
			t.Errorf("%s: parsed", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
}

func FuzzParseImage(f *testing.F) {
	small := attesttest.Image{Model: "m", Version: "v", CommandLine: "c", Files: []attesttest.File{{Path: "/a", Content: []byte("x")}}}
	f.Add(small.Bytes())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		image, err := attesttest.ParseImage(data)
		if err == nil && !bytes.Equal(image.Bytes(), data) {
			t.Error("two encodings of one image")
		}
	})
}
