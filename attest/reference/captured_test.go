package reference_test

import (
	"slices"
	"testing"

	"troth/attest/eventlog"
	"troth/attest/reference"
)

// TestPredictCaptured computes PCRs from what is known of the files alone, and
// compares with what real firmware, boot loaders and kernels quoted.
func TestPredictCaptured(t *testing.T) {
	t.Run("systemd-boot+kernel", func(t *testing.T) {
		for _, name := range []string{"systemd-boot", "own-keys"} {
			b := captured(t, name)
			p, err := reference.Predict(reference.Release{
				Path:        path(t, "systemd-boot+kernel"),
				Images:      map[reference.Role]reference.Image{reference.SystemdBoot: b.image(0), reference.Kernel: b.image(1)},
				CommandLine: &b.CommandLine, Initrd: captured(t, "shim-grub").event(t, 9, 2),
			})
			must(t, err)
			if !slices.Equal(p.Changed, []int{4, 9, 12}) {
				t.Errorf("%s: changed %v", name, p.Changed)
			}
			b.same(t, p.PCRs, 4, 9, 12)
		}
	})
	t.Run("shim+grub+kernel", func(t *testing.T) {
		b := captured(t, "shim-grub")
		p, err := reference.Predict(reference.Release{
			Path: path(t, "shim+grub+kernel"),
			Images: map[reference.Role]reference.Image{
				reference.Shim: b.image(0), reference.GRUB: b.image(1), reference.Kernel: b.image(2),
			},
		})
		must(t, err)
		b.same(t, p.PCRs, 4)
		if _, err := p.FileOf("sha256", []int{4, 8}); err == nil {
			t.Error("PCR 8 of GRUB is predicted without a template")
		}
	})
	t.Run("uki", func(t *testing.T) {
		b := captured(t, "uki")
		p, err := reference.Predict(reference.Release{
			Path: path(t, "uki"), Images: map[reference.Role]reference.Image{reference.Unified: capturedUKI(t)},
		})
		must(t, err)
		b.same(t, p.PCRs, 4, 9, 11)
	})
}

// capturedUKI is the captured unified kernel image, from the texts it was built of
// and digests of its kernel and initrd that other boots and tools vouch for.
func capturedUKI(t *testing.T) reference.Image {
	t.Helper()
	b, grub := captured(t, "uki"), captured(t, "shim-grub")
	i := b.image(0)
	initrd := grub.event(t, 9, 2)
	i.UKI = &reference.UKI{
		Stub: 252, Inner: b.image(1).Authenticode, CommandLine: &b.CommandLine, Initrd: initrd,
		Sections: []reference.Section{
			{Name: ".linux", Content: grub.event(t, 9, 1)},
			{Name: ".osrel", Content: reference.Hash([]byte("NAME=\"captured machine\"\nID=captured\n"))},
			{Name: ".cmdline", Content: reference.Hash([]byte(b.CommandLine))},
			{Name: ".initrd", Content: initrd},
		},
	}
	return i
}

// TestReplaceCaptured is the round trip of an update: the log of release N and the
// files of N+1 give what a machine with N+1 quoted.
func TestReplaceCaptured(t *testing.T) {
	old, now := captured(t, "systemd-boot"), captured(t, "own-keys")
	release := reference.Release{
		Path:        path(t, "systemd-boot+kernel"),
		Images:      map[reference.Role]reference.Image{reference.SystemdBoot: now.image(0), reference.Kernel: now.image(1)},
		CommandLine: &now.CommandLine,
	}
	p, err := reference.Replace(old.log, release)
	must(t, err)
	now.same(t, p.PCRs, 4, 9, 12)
	old.same(t, p.PCRs, 0, 1, 2, 3, 5, 6, 7) // firmware's own stay
	if !slices.Equal(p.Changed, []int{4, 9, 12}) {
		t.Errorf("changed %v", p.Changed)
	}
	f, err := p.File("sha384")
	must(t, err)
	if len(f.PCRs) != 3 || len(f.Mismatches(now.pcrs)) > 0 || len(f.Mismatches(old.pcrs)) != 3 {
		t.Errorf("%+v", f.Reference)
	}
	// The golden log itself differs from the new reference in exactly what changed.
	was, err := reference.FromLog(old.log, "sha384")
	must(t, err)
	was, err = was.Selected([]int{4, 9, 12})
	must(t, err)
	diff, err := reference.Diff(was, f)
	must(t, err)
	if len(diff) != 3 || len(diff[0].Events) != 1 || len(diff[1].Events) != 1 || len(diff[2].Events) != 1 {
		t.Errorf("%+v", diff)
	}
	// And back again.
	release.Images = map[reference.Role]reference.Image{reference.SystemdBoot: old.image(0), reference.Kernel: old.image(1)}
	release.CommandLine = &old.CommandLine
	if p, err = reference.Replace(now.log, release); err != nil {
		t.Fatal(err)
	}
	old.same(t, p.PCRs, 4, 9, 12)
}

