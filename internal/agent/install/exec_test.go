package install_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troth/internal/agent/install"
	"troth/internal/agent/slot"
)

// hook is an integrator's program: two files as slots, one that says which boots.
const hook = `#!/bin/sh
set -eu
dir=$(dirname "$0")
booted=$(cat "$dir/booted")
if [ "$booted" = a ]; then other=b; else other=a; fi
echo "$1 ${TROTH_CONTRACT-} ${TROTH_VERSION-} ${TROTH_COUNTER-} ${TROTH_LENGTH-} ${SECRET-unset} $(pwd)" >>"$dir/log"
case $1 in
status) echo "{\"slot\":\"$booted\"}" ;;
install)
	cat >"$dir/$other"
	echo $other >"$dir/next"
	echo "{\"sha256\":\"$(sha256sum "$dir/$other" | cut -d' ' -f1)\"}" ;;
confirm) echo "$booted" >"$dir/good" ;;
revert) cat "$dir/good" >"$dir/next" ;;
esac
`

type device struct {
	dir string
	use install.Installer
}

// newDevice runs what is in slot a. change replaces parts of the hook.
func newDevice(t *testing.T, change ...string) device {
	t.Helper()
	d := device{dir: t.TempDir()}
	d.write(t, "hook", strings.NewReplacer(change...).Replace(hook))
	if err := os.Chmod(filepath.Join(d.dir, "hook"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"booted", "good", "next"} {
		d.write(t, name, "a\n")
	}
	d.use = install.Track(install.Exec{Path: filepath.Join(d.dir, "hook"), Limit: 5 * time.Second}, filepath.Join(d.dir, "installed.json"))
	return d
}

func (d device) write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (d device) read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(d.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// boot does what the hook said; fail is a boot loader that goes back.
func (d device) boot(t *testing.T, fail bool) {
	t.Helper()
	if fail {
		d.write(t, "next", d.read(t, "good"))
	}
	d.write(t, "booted", d.read(t, "next"))
}

func of(content, version string, counter uint64) install.Release {
	sum := sha256.Sum256([]byte(content))
	return install.Release{Slot: slot.Slot{Version: version, Counter: counter, SHA256: hex.EncodeToString(sum[:]), Length: int64(len(content))}}
}

func put(t *testing.T, use install.Installer, content string, r install.Release) error {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return use.Install(t.Context(), f, r)
}

func runs(t *testing.T, use install.Installer, version, name string, trial bool) {
	t.Helper()
	s, slotName, isTrial, err := use.Running()
	if err != nil || s.Version != version || slotName != name || isTrial != trial {
		t.Fatalf("runs %+v in %s, trial %v, %v; want %q in %s, trial %v", s, slotName, isTrial, err, version, name, trial)
	}
}

func TestHookInstallsConfirmsAndKeepsOut(t *testing.T) {
	t.Setenv("SECRET", "token")
	d := newDevice(t)
	runs(t, d.use, "", "a", false)
	if err := put(t, d.use, "two", of("two", "1.1.0", 2)); err != nil {
		t.Fatal(err)
	}
	runs(t, d.use, "", "a", false)
	if err := d.use.Confirm(); !errors.Is(err, slot.ErrNoTrial) {
		t.Errorf("confirmed before the boot: %v", err)
	}
	d.boot(t, false)
	runs(t, d.use, "1.1.0", "b", true)
	if err := d.use.Confirm(); err != nil {
		t.Fatal(err)
	}
	runs(t, d.use, "1.1.0", "b", false)
	if log := d.read(t, "log"); !strings.Contains(log, "install 1 1.1.0 2 3 unset /\n") {
		t.Errorf("the hook saw %s", log)
	}
	if got := d.read(t, "b"); got != "two" {
		t.Errorf("slot b holds %q", got)
	}
}

func TestAttack_T8_HookGoesBack(t *testing.T) {
	for name, back := range map[string]func(*testing.T, device){
		"the boot loader": func(t *testing.T, d device) { d.boot(t, true) },
		"the agent": func(t *testing.T, d device) {
			if err := d.use.Revert(); err != nil {
				t.Fatal(err)
			}
			if _, _, _, err := d.use.Running(); !errors.Is(err, slot.ErrGivenUp) {
				t.Errorf("what was given up runs: %v", err)
			}
			if err := d.use.Confirm(); !errors.Is(err, slot.ErrNoTrial) {
				t.Errorf("what was given up was confirmed: %v", err)
			}
			d.boot(t, false)
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t)
			if err := put(t, d.use, "two", of("two", "1.1.0", 2)); err != nil {
				t.Fatal(err)
			}
			d.boot(t, false)
			runs(t, d.use, "1.1.0", "b", true)
			back(t, d)
			runs(t, d.use, "", "a", false)
			if err := put(t, d.use, "three", of("three", "1.2.0", 3)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestAttack_T4_HookDowngrade(t *testing.T) {
	d := newDevice(t)
	if err := put(t, d.use, "two", of("two", "1.1.0", 2)); err != nil {
		t.Fatal(err)
	}
	d.boot(t, false)
	if err := d.use.Confirm(); err != nil {
		t.Fatal(err)
	}
	one := of("one", "1.0.0", 1)
	if err := put(t, d.use, "one", one); !errors.Is(err, slot.ErrDowngrade) {
		t.Fatalf("downgrade: %v", err)
	}
	one.DowngradeFrom = 1 // allowed from an older one only
	if err := put(t, d.use, "one", one); !errors.Is(err, slot.ErrDowngrade) {
		t.Fatalf("downgrade: %v", err)
	}
	one.DowngradeFrom = 2
	if err := put(t, d.use, "one", one); err != nil {
		t.Fatalf("a downgrade that was signed: %v", err)
	}
	d.boot(t, false)
	if err := d.use.Confirm(); err != nil {
		t.Fatal(err)
	}
	// And the way back up needs more than what ran once, or its own allowance.
	if err := put(t, d.use, "two", of("two", "1.1.0", 2)); !errors.Is(err, slot.ErrDowngrade) {
		t.Fatalf("the counter went back: %v", err)
	}
}

func TestHookThatIsWrong(t *testing.T) {
	const answer = `echo "{\"sha256\":\"$(sha256sum "$dir/$other" | cut -d' ' -f1)\"}" ;;`
	for name, tc := range map[string]struct {
		from, to, says string
		later          bool
	}{
		"reads back something else":  {answer, `echo '{"sha256":"` + strings.Repeat("0", 64) + `"}' ;;`, "reads back as 000", false},
		"does not read back":         {answer, `echo '{}' ;;`, "does not say the digest", false},
		"answers nothing":            {answer, `;;`, "parse the hook's answer", false},
		"answers twice":              {answer, `echo '{} {}' ;;`, "something follows", false},
		"answers without end":        {answer, `yes ;;`, "more than 65536 bytes", false},
		"fails and says why":         {answer, `echo "flash is worn out" >&2; exit 3 ;;`, "flash is worn out", false},
		"cannot now":                 {answer, `exit 75 ;;`, "again later", true},
		"hangs":                      {answer, `sleep 60 ;;`, "longer than", false},
		"leaves a child that writes": {answer, `(sleep 60) & sleep 60 ;;`, "longer than", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDevice(t, tc.from, tc.to)
			d.use = install.Track(install.Exec{Path: filepath.Join(d.dir, "hook"), Limit: time.Second}, filepath.Join(d.dir, "installed.json"))
			begin := time.Now()
			err := put(t, d.use, "two", of("two", "1.1.0", 2))
			if err == nil || !strings.Contains(err.Error(), tc.says) || errors.Is(err, install.ErrLater) != tc.later {
				t.Fatalf("error %v", err)
			}
			if took := time.Since(begin); took > 8*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func TestDamagedMemoryAllowsNothing(t *testing.T) {
	d := newDevice(t)
	for _, content := range []string{"", "{}", "null", "[", `{"slot":""}`} {
		d.write(t, "installed.json", content)
		if err := put(t, d.use, "two", of("two", "1.1.0", 2)); err == nil {
			t.Errorf("installed beside a memory of %q", content)
		}
	}
}

func TestSlotsStopWithTheContext(t *testing.T) {
	dir := t.TempDir()
	if err := slot.Format(dir, strings.NewReader("one"), "1.0.0", 1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := (install.Slots{Pair: slot.Open(dir)}).Install(ctx, f, of("two", "1.1.0", 2)); !errors.Is(err, install.ErrLater) {
		t.Errorf("error %v", err)
	}
}
