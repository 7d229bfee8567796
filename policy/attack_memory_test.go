package policy_test

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"troth/policy"
)

// deciding is a bundle whose access decision rests on a rule named x.
func deciding(body string) map[string]string {
	return map[string]string{"access": "package troth.access\n\ndecision := {\"allow\": true, \"code\": \"\", \"reason\": sprintf(\"%v\", [count(x)])}\n\n" + body + "\n"}
}

// peak calls f and returns by how many bytes the heap grew meanwhile at most.
func peak(f func()) uint64 {
	heap := func() uint64 {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	runtime.GC()
	before := heap()
	var most atomic.Uint64
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
				if now := heap(); now > most.Load() {
					most.Store(now)
				}
			}
		}
	}()
	f()
	close(done)
	<-stopped
	if most.Load() < before {
		return 0
	}
	return most.Load() - before
}

// An endless comprehension that keeps what it makes is stopped by what it takes,
// long before its deadline; the next decision is none the worse.
func TestAttack_P3_EndlessComprehension(t *testing.T) {
	const limit = 32 << 20
	e, err := policy.New(t.Context(), tiny(deciding(`x := [s |
	some a in numbers.range(1, 100000)
	some b in numbers.range(1, 100000)
	s := sprintf("%d and %d and %s", [a, b, input.resource])
]`)), policy.Options{Deadline: time.Minute, Memory: limit})
	if err != nil {
		t.Fatal(err)
	}
	grown := peak(func() {
		start := time.Now()
		d, err := e.Access(t.Context(), visitor())
		if !errors.Is(err, policy.ErrMemory) || d.Allow || d.Code != policy.CodePolicy {
			t.Errorf("%+v, %v", d, err)
		}
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("it took %s", took)
		}
	})
	// The collector looks again when the heap has doubled.
	if grown > 10*limit {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
	if d, err := e.Operator(t.Context(), policy.OperatorInput{Operator: "ada", Role: "admin", Action: "device.list"}); err != nil || !d.Allow {
		t.Errorf("%+v, %v", d, err)
	}
}

// doubling makes n rules of which each has the one before it twice.
func doubling(first, twice string, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "x0 := %s\n\n", first)
	for i := range n {
		fmt.Fprintf(&b, "x%d := %s\n\n", i+1, strings.ReplaceAll(twice, "X", fmt.Sprintf("x%d", i)))
	}
	return b.String() + fmt.Sprintf("x := x%d\n", n)
}

// No single call makes much of little: nothing but the next step could stop it.
func TestAttack_P3_OneCallThatMakesMuch(t *testing.T) {
	const long = `concat("", [c | some _ in numbers.range(1, 2000); c := "0123456789012345678901234567890123456789"])`
	for name, body := range map[string]string{
		"range":               `x := numbers.range(1, 1000000000)`,
		"range downwards":     `x := numbers.range(1000000000, 1)`,
		"range of bignums":    `x := numbers.range(1, 1000000000000000000000000000000)`,
		"range in steps":      `x := numbers.range_step(1, 100000000000, 2)`,
		"concat":              doubling(`"0123456789"`, `concat("", [X, X])`, 40),
		"array.concat":        doubling(`["a", "b"]`, `array.concat(X, X)`, 40),
		"replace":             "long := " + long + "\n\nx := replace(long, \"0\", long)",
		"replace nothing":     "long := " + long + "\n\nx := replace(long, \"\", long)",
		"strings.replace_n":   "long := " + long + "\n\nx := strings.replace_n({\"0\": long}, long)",
		"regex.replace":       "long := " + long + "\n\nx := regex.replace(long, \"0\", long)",
		"regex.replace group": "long := " + long + "\n\nx := regex.replace(long, \"(.*)\", replace(long, \"0\", \"$1\"))",
		"sprintf":             "long := " + long + "\n\nx := sprintf(replace(long, \"0\", \"%[1]s\"), [long])",
		"sprintf wide":        "long := " + long + "\n\nx := sprintf(replace(long, \"0\", \"%[1]900000d\"), [1])",
		"json.marshal":        doubling(`["a"]`, `[X, X]`, 40) + "\ny := json.marshal(x)\n\nz if y == \"\"\n\nx := [] if z",
		"numbers":             doubling(`12345678901234567890`, `X * X`, 30),
		"a number":            `x := [floor(1e999999999)]`,
		"an exponent":         `x := [1e999999999 + 1]`,
	} {
		t.Run(name, func(t *testing.T) {
			if name == "json.marshal" {
				body = doubling(`["a"]`, `[X, X]`, 40)
				body = strings.Replace(body, "x := x40", "x := json.marshal(x40)", 1)
			}
			e, err := policy.New(t.Context(), tiny(deciding(body)), policy.Options{Deadline: time.Minute})
			if err != nil {
				if !errors.Is(err, policy.ErrBundle) {
					t.Error(err)
				}
				return // refused before it could
			}
			grown := peak(func() {
				start := time.Now()
				d, err := e.Access(t.Context(), visitor())
				if !errors.Is(err, policy.ErrEvaluation) || d.Allow || !strings.Contains(err.Error(), "more than") {
					t.Errorf("%+v, %v", d, err)
				}
				if took := time.Since(start); took > 20*time.Second {
					t.Errorf("it took %s", took)
				}
			})
			if grown > 256<<20 {
				t.Errorf("the heap grew by %d MiB", grown>>20)
			}
		})
	}
}