// TestReplaceWhole puts a boot's own files in their own place: nothing may move,
// through shim, GRUB and unified images too.
func TestReplaceWhole(t *testing.T) {
	grub, uki := captured(t, "shim-grub"), captured(t, "uki")
	kernel := grub.image(2)
	kernel.Content = grub.event(t, 9, 1)
	cases := map[string]struct {
		boot    boot
		release reference.Release
		changed []int
	}{
		"shim+grub": {grub, reference.Release{
			Path: path(t, "shim+grub+kernel"),
			Images: map[reference.Role]reference.Image{
				reference.Shim: grub.image(0), reference.GRUB: grub.image(1), reference.Kernel: kernel,
			},
			CommandLine: &grub.CommandLine, Initrd: grub.event(t, 9, 2),
			Files: map[string]reference.Digests{"/EFI/debian/grub.cfg": grub.event(t, 9, 0)},
		}, []int{4, 8, 9}},
		"uki": {uki, reference.Release{
			Path: path(t, "uki"), Images: map[reference.Role]reference.Image{reference.Unified: capturedUKI(t)},
		}, []int{4, 9, 11}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			p, err := reference.Replace(tc.boot.log, tc.release)
			must(t, err)
			if !slices.Equal(p.Changed, []int{4, 9, 11}) && name == "uki" || name != "uki" && !slices.Contains(p.Changed, 9) {
				t.Errorf("changed %v, want %v", p.Changed, tc.changed)
			}
			for pcr := range tc.boot.log.Replay()["sha256"] {
				tc.boot.same(t, p.PCRs, pcr)
			}
			if len(p.Notes) > 0 || len(p.Missing) > 0 {
				t.Errorf("notes %q, missing %v", p.Notes, p.Missing)
			}
		})
	}
}

// TestReplaceGRUB changes everything that an update of a Debian machine changes,
// and replays by hand.
func TestReplaceGRUB(t *testing.T) {
	b := captured(t, "shim-grub")
	line := "BOOT_IMAGE=/vmlinuz-2 console=ttyS1"
	p, err := reference.Replace(b.log, reference.Release{
		Path:        path(t, "shim+grub+kernel"),
		Images:      map[reference.Role]reference.Image{reference.Kernel: {Name: "vmlinuz-2", Authenticode: reference.Hash([]byte("pe")), Content: reference.Hash([]byte("file"))}},
		CommandLine: &line, Initrd: reference.Hash([]byte("initrd 2")),
		Renames: [][2]string{{"/initrd.gz", "/initrd-2.gz"}},
	})
	must(t, err)
	if !slices.Equal(p.Changed, []int{4, 8, 9}) {
		t.Fatalf("changed %v", p.Changed)
	}
	want := map[int][]string{ // texts of PCR 8 and contents of PCR 9 that are new, in order
		8: {"linux /vmlinuz-2 console=ttyS1", "/vmlinuz-2 console=ttyS1", "initrd /initrd-2.gz"},
		9: {"file", "initrd 2"}, 4: {"pe", "pe"},
	}
	for pcr, contents := range want {
		var got []string
		for _, s := range p.Steps {
			if s.PCR == pcr && s.From != reference.Kept {
				got = append(got, s.Digests["sha256"].String())
			}
		}
		if len(got) != len(contents) {
			t.Fatalf("PCR %d: %d replaced, want %q", pcr, len(got), contents)
		}
		for i, c := range contents {
			if got[i] != reference.Hash([]byte(c))["sha256"].String() {
				t.Errorf("PCR %d: replacement %d is not the digest of %q", pcr, i, c)
			}
		}
	}
	b.same(t, p.PCRs, 0, 1, 2, 3, 5, 6, 7, 14)
}

