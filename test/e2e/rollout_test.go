package e2e

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"troth/attest/attesttest"
	"troth/internal/agent/slot"
	"troth/internal/api"
	"troth/internal/sim"
)

// patch is the release that rollouts here move to.
const patch = "1.1.0"

// newFleet switches devices on that run the real agent.
func newFleet(t testing.TB, s *service, n int) []*sim.Device {
	t.Helper()
	out := must(os.Create(s.path("devices.log")))(t)
	log := slog.New(slog.NewTextHandler(out, nil))
	devices := make([]*sim.Device, n)
	dir := t.TempDir()
	for i := range devices {
		name := newName()
		d := must(sim.NewDevice(t.Context(), maker(t), sim.DeviceConfig{
			Dir: filepath.Join(dir, name), Name: name, Model: model, Image: attesttest.NewImage(model, factory).Bytes(), Counter: 1,
			Server: s.admin.Base, ServerCA: s.caFile, TUFRoot: s.tufRoot(), Log: log,
		}))(t)
		devices[i] = d
		d.PowerOn()
	}
	t.Cleanup(func() {
		for _, d := range devices {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
		_ = out.Close()
		if t.Failed() {
			b, _ := os.ReadFile(out.Name())
			t.Logf("log of the devices:\n%s", b[max(0, len(b)-8000):])
		}
	})
	return devices
}

// fleet is the service's view of the devices, by name.
func (s *service) fleet(t testing.TB) (map[string]api.Device, error) {
	t.Helper()
	var list api.DeviceList
	err := s.admin.Do(t.Context(), http.MethodGet, api.PathDevices, nil, &list)
	out := map[string]api.Device{}
	for _, d := range list.Devices {
		out[d.Name] = d
	}
	return out, err
}

// settled waits until every device is active and compliant on the version.
func (s *service) settled(t testing.TB, limit time.Duration, devices []*sim.Device, version string) {
	t.Helper()
	eventually(t, limit, fmt.Sprintf("%d devices are compliant on %s", len(devices), version), func() (string, bool) {
		known, err := s.fleet(t)
		if err != nil {
			return err.Error(), false
		}
		state, good := "", 0
		for _, d := range devices {
			k := known[d.Name]
			state += fmt.Sprintf("%s: %s, %s, %s; ", d.Name, k.Lifecycle, k.Verdict, k.Firmware)
			if k.Lifecycle == "active" && k.Verdict == "compliant" && k.Firmware == version {
				good++
			}
		}
		return state, good == len(devices)
	})
}

// patchUp publishes the patch, waits until policy proposes it, and starts it.
func (s *service) patchUp(t testing.TB, plan api.RolloutPlan) string {
	t.Helper()
	if err := s.publish(patch, 2, true); err != nil {
		t.Fatal(err)
	}
	return s.startProposed(t, plan)
}

// startProposed waits until policy proposes a rollout, and starts it.
func (s *service) startProposed(t testing.TB, plan api.RolloutPlan) (id string) {
	t.Helper()
	eventually(t, 20*time.Second, "the rollout is proposed", func() (string, bool) {
		var list api.RolloutList
		s.get(t, api.PathRollouts, &list)
		if len(list.Rollouts) != 1 {
			return fmt.Sprint(len(list.Rollouts), " rollouts"), false
		}
		id = list.Rollouts[0].ID
		return list.Rollouts[0].State, list.Rollouts[0].State == "proposed"
	})
	s.post(t, api.Path(api.PathRolloutAction, id, "start"), plan, nil)
	return id
}

func (s *service) completed(t testing.TB, limit time.Duration, id string) (r api.Rollout) {
	t.Helper()
	eventually(t, limit, "the rollout is completed", func() (string, bool) {
		err := s.admin.Do(t.Context(), http.MethodGet, api.Path(api.PathRollout, id), nil, &r)
		return fmt.Sprintf("%s, wave %d, %v, %v", r.State, r.Wave, r.Members, err), err == nil && r.State == "completed"
	})
	return r
}

func plan(waves ...int) api.RolloutPlan {
	soak, timeout, failures := 0, 120, 0
	return api.RolloutPlan{Waves: waves, SoakSeconds: &soak, TimeoutSeconds: &timeout, MaxFailurePercent: &failures}
}

// The pair that production runs on: Vault signs, PostgreSQL remembers. Devices
// enrol, check in, and are patched in two waves.
func TestVaultAndPostgreSQL(t *testing.T) {
	t.Parallel()
	dsn, _ := postgres(t)
	config, _ := vaultPKI(t)
	s := newServiceOn(t, dsn, quick+config)
	devices := newFleet(t, s, 2)
	s.settled(t, 40*time.Second, devices, factory)
	r := s.completed(t, 60*time.Second, s.patchUp(t, plan(50, 100)))
	s.settled(t, 20*time.Second, devices, patch)
	waves := map[int]string{}
	for _, m := range r.Members {
		waves[m.Wave] += m.State
	}
	if waves[1] != "success" || waves[2] != "success" {
		t.Fatalf("the waves ended as %v", waves)
	}
	known := must(s.fleet(t))(t)
	for _, d := range devices {
		id := known[d.Name].ID
		if yes, code := s.may(t, id); !yes {
			t.Errorf("%s may nothing: %s", d.Name, code)
		}
		if k := s.kept(t, id); len(k.live()) != 1 || len(k.Certificates) != 1 {
			t.Errorf("%s has certificates %+v", d.Name, k.Certificates)
		}
		if version, boots := d.Booted(); version != patch || boots != 2 {
			t.Errorf("%s runs %s after %d boots", d.Name, version, boots)
		}
	}
}

// The service dies again and again while devices check in and are patched; they
// and it come back by themselves.
func TestAttack_S9_ServiceKilledDuringRollout(t *testing.T) {
	t.Parallel()
	s := newService(t, "check_in: {interval: 1s, fresh: 30s, sweep: 1s}\nfirmware: {refresh: 1s}\n")
	devices := newFleet(t, s, 2)
	s.settled(t, 40*time.Second, devices, factory)
	for range 2 { // during check-ins
		time.Sleep(time.Duration(rand.IntN(1000)) * time.Millisecond)
		if err := s.kill(); err != nil {
			t.Fatal(err)
		}
		s.restart(t)
	}
	id := s.patchUp(t, plan(100))
	for i := range 4 { // and during the update
		time.Sleep(time.Duration(200*i+rand.IntN(400)) * time.Millisecond)
		if err := s.kill(); err != nil {
			t.Fatal(err)
		}
		s.restart(t)
	}
	s.settled(t, 90*time.Second, devices, patch)
	r := s.completed(t, 20*time.Second, id)
	for _, m := range r.Members {
		if m.State != "success" {
			t.Errorf("%s ended as %s: %s", m.Name, m.State, m.Reason)
		}
	}
	known := must(s.fleet(t))(t)
	if len(known) != len(devices) {
		t.Errorf("%d devices are known, want %d", len(known), len(devices))
	}
	for _, d := range devices {
		if err := d.Err(); err != nil {
			t.Errorf("%s stopped: %v", d.Name, err)
		}
		if k := s.kept(t, known[d.Name].ID); len(k.live()) != 1 || k.Device.Lifecycle != "active" {
			t.Errorf("%s: %+v", d.Name, k)
		}
	}
}

// A device that loses power again and again while it is patched boots something
// good each time, and ends on the patch.
func TestAttack_T8_DeviceLosesPowerDuringUpdate(t *testing.T) {
	t.Parallel()
	s := newService(t, "check_in: {interval: 1s, fresh: 30s, sweep: 1s}\nfirmware: {refresh: 1s}\n")
	devices := newFleet(t, s, 1)
	d := devices[0]
	s.settled(t, 40*time.Second, devices, factory)
	id := s.patchUp(t, plan(100))
	for i := range 8 {
		time.Sleep(time.Duration(100*i+rand.IntN(300)) * time.Millisecond)
		if err := d.PowerOff(); err != nil {
			t.Fatal(err)
		}
		good(t, d)
		d.PowerOn()
	}
	eventually(t, 90*time.Second, "the rollout has ended", func() (string, bool) {
		var r api.Rollout
		err := s.admin.Do(t.Context(), http.MethodGet, api.Path(api.PathRollout, id), nil, &r)
		return fmt.Sprint(r, err), r.State == "completed" || r.State == "halted"
	})
	var r api.Rollout
	s.get(t, api.Path(api.PathRollout, id), &r)
	version := patch
	if r.State == "halted" { // the trial was used up by power cuts: the old slot, and it is told
		version = factory
		if m := r.Members[0]; m.State != "rolled-back" && m.State != "failure" {
			t.Fatalf("the member is %+v", m)
		}
	}
	t.Logf("the rollout is %s, %s", r.State, r.Members[0].Reason)
	eventually(t, 30*time.Second, "the device checks in from "+version, func() (string, bool) {
		k, err := s.fleet(t)
		return fmt.Sprint(k[d.Name], err), err == nil && k[d.Name].Firmware == version && k[d.Name].Lifecycle == "active"
	})
	if booted, _ := d.Booted(); booted != version {
		t.Fatalf("it runs %s", booted)
	}
}

// good requires that what the device would boot next is a release, whole.
func good(t testing.TB, d *sim.Device) {
	t.Helper()
	dir := filepath.Join(d.Dir, "slots")
	copied := t.TempDir() // the boot loader counts its tries
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	path := must(slot.Open(copied).Boot())(t)
	image, err := attesttest.ParseImage(must(os.ReadFile(path))(t))
	if err != nil || !slices.Contains([]string{factory, patch}, image.Version) {
		t.Fatalf("what would boot is not a release: %v, %v", image.Version, err)
	}
}

// The demonstration holds.
func TestDemo(t *testing.T) {
	t.Parallel()
	bin := must(programs())(t)
	var told strings.Builder
	err := sim.Demo(t.Context(), sim.DemoConfig{Dir: filepath.Join(t.TempDir(), "demo"), Bin: bin, Out: &told})
	if err != nil {
		t.Fatalf("the demo: %v (something did not hold: %v)\n%s", err, errors.Is(err, sim.ErrDemo), told.String())
	}
	if !strings.Contains(told.String(), "claims held") || strings.Contains(told.String(), "✗") {
		t.Fatalf("the demo does not say that all of it held:\n%s", told.String())
	}
}
