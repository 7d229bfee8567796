package cli_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"troth/internal/api"
)

// decided is the decision log of the fake, newest first.
func (f *fakeServer) decided() []api.LoggedDecision {
	digest := strings.Repeat("ab", 32)
	list := []api.LoggedDecision{
		{ID: "d4", Kind: "access", At: *f.ago(time.Minute), Device: pressID, Answer: "deny", Policy: digest, Input: digest, Decision: json.RawMessage(`{"allow":false,"code":"device_offline","action":"get","resource":"/orders","count":12}`)},
		{ID: "d3", Kind: "operator", At: *f.ago(time.Hour), Answer: "deny", Policy: digest, Input: digest, Decision: json.RawMessage(`{"allow":false,"code":"role_insufficient","operator":"bob","action":"device.retire","count":1}`)},
		{ID: "d2", Kind: "posture", At: *f.ago(2 * time.Hour), Device: pressID, Answer: "compliant", Policy: digest, Input: digest, Evidence: digest, Decision: json.RawMessage(`{"verdict":"compliant"}`), InputDocument: []byte(`{"now":1}`)},
	}
	hostile, _ := json.Marshal(map[string]string{"reason": evilWord})
	return append(list, api.LoggedDecision{ID: "d1", Kind: "enroll", At: *f.ago(72 * time.Hour), Device: evilID, Answer: "deny", Policy: digest, Decision: hostile})
}

func (f *fakeServer) listDecisions(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	since, _ := time.Parse(time.RFC3339Nano, q.Get("since"))
	device, limit := q.Get("device"), 2 // pages are smaller than was asked for
	if device == "press-7" {
		device = pressID
	}
	if n, _ := strconv.Atoi(q.Get("limit")); n < limit {
		limit = n
	}
	switch q.Get("device") {
	case "ghost":
		problem(w, 404, "device_not_found", "no device has the name or id")
		return
	case "broken":
		problem(w, 503, "store_unavailable", "the database is away")
		return
	}
	out, skipping := api.DecisionLog{Decisions: []api.LoggedDecision{}}, q.Get("after") != ""
	for _, d := range f.decided() {
		if skipping {
			skipping = d.ID != q.Get("after")
			continue
		}
		is := func(name, value string) bool { return q.Get(name) == "" || q.Get(name) == value }
		if !is("kind", d.Kind) || !is("answer", d.Answer) || !is("policy", d.Policy) || device != "" && device != d.Device || d.At.Before(since) {
			continue
		}
		if len(out.Decisions) == limit {
			out.Next = out.Decisions[limit-1].ID
			break
		}
		if q.Get("inputs") != "true" {
			d.InputDocument = nil
		}
		out.Decisions = append(out.Decisions, d)
	}
	answer(w, out)
}

func (f *fakeServer) getLogged(w http.ResponseWriter, r *http.Request) {
	for _, d := range f.decided() {
		if d.ID == r.PathValue("id") {
			answer(w, d)
			return
		}
	}
	problem(w, 404, "decision_not_found", "no decision has the id")
}