// TestReplaceRefuses: what does not fit is said, and never guessed.
func TestReplaceRefuses(t *testing.T) {
	b, uki := captured(t, "systemd-boot"), captured(t, "uki")
	kernel := map[reference.Role]reference.Image{reference.Kernel: b.image(1)}
	for name, tc := range map[string]struct {
		log     *eventlog.Log
		release reference.Release
		missing int
	}{
		"too many images": {b.log, reference.Release{Path: path(t, "kernel"), Images: kernel, CommandLine: &b.CommandLine}, 4},
		"too few images":  {b.log, reference.Release{Path: path(t, "shim+systemd-boot+kernel"), Images: kernel, CommandLine: &b.CommandLine}, 4},
		"initrd is not known": {uki.log, reference.Release{Path: path(t, "uki"), Images: map[reference.Role]reference.Image{
			reference.Unified: {Name: "u", Authenticode: reference.Hash(nil), UKI: &reference.UKI{Stub: 257, Inner: reference.Hash(nil), InitrdWhy: "added to"}},
		}}, 9},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := reference.Replace(tc.log, tc.release)
			must(t, err)
			if p.Missing[tc.missing] == "" || p.PCRs["sha256"][tc.missing] != nil {
				t.Errorf("PCR %d is predicted: %v", tc.missing, p.Missing)
			}
			if _, err := p.FileOf("sha256", []int{tc.missing}); err == nil {
				t.Errorf("PCR %d is written", tc.missing)
			}
		})
	}
	if _, err := reference.Replace(b.log, reference.Release{Path: path(t, "systemd-boot+kernel")}); err == nil {
		t.Error("a release without files gives reference values")
	}
	if _, err := reference.Predict(reference.Release{Path: path(t, "uki")}); err == nil {
		t.Error("a release without files gives reference values")
	}
}

// TestStubCallsKernel: from systemd 258 on, firmware no longer sees the kernel
// inside, whatever the template shows of the old stub.
func TestStubCallsKernel(t *testing.T) {
	b := captured(t, "uki")
	i := capturedUKI(t)
	i.UKI.Stub = 258
	for inner, want := range map[*bool]int{nil: 3, ptr(true): 4, ptr(false): 3} {
		r := reference.Release{Path: path(t, "uki"), Images: map[reference.Role]reference.Image{reference.Unified: i}, Inner: inner}
		replaced, err := reference.Replace(b.log, r)
		must(t, err)
		predicted, err := reference.Predict(r)
		must(t, err)
		for _, p := range []reference.Prediction{replaced, predicted} {
			n := 0
			for _, s := range p.Steps {
				if s.PCR == 4 {
					n++
				}
			}
			if n != want {
				t.Errorf("inner %v: %d events in PCR 4, want %d", inner, n, want)
			}
		}
	}
}

func TestPhases(t *testing.T) {
	b := captured(t, "uki")
	r := reference.Release{Path: path(t, "uki"), Images: map[reference.Role]reference.Image{reference.Unified: capturedUKI(t)}, Phases: []string{"enter-initrd", "leave-initrd"}}
	replaced, err := reference.Replace(b.log, r)
	must(t, err)
	predicted, err := reference.Predict(r)
	must(t, err)
	value := []byte(b.pcrs["sha256"][11])
	for _, phase := range r.Phases {
		value = unhex(t, reference.HashAll(value, reference.Hash([]byte(phase))["sha256"])["sha256"].String())
	}
	for _, p := range []reference.Prediction{replaced, predicted} {
		if string(p.PCRs["sha256"][11]) != string(value) {
			t.Errorf("PCR 11 is %s", p.PCRs["sha256"][11])
		}
	}
}

func TestParsePath(t *testing.T) {
	for text, good := range map[string]bool{
		"uki": true, "kernel": true, "systemd-boot+kernel": true, "shim+grub+kernel": true, "shim+systemd-boot+uki": true, "shim+uki": true,
		"": false, "grub": false, "kernel+grub": false, "uki+kernel": false, "shim+shim+kernel": false, "grub+systemd-boot+uki": false, "lilo": false, "uki+": false,
	} {
		if _, err := reference.ParsePath(text); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
}
