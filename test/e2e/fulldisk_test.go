package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"troth/internal/api"
)

// A device whose state directory is full, or can only be read, cannot update. It
// says why, goes on proving what it runs, and is updated once there is room.
func TestAttack_T8_RunWithoutRoom(t *testing.T) {
	t.Parallel()
	remount := func(t testing.TB, dir string, flags uintptr) {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	for name, fault := range map[string]struct {
		says       string
		begin, end func(t testing.TB, dir string)
	}{
		"full": {"no space left on device", fill, func(t testing.TB, dir string) {
			if err := os.Remove(filepath.Join(dir, "ballast")); err != nil {
				t.Fatal(err)
			}
		}},
		"read-only": {"read-only file system", func(t testing.TB, dir string) { remount(t, dir, syscall.MS_RDONLY) }, func(t testing.TB, dir string) { remount(t, dir, 0) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newService(t, "check_in: {interval: 1s, fresh: 60s, sweep: 1s}\nfirmware: {refresh: 1s}\n")
			s.alsoPatch(t)
			m := newMachine(t, s)
			state := filepath.Join(m.dir, "state")
			if err := os.Mkdir(state, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mount("tmpfs", state, "tmpfs", 0, "size=2m"); err != nil {
				t.Skipf("NOT TESTED: a device without room: no small file system can be mounted here: %v", err)
			}
			t.Cleanup(func() { _ = syscall.Unmount(state, syscall.MNT_DETACH) })
			m.boot()
			m.settle(factory)

			fault.begin(t, state)
			first := s.offer(t)
			told := func() bool {
				for _, member := range s.rollout(t, first).Members {
					if member.State == "failure" && strings.Contains(member.Reason, fault.says) {
						return true
					}
				}
				return false
			}
			_ = m.live(20*time.Second, told)
			if !told() {
				t.Fatalf("the service was not told: %+v", s.rollout(t, first).Members)
			}
			seen := s.seen(t, m)
			_ = m.live(15*time.Second, func() bool { return s.seen(t, m).After(seen) })
			if lifecycle, verdict, firmware := m.row(); !s.seen(t, m).After(seen) || lifecycle != "active" || verdict != "compliant" || firmware != factory {
				t.Errorf("without room the device is %s, %s, on %s", lifecycle, verdict, firmware)
			}
			if got := m.boot(); got != factory {
				t.Fatalf("%s boots", got)
			}

			fault.end(t, state)
			s.post(t, api.Path(api.PathRolloutAction, first, "abort"), api.ReasonRequest{Reason: "there was no room"}, nil)
			second := s.offer(t)
			m.settle(patch)
			m.afterwards(second)
		})
	}
}

// fill leaves no byte in a file system.
func fill(t testing.TB, dir string) {
	t.Helper()
	f := must(os.Create(filepath.Join(dir, "ballast")))(t)
	defer f.Close()
	for _, size := range []int{64 << 10, 4096} {
		for {
			if _, err := f.Write(make([]byte, size)); err != nil {
				break
			}
		}
	}
}

// alsoPatch publishes the patch, which is no security fix: nobody must move to it.
func (s *service) alsoPatch(t testing.TB) {
	t.Helper()
	if err := s.publish(patch, 2, false); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the service knows the patch", func() (string, bool) {
		var list api.ReleaseList
		s.get(t, api.PathReleases, &list)
		return fmt.Sprint(len(list.Releases), " releases"), len(list.Releases) == 2
	})
}

func (s *service) rollout(t testing.TB, id string) (r api.Rollout) {
	t.Helper()
	s.get(t, api.Path(api.PathRollout, id), &r)
	return r
}

// seen is when the device was last heard of.
func (s *service) seen(t testing.TB, m *machine) time.Time {
	t.Helper()
	var list api.DeviceList
	if err := s.admin.Do(t.Context(), http.MethodGet, api.PathDevices, nil, &list); err != nil {
		t.Fatal(err)
	}
	for _, d := range list.Devices {
		if d.Name == m.name && d.LastSeen != nil {
			return *d.LastSeen
		}
	}
	return time.Time{}
}
