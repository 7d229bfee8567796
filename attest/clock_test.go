package attest_test

import (
	"testing"

	"troth/attest"
)

// TestAttack_Q7_ClockGoesBack: an old quote, a TPM cleared or replaced.
func TestAttack_Q7_ClockGoesBack(t *testing.T) {
	base := attest.Clock{ResetCount: 7, RestartCount: 2, Clock: 10_000_000, Safe: true}
	with := func(change func(*attest.Clock)) attest.Clock { c := base; change(&c); return c }
	type want map[string]attest.Severity
	for name, tt := range map[string]struct {
		prev, now attest.Clock
		want      want
	}{
		"nothing before":  {attest.Clock{}, base, nil},
		"later":           {base, with(func(c *attest.Clock) { c.Clock++ }), nil},
		"the same moment": {base, base, nil},
		"resumed":         {base, with(func(c *attest.Clock) { c.RestartCount++; c.Clock += 5 }), nil},
		"reset":           {base, with(func(c *attest.Clock) { c.ResetCount++; c.RestartCount = 0; c.Clock += 5 }), nil},
		"power lost": {base, with(func(c *attest.Clock) { c.ResetCount++; c.RestartCount = 0; c.Clock -= 1 << 22; c.Safe = false }),
			want{attest.CodeClockWentBack: attest.SeverityWarning}},
		"power lost, too far": {base, with(func(c *attest.Clock) { c.ResetCount++; c.Clock -= 1<<22 + 1; c.Safe = false }),
			want{attest.CodeClockWentBack: attest.SeverityError}},
		"back though safe": {base, with(func(c *attest.Clock) { c.ResetCount++; c.Clock-- }),
			want{attest.CodeClockWentBack: attest.SeverityError}},
		"back without reset": {base, with(func(c *attest.Clock) { c.Clock--; c.Safe = false }),
			want{attest.CodeClockWentBack: attest.SeverityError}},
		"restarts back": {base, with(func(c *attest.Clock) { c.RestartCount--; c.Clock++ }),
			want{attest.CodeRestartCountWentBack: attest.SeverityError}},
		"resets back": {base, with(func(c *attest.Clock) { c.ResetCount--; c.Clock++ }),
			want{attest.CodeResetCountWentBack: attest.SeverityError}},
		"cleared": {base, attest.Clock{Clock: 5, Safe: true},
			want{attest.CodeResetCountWentBack: attest.SeverityError, attest.CodeClockWentBack: attest.SeverityError}},
		"obfuscated counts wrap": {with(func(c *attest.Clock) { c.ResetCount, c.RestartCount = 1<<32-1, 1<<32-1 }),
			with(func(c *attest.Clock) { c.ResetCount, c.RestartCount = 0, 1<<32-1 }), nil},
		"obfuscated counts unwrap": {with(func(c *attest.Clock) { c.ResetCount = 0 }),
			with(func(c *attest.Clock) { c.ResetCount = 1<<32 - 1 }), want{attest.CodeResetCountWentBack: attest.SeverityError}},
	} {
		t.Run(name, func(t *testing.T) {
			got := want{}
			for _, p := range attest.CompareClock(tt.prev, tt.now) {
				got[p.Code] = p.Severity
				provoke(p.Code)
			}
			if len(got) != len(tt.want) {
				t.Errorf("problems %v, want %v", got, tt.want)
			}
			for code, severity := range tt.want {
				if got[code] != severity {
					t.Errorf("problems %v, want %v", got, tt.want)
				}
			}
		})
	}
}
