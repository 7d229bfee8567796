package preview

import (
	"context"
	"encoding/json"

	"troth/internal/fleet"
	"troth/policy"
)

// outcome is one recorded decision beside that of the candidate.
type outcome struct {
	was     fleet.Replay
	verdict fleet.Verdict
	changes []fleet.ControlChange
	actions []policy.Action // what the candidate's remediation would do
	problem string          // why the candidate could not decide
}

// decide asks the candidate. What it cannot decide has the verdict error, as it
// would have in earnest.
func decide(ctx context.Context, candidate *policy.Engine, r fleet.Replay) outcome {
	o := outcome{was: r, verdict: fleet.Undecided}
	decision, err := candidate.Replay(ctx, policy.KindPosture, r.Input)
	d, ok := decision.(policy.PostureDecision)
	if err != nil || !ok {
		o.problem = "no answer"
		if err != nil {
			o.problem = err.Error()
		}
		return o
	}
	o.verdict = fleet.Verdict(d.Verdict)
	o.changes = changes(r.Controls, d.Controls)
	if o.verdict != fleet.Noncompliant {
		return o
	}
	o.actions, err = remediate(ctx, candidate, r.Input, d)
	if err != nil {
		o.problem = err.Error()
	}
	return o
}

func changes(before []fleet.Control, after []policy.ControlResult) []fleet.ControlChange {
	list := make([]fleet.Control, len(after))
	for i, c := range after {
		list[i] = fleet.Control{ID: c.ID, Outcome: fleet.Outcome(c.Outcome), Reason: c.Reason}
	}
	return fleet.CompareControls(before, list)
}

func remediate(ctx context.Context, candidate *policy.Engine, input []byte, d policy.PostureDecision) ([]policy.Action, error) {
	var facts struct {
		Device   policy.DeviceInput   `json:"device"`
		Firmware policy.FirmwareInput `json:"firmware"`
	}
	if err := json.Unmarshal(input, &facts); err != nil {
		return nil, err
	}
	answer, err := candidate.Remediate(ctx, policy.RemediateInput{
		Now: d.At, Evidence: d.Evidence, Device: facts.Device, Verdict: d.Verdict, Controls: d.Controls, Firmware: facts.Firmware,
	})
	return answer.Actions, err
}