// An answer may hold one value a million times; it is not written out to see.
func TestAttack_P3_AnswerThatIsLarge(t *testing.T) {
	e := engine(t, tiny(map[string]string{"access": "package troth.access\n\ndecision := {\"allow\": true, \"code\": \"\", \"reason\": \"Yes.\", \"more\": x}\n\n" + doubling(`["a"]`, `[X, X]`, 40)}))
	grown := peak(func() {
		if d, err := e.Access(t.Context(), visitor()); !errors.Is(err, policy.ErrEvaluation) || d.Allow {
			t.Errorf("%+v, %v", d, err)
		}
	})
	if grown > 128<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}

// What a policy needs in earnest is within the limits.
func TestGuardsLetOrdinaryCallsPass(t *testing.T) {
	for body, want := range map[string]string{
		`x := numbers.range(1, 200000)`:                                                                                  "200000",
		`x := numbers.range(5, 1)`:                                                                                       "5",
		`x := numbers.range_step(0, 10, 5)`:                                                                              "3",
		`x := [v | some s in ["a", "b"]; v := concat(", ", [s, "c"])]`:                                                   "2",
		`x := {replace("aXbX", "X", "y"), "aybx"}`:                                                                       "2",
		`x := {strings.replace_n({"a": "b"}, "aa"), "bb"}`:                                                               "1",
		`x := {regex.replace("a1b2", "[0-9]", "<$0>"), "a<1>b<2>"}`:                                                      "1",
		`x := {sprintf("%5d|%-5s|%v", [1, "a", [1]]), "    1|a    |[1]"}`:                                                "1",
		`x := {json.marshal({"a": 1}), "{\"a\":1}"}`:                                                                     "1",
		`x := {1.5e3 + 1, 1501, 2 * 3, 6, 7 / 2, 3.5, round(1.4), 1}`:                                                    "4",
		`x := {sum([1, 2, 3]), 6, product([2, 3]), 6}`:                                                                   "1",
		`x := array.concat([1], [2])`:                                                                                    "2",
		`x := {f | f := concat("", ["a"]) with input.resource as "z"}`:                                                   "1",
		"y := concat(\"\", [\"a\"])\n\nother(_, _) := \"b\"\n\nx := {z, \"b\"}\n\nz := v if v := y with concat as other": "1",
	} {
		e := engine(t, tiny(deciding(body)))
		d, err := e.Access(t.Context(), visitor())
		if err != nil || d.Reason != want {
			t.Errorf("%s: %q, %v", body, d.Reason, err)
		}
	}
}
