package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"troth/internal/fleet"
	"troth/internal/store"
	"troth/internal/store/storetest"
)

// crashDSN names the environment variable that makes this test binary a process
// which writes to the database until it is killed.
const crashDSN = "TROTH_STORE_CRASH_DSN"

func TestMain(m *testing.M) {
	if dsn := os.Getenv(crashDSN); dsn != "" {
		writeUntilKilled(dsn)
	}
	os.Exit(m.Run())
}

func writeUntilKilled(dsn string) {
	s, err := store.Open(context.Background(), dsn)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for n := range 1_000_000 {
		if err := s.Apply(context.Background(), pair(n)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(n)
	}
}

func pairID(n int) fleet.DeviceID { return fleet.DeviceID(fmt.Sprintf("%064x", n)) }

// pair is a change of several rows that must be there together.
func pair(n int) fleet.Change {
	id := pairID(n)
	return fleet.Change{
		Devices: []fleet.Device{{ID: id}}, Posture: &fleet.Posture{Device: id},
		Decisions: []fleet.Decision{{ID: string(id), Device: id}}, Events: []fleet.Event{{ID: string(id), Subject: string(id)}},
	}
}

// pairThere reports whether the n-th pair was written; half of it is an error.
func pairThere(t *testing.T, s *store.Store, n int) bool {
	t.Helper()
	found := pairRows(t, s, n)
	if found != 0 && found != 4 {
		// A server may still commit what its client was killed over.
		time.Sleep(time.Second)
		found = pairRows(t, s, n)
	}
	if found != 0 && found != 4 {
		t.Errorf("change %d is there by %d of 4 rows", n, found)
	}
	return found == 4
}

func pairRows(t *testing.T, s *store.Store, n int) (found int) {
	t.Helper()
	ctx, id := context.Background(), pairID(n)
	events, err := s.Events(ctx, string(id), 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Device(ctx, id)
	_, err2 := s.Posture(ctx, id)
	_, err3 := s.Decision(ctx, string(id))
	for _, err := range []error{err, err2, err3} {
		if err == nil {
			found++
		} else if !errors.Is(err, fleet.ErrNotFound) {
			t.Fatal(err)
		}
	}
	return found + len(events)
}

// writePairs writes pairs until one fails, and returns what each got.
func writePairs(ctx context.Context, s *store.Store, first int, until time.Time) map[int]error {
	result := map[int]error{}
	for n := first; time.Now().Before(until); n++ {
		result[n] = s.Apply(ctx, pair(n))
		if result[n] != nil {
			break
		}
	}
	return result
}

// A process that is killed (kill -9) while it writes leaves whole changes, and
// all that it was told were written.
func TestAttack_S9_Killed(t *testing.T) {
	for name, database := range databases() {
		t.Run(name, func(t *testing.T) {
			for _, changes := range []int{17, 60} {
				dsn := database(t)
				last := killWhileWriting(t, dsn, changes)
				s := storetest.Open(t, dsn)
				for n := range last + 1 {
					if !pairThere(t, s, n) {
						t.Fatalf("change %d of %d was acknowledged and is lost", n, last)
					}
				}
				pairThere(t, s, last+1) // whole or not at all
				if pairThere(t, s, last+2) {
					t.Error("more was written than was begun")
				}
			}
		})
	}
}

// killWhileWriting returns the number of the last change that was acknowledged.
func killWhileWriting(t *testing.T, dsn string, changes int) (last int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDSN+"="+dsn)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last = -1
	lines := bufio.NewScanner(out)
	for lines.Scan() { // what it wrote before it died counts
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Errorf("writer: %s", lines.Text())
			break
		}
		last = n
		if n == changes {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the writer was not killed")
	}
	if last < changes {
		t.Fatalf("the writer stopped by itself after %d", last)
	}
	return last
}
