package server_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troth/internal/api"
	"troth/internal/fleet"
	"troth/internal/server"
	"troth/policies"
	"troth/tuf"
)

// A release that lacks what the active policy asks is listed as refused with its
// reason, raises an alert and cannot be rolled out, although it is signed.
func TestRefusedReleaseOverTheAPI(t *testing.T) {
	dir := t.TempDir()
	rules := filepath.Join(dir, "policies")
	if err := os.CopyFS(rules, policies.FS); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(rules, "config", "data.json")
	var data map[string]json.RawMessage
	if err := json.Unmarshal(must(os.ReadFile(file))(t), &data); err != nil {
		t.Fatal(err)
	}
	data["publish"] = json.RawMessage(`{"require_sbom": true}`)
	if err := os.WriteFile(file, must(json.Marshal(data))(t), 0o600); err != nil {
		t.Fatal(err)
	}
	repo, keys := filepath.Join(dir, "tuf"), filepath.Join(dir, "keys")
	if err := tuf.Init(repo, tuf.InitOptions{KeysDir: keys, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	repository := must(tuf.Open(repo, keys))(t)
	for i, files := range []tuf.Files{
		{SBOM: strings.NewReader(`{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"components":[{"type":"library","name":"x"}]}`)}, {},
	} {
		version := string(rune('1' + i))
		_, err := repository.PublishWithFiles(t.Context(), tuf.Release{
			Name: "edge-" + version, Model: "edge", Version: version, Counter: uint64(i + 1),
			Reference: &tuf.Reference{Bank: "sha256", PCRs: map[string]string{"4": strings.Repeat(version, 64)}},
		}, strings.NewReader("image"+version), files, time.Now())
		if err != nil {
			t.Fatal(err)
		}
	}
	r := start(t, server.Config{DataDir: filepath.Join(dir, "data"), PolicyDir: rules, Firmware: server.FirmwareConfig{Repository: repo}})
	t.Cleanup(r.end)
	r.client.Token = bootstrap.FindStringSubmatch(r.out.String())[1]
	var operator api.Token
	if err := r.client.Do(t.Context(), http.MethodPost, api.PathLogin, api.LoginRequest{Operator: "ada"}, &operator); err != nil {
		t.Fatal(err)
	}
	r.client.Token = operator.Token

	var list api.ReleaseList
	if err := r.client.Do(t.Context(), http.MethodGet, api.PathReleases, nil, &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Releases) != 2 || list.Releases[0].Refused || !list.Releases[1].Refused ||
		list.Releases[1].RefusedCode != "sbom_missing" || list.Releases[1].RefusedReason == "" {
		t.Errorf("%+v", list.Releases)
	}
	var alerts api.AlertList
	if err := r.client.Do(t.Context(), http.MethodGet, api.PathAlerts, nil, &alerts); err != nil {
		t.Fatal(err)
	}
	if len(alerts.Alerts) != 1 || alerts.Alerts[0].Subject != "release:edge/2" || alerts.Alerts[0].Key != fleet.KeyReleaseRefused {
		t.Errorf("%+v", alerts.Alerts)
	}
	err := r.client.Do(t.Context(), http.MethodPost, api.PathRollouts, api.RolloutRequest{Model: "edge", Version: "2"}, nil)
	if api.CodeOf(err) != "release_not_found" {
		t.Errorf("a rollout to it: %v", err)
	}
}
