package evidence_test

import (
	"encoding/json"
	"io/fs"
	"maps"
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"troth/attest"
	"troth/internal/evidence"
	"troth/internal/fleet"
	"troth/policies"
	"troth/policy"
)

// configured is the policy library with settings of config.boot and config.ima.
func configured(t *testing.T, settings map[string]any) *policy.Engine {
	t.Helper()
	bundle := fstest.MapFS{}
	err := fs.WalkDir(policies.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(policies.FS, name)
		bundle[name] = &fstest.MapFile{Data: content}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for section, keys := range settings {
		text, err := json.Marshal(keys)
		if err != nil {
			t.Fatal(err)
		}
		bundle["config/"+section+"/data.json"] = &fstest.MapFile{Data: text}
	}
	e, err := policy.New(t.Context(), bundle, policy.Options{Deadline: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// shimBoot is what a fleet may ask of devices that boot as the captured one did.
func shimBoot() map[string]any {
	return map[string]any{
		"boot": map[string]any{
			"authorities": []string{
				"48e99b991f57fc52f76149599bff0a58c47154229b9f8d603ac40d3500248507", // Microsoft UEFI CA 2011, for shim
				"079646974bce09b1f04da67bd722d1fb0947ae4c4010bccdbba52d5b23cbf1a2", // Debian, for GRUB and the kernel
			},
			"option_roms": []string{},
			"mok": []string{
				"342c88bb9fde2c45eeaa17321262b089181e7e841ef5a4a5e8ed240920026f97", // MokList: Debian's own certificate
				"45e89b4a5f8283cd8ae7c66bda8346697120c84880537aadb49a665c7d7eec0f", // MokListX
				"4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a", // MokListTrusted
			},
			"sbat_level":             2025021800,
			"command_line_required":  []string{"ima_policy=tcb", "rootfstype=ramfs"},
			"command_line_forbidden": []string{"init=", "single"},
		},
		"ima": map[string]any{"require_boot_aggregate": true},
	}
}

// outcomes of the controls over boot facts, for the evidence of a real boot.
func outcomes(t *testing.T, e *policy.Engine, r attest.Result) map[string]string {
	t.Helper()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	d, err := e.Posture(t.Context(), policy.PostureInput{Now: now, Attestation: evidence.Attestation(r)})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, c := range d.Controls {
		out[c.ID] = c.Outcome
		t.Logf("%s: %s: %s", c.ID, c.Outcome, c.Reason)
	}
	return out
}

func TestPolicyOnFactsOfARealBoot(t *testing.T) {
	controls := []string{"boot-authorities", "boot-option-roms", "boot-mok", "boot-sbat", "boot-command-line", "ima-boot-aggregate", "secure-boot"}
	e := configured(t, shimBoot())
	got := outcomes(t, e, captured(t, "shim-grub", nil))
	for _, id := range controls {
		if got[id] != policy.Pass {
			t.Errorf("%s: %s", id, got[id])
		}
	}
	if got["boot-dbx"] != policy.NotApplicable || got["ima-known-files"] != policy.NotApplicable {
		t.Errorf("not asked for: %s, %s", got["boot-dbx"], got["ima-known-files"])
	}

	// Another boot of the same kernel, without shim and Secure Boot.
	other := outcomes(t, e, captured(t, "systemd-boot", nil))
	for id, want := range map[string]string{
		"boot-authorities": policy.Fail, "boot-sbat": policy.Fail, "secure-boot": policy.Fail,
		"boot-mok": policy.Pass, "boot-option-roms": policy.Pass, "boot-command-line": policy.Pass, "ima-boot-aggregate": policy.Pass,
	} {
		if other[id] != want {
			t.Errorf("systemd-boot: %s: %s, not %s", id, other[id], want)
		}
	}

	// No log: nothing passes that needs one.
	silent := outcomes(t, e, captured(t, "grub-no-log", nil))
	for _, id := range controls {
		if id != "ima-boot-aggregate" && silent[id] != policy.Fail {
			t.Errorf("no log: %s: %s", id, silent[id])
		}
	}
}

func TestPolicyOnOtherSettings(t *testing.T) {
	for name, c := range map[string]struct {
		key   string
		value any
		fails string
	}{
		"another authority":     {"authorities", []string{"48e99b991f57fc52f76149599bff0a58c47154229b9f8d603ac40d3500248507"}, "boot-authorities"},
		"a MOK that is unknown": {"mok", []string{}, "boot-mok"},
		"a later SBAT level":    {"sbat_level", 2026010100, "boot-sbat"},
		"another parameter":     {"command_line_required", []string{"lockdown=integrity"}, "boot-command-line"},
		"a forbidden one":       {"command_line_forbidden", []string{"console="}, "boot-command-line"},
		"entries of dbx":        {"dbx_required", []string{"80b4d96931bf0d02fd91a61e19d14f1da452e66db2408ca8604d411f92659f0a"}, "boot-dbx"},
	} {
		t.Run(name, func(t *testing.T) {
			settings := shimBoot()
			boot := maps.Clone(settings["boot"].(map[string]any))
			boot[c.key], settings["boot"] = c.value, boot
			if got := outcomes(t, configured(t, settings), captured(t, "shim-grub", nil)); got[c.fails] != policy.Fail {
				t.Errorf("%s: %s", c.fails, got[c.fails])
			}
		})
	}
}

// A release that names only the PCRs that its own files decide (4 and 9 here) is
// identified by these; what its machine decides (0 to 3, 7) is judged by facts.
func TestPartialReferenceAndFacts(t *testing.T) {
	r := captured(t, "shim-grub", nil)
	values := evidence.PCRValues(r)
	catalog := fleet.Catalog{
		{Model: "edge", Version: "1.0", Counter: 1, Reference: fleet.ReferencePCRs{4: values[4], 9: values[9]}},
		{Model: "edge", Version: "2.0", Counter: 2, Reference: fleet.ReferencePCRs{4: values[4], 9: values[4]}},
	}
	if release, known, wrong := catalog.Identify("edge", values); !known || release.Version != "1.0" || len(wrong) != 0 {
		t.Errorf("%+v, %v, %v", release, known, wrong)
	}
	machine := maps.Clone(values)
	machine[0], machine[1], machine[7] = values[4], values[4], values[4]
	if release, known, _ := catalog.Identify("edge", machine); !known || release.Version != "1.0" {
		t.Errorf("on another machine: %+v, %v", release, known)
	}
	kernel := maps.Clone(values)
	kernel[9] = values[8]
	if release, known, wrong := catalog.Identify("edge", kernel); known || !slices.Equal(wrong, []int{9}) {
		t.Errorf("another kernel: %+v, %v, %v", release, known, wrong)
	}
	delete(kernel, 9)
	if _, known, wrong := catalog.Identify("edge", kernel); known || !slices.Equal(wrong, []int{9}) {
		t.Errorf("a PCR that was not quoted: %v, %v", known, wrong)
	}
}
