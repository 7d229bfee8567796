package cli_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"troth/internal/api"
)

const (
	bootstrapToken = "troth-bootstrap-1"
	adminToken     = "troth-admin-1"
	freshToken     = "troth-fresh-1"
	pressID        = "3f9c00000000000000000000000000000000000000000000000000000000aaaa"
	kilnID         = "71be00000000000000000000000000000000000000000000000000000000bbbb"
	evilID         = "deadbeef0000000000000000000000000000000000000000000000000000cccc"
	evilWord       = "evil\x1b]0;owned\x07\x1b[2J\u009b31m\u202egnp\r\nspoof\tx"
)

// fakeServer is a small stateful trothd: it keeps what it is told and answers
// in the wire types.
type fakeServer struct {
	mu       sync.Mutex
	spent    bool // the bootstrap token
	devices  []api.Device
	alerts   []api.Alert
	rollouts []api.Rollout
	makers   []api.Manufacturer
	events   []api.Event
	known    map[string]api.Registration
	posts    int // requests that would have changed something
	looks    int // at a rollout
	now      time.Time
}

func newFakeServer() *fakeServer {
	f := &fakeServer{known: map[string]api.Registration{}, now: time.Now().UTC()}
	f.devices = []api.Device{
		{
			ID: pressID, Name: "press-7", Model: "edge-100", Labels: map[string]string{"site": "kiel", "line": "4"},
			Lifecycle: "active", Presence: "online", Verdict: "compliant", VerdictSince: f.ago(2 * time.Hour), Firmware: "1.1.0",
			Manufacturer: "acme", EnrolledAt: f.ago(72 * time.Hour), LastSeen: f.ago(3*time.Minute + 20*time.Second), CertificateEnds: f.ago(-21*time.Hour - 30*time.Minute),
			Posture: &api.Posture{At: *f.ago(3*time.Minute + 20*time.Second), Verdict: "compliant", Policy: "p0", Input: "i0", Evidence: "e0", Controls: []api.Control{
				{ID: "boot.reference", Title: "Boots a published release", Severity: "critical", Outcome: "pass", Reason: "release 1.1.0"},
				{ID: "update.latest", Title: "Runs the latest release", Severity: "medium", Outcome: "fail", Reason: "1.2.0 is out", Since: f.ago(26 * time.Hour), EnforcedAt: f.ago(-46*time.Hour - time.Minute)},
			}},
		},
		{ID: kilnID, Name: "kiln-2", Model: "edge-200", Lifecycle: "quarantined", LifecycleReason: "boot loader", Presence: "offline", Verdict: "noncompliant", LastSeen: f.ago(50 * time.Hour)},
		{ID: evilID, Name: evilWord, Model: "edge-100", Lifecycle: "pending", Presence: "offline", Verdict: "unknown"},
	}
	f.alerts = []api.Alert{
		{ID: "A1", Device: kilnID, DeviceName: "kiln-2", Subject: kilnID, Key: "control:boot.reference", Title: "Boots a published release", Severity: "critical", State: "open", Reason: "PCR 4 differs", Count: 3, OpenedAt: *f.ago(5 * time.Hour), LastAt: *f.ago(time.Minute)},
		{ID: "A0", Subject: "rollout:R0", Key: "rollout_halted", Title: "Rollout halted", Severity: "high", State: "resolved", Reason: "2 of 4 failed", Count: 1, OpenedAt: *f.ago(100 * time.Hour), LastAt: *f.ago(100 * time.Hour)},
	}
	f.events = []api.Event{
		{At: *f.ago(2 * time.Minute), Actor: "root", Action: "device.quarantine", Subject: kilnID, Detail: "boot loader"},
		{At: *f.ago(72 * time.Hour), Actor: "device:" + pressID, Action: "device.enroll", Subject: pressID, Detail: evilWord},
	}
	return f
}

func (f *fakeServer) ago(d time.Duration) *time.Time {
	t := f.now.Add(-d)
	return &t
}

func (f *fakeServer) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/login", f.login)
	handle := func(pattern string, h http.HandlerFunc) { mux.HandleFunc(pattern, f.authorized(h)) }
	handle("GET /v1/whoami", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, api.WhoAmI{Operator: "root", Role: "admin", ExpiresAt: *f.ago(-12*time.Hour - time.Minute)})
	})
	handle("GET /v1/devices", f.listDevices)
	handle("GET /v1/devices/{id}", f.getDevice)
	handle("GET /v1/devices/{id}/decision", f.getDecision)
	handle("GET /v1/decisions", f.listDecisions)
	handle("GET /v1/decisions/{id}", f.getLogged)
	handle("POST /v1/devices/{id}/{action}", f.actOnDevice)
	handle("POST /v1/registrations", f.register)
	handle("GET /v1/manufacturers", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, api.ManufacturerList{Manufacturers: f.makers})
	})
	handle("POST /v1/manufacturers", func(w http.ResponseWriter, r *http.Request) {
		var in api.ManufacturerRequest
		if !read(w, r, &in) {
			return
		}
		m := api.Manufacturer{Name: in.Name, PEM: in.PEM, AddedAt: f.now, AddedBy: "root"}
		f.makers = append(f.makers, m)
		answer(w, m)
	})
	handle("GET /v1/alerts", f.listAlerts)
	handle("POST /v1/alerts/{id}/acknowledge", f.acknowledge)
	handle("GET /v1/rollouts", func(w http.ResponseWriter, _ *http.Request) { answer(w, api.RolloutList{Rollouts: f.rollouts}) })
	handle("POST /v1/rollouts", f.createRollout)
	handle("GET /v1/rollouts/{id}", f.getRollout)
	handle("POST /v1/rollouts/{id}/{action}", f.actOnRollout)
	handle("GET /v1/releases", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, api.ReleaseList{Releases: []api.Release{{Target: "edge-100-1.2.0", Model: "edge-100", Version: "1.2.0", Counter: 3, Security: true, Length: 1 << 20, SHA256: strings.Repeat("ab", 32), Notes: evilWord}}})
	})
	handle("GET /v1/reports/compliance", f.report)
	handle("GET /v1/events", f.listEvents)
	handle("POST /v1/tokens", func(w http.ResponseWriter, r *http.Request) {
		var t api.TokenRequest
		if !read(w, r, &t) {
			return
		}
		answer(w, api.Token{Token: "troth-for-" + t.Operator, Operator: t.Operator, Role: t.Role, ExpiresAt: *f.ago(-24*time.Hour - time.Minute)})
	})
	new(fakeCA).routes(handle, func(pattern string, h http.HandlerFunc) { mux.HandleFunc(pattern, h) })
	handle("GET /posts", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, f.posts) })
	return mux
}

func (f *fakeServer) authorized(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		switch r.Header.Get("Authorization") {
		case "Bearer " + adminToken, "Bearer " + freshToken:
		default:
			problem(w, 401, "unauthorized", "the token is not known here")
			return
		}
		if r.Method == http.MethodPost {
			f.posts++
		}
		h(w, r)
	}
}

func (f *fakeServer) login(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer "+bootstrapToken || f.spent {
		problem(w, 401, "unauthorized", "the token is not known here")
		return
	}
	var in api.LoginRequest
	if !read(w, r, &in) {
		return
	}
	f.spent = true
	answer(w, api.Token{Token: freshToken, Operator: in.Operator, Role: "admin", ExpiresAt: *f.ago(-12*time.Hour - time.Minute)})
}

// listDevices gives pages of two.
func (f *fakeServer) listDevices(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	var out api.DeviceList
	for _, d := range f.devices {
		if q.Get("after") != "" && d.ID <= q.Get("after") ||
			q.Get("model") != "" && d.Model != q.Get("model") ||
			q.Get("lifecycle") != "" && d.Lifecycle != q.Get("lifecycle") ||
			q.Get("verdict") != "" && d.Verdict != q.Get("verdict") {
			continue
		}
		if len(out.Devices) == 2 {
			out.Next = out.Devices[1].ID
			break
		}
		d.Posture = nil
		out.Devices = append(out.Devices, d)
	}
	answer(w, out)
}

func (f *fakeServer) find(w http.ResponseWriter, id string) *api.Device {
	switch id {
	case "boom":
		problem(w, 500, "internal", "something broke")
		return nil
	case "hostile":
		problem(w, 409, "conflict\x1b[2J", evilWord)
		return nil
	case "away":
		w.WriteHeader(http.StatusBadGateway)
		return nil
	case "busy":
		problem(w, 429, "too_many_requests", "too many requests: wait a minute")
		return nil
	case "garbage":
		_, _ = fmt.Fprint(w, "<html>")
		return nil
	}
	for i := range f.devices {
		if f.devices[i].Name == id || len(id) >= 6 && strings.HasPrefix(f.devices[i].ID, id) {
			return &f.devices[i]
		}
	}
	problem(w, 404, "device_not_found", "there is no device "+id+".")
	return nil
}

func (f *fakeServer) getDevice(w http.ResponseWriter, r *http.Request) {
	if d := f.find(w, r.PathValue("id")); d != nil {
		answer(w, d)
	}
}

func (f *fakeServer) actOnDevice(w http.ResponseWriter, r *http.Request) {
	d := f.find(w, r.PathValue("id"))
	if d == nil {
		return
	}
	var in api.ReasonRequest
	if !read(w, r, &in) {
		return
	}
	next := map[string]string{"quarantine": "quarantined", "release": "active", "retire": "retired"}[r.PathValue("action")]
	if next == "" || d.Lifecycle == "retired" {
		problem(w, 409, "wrong_lifecycle", "device "+d.ID[:12]+" is "+d.Lifecycle+" and cannot be "+next)
		return
	}
	d.Lifecycle, d.LifecycleReason = next, in.Reason
	answer(w, d)
}

func (f *fakeServer) register(w http.ResponseWriter, r *http.Request) {
	var in api.RegistrationRequest
	if !read(w, r, &in) {
		return
	}
	var out api.RegistrationAnswer
	for _, d := range in.Devices {
		if _, ok := f.known[d.EKHash]; ok {
			out.Known++
			continue
		}
		f.known[d.EKHash] = d
		out.Registered++
		f.devices = append(f.devices, api.Device{ID: d.EKHash, Name: d.Name, Model: d.Model, Labels: d.Labels, Lifecycle: "pending", Presence: "offline", Verdict: "unknown"})
	}
	answer(w, out)
}

func (f *fakeServer) listAlerts(w http.ResponseWriter, r *http.Request) {
	out := api.AlertList{Alerts: []api.Alert{}}
	for _, a := range f.alerts {
		if a.State != "resolved" || r.URL.Query().Get("all") == "true" {
			out.Alerts = append(out.Alerts, a)
		}
	}
	answer(w, out)
}

func (f *fakeServer) acknowledge(w http.ResponseWriter, r *http.Request) {
	for i := range f.alerts {
		if f.alerts[i].ID == r.PathValue("id") {
			f.alerts[i].State, f.alerts[i].AcknowledgedBy = "acknowledged", "root"
			answer(w, f.alerts[i])
			return
		}
	}
	problem(w, 404, "not_found", "there is no alert "+r.PathValue("id"))
}

func (f *fakeServer) createRollout(w http.ResponseWriter, r *http.Request) {
	var in api.RolloutRequest
	if !read(w, r, &in) {
		return
	}
	if in.Version == "9.9.9" {
		p := api.Problem{Type: "about:blank", Title: "Unprocessable Entity", Status: 422, Code: "validation", Detail: "the request is not valid", Errors: []string{"version: there is no release 9.9.9"}}
		w.Header().Set("Content-Type", api.ProblemType)
		w.WriteHeader(http.StatusUnprocessableEntity)
		_ = json.NewEncoder(w).Encode(p)
		return
	}
	ro := api.Rollout{ID: fmt.Sprintf("R%d", len(f.rollouts)+1), Model: in.Model, Version: in.Version, State: "proposed", Waves: []int{10, 100}, MaxFailurePercent: 10, SoakSeconds: 600, TimeoutSeconds: 3600, CreatedBy: "root", CreatedAt: *f.ago(time.Minute + time.Second)}
	change(&ro, api.RolloutPlan{Waves: in.Waves, MaxFailurePercent: in.MaxFailurePercent, SoakSeconds: in.SoakSeconds, TimeoutSeconds: in.TimeoutSeconds})
	if in.Start {
		f.start(&ro)
	}
	f.rollouts = append(f.rollouts, ro)
	answer(w, ro)
}

func change(ro *api.Rollout, p api.RolloutPlan) {
	if len(p.Waves) > 0 {
		ro.Waves = p.Waves
	}
	for _, c := range []struct {
		from *int
		to   *int
	}{{p.MaxFailurePercent, &ro.MaxFailurePercent}, {p.SoakSeconds, &ro.SoakSeconds}, {p.TimeoutSeconds, &ro.TimeoutSeconds}} {
		if c.from != nil {
			*c.to = *c.from
		}
	}
}

func (f *fakeServer) start(ro *api.Rollout) {
	ro.State, ro.Wave, ro.StartedBy, ro.StartedAt = "running", 1, "root", f.ago(time.Minute)
	ro.Members = []api.Member{{Device: pressID, Name: "press-7", Wave: 1, State: "pending", At: *f.ago(time.Minute)}}
}

// getRollout moves a running rollout a little with each look; one of model
// doomed ends badly, and the second look of any meets a restarting server.
func (f *fakeServer) getRollout(w http.ResponseWriter, r *http.Request) {
	for i := range f.rollouts {
		ro := &f.rollouts[i]
		if ro.ID != r.PathValue("id") {
			continue
		}
		if ro.State == "running" {
			f.looks++
			switch {
			case f.looks == 2:
				problem(w, 503, "unavailable", "the service is starting")
				return
			case f.looks == 3:
				ro.Members[0].State = "installing"
			case f.looks > 4:
				f.end(ro)
			}
		}
		answer(w, ro)
		return
	}
	problem(w, 404, "not_found", "there is no rollout "+r.PathValue("id"))
}

func (f *fakeServer) end(ro *api.Rollout) {
	ro.EndedAt = f.ago(0)
	if ro.Model == "doomed" {
		ro.State, ro.Reason, ro.Members[0].State, ro.Members[0].Reason = "halted", "too many devices of the wave failed", "rolled-back", evilWord
		return
	}
	ro.State, ro.Reason, ro.Members[0].State = "completed", "every wave is through", "success"
}

func (f *fakeServer) actOnRollout(w http.ResponseWriter, r *http.Request) {
	for i := range f.rollouts {
		ro := &f.rollouts[i]
		if ro.ID != r.PathValue("id") {
			continue
		}
		switch r.PathValue("action") {
		case "start":
			var p api.RolloutPlan
			if !read(w, r, &p) {
				return
			}
			change(ro, p)
			f.start(ro)
		case "pause":
			ro.State = "paused"
		case "resume":
			ro.State = "running"
		case "abort":
			ro.State, ro.EndedAt = "aborted", f.ago(0)
		}
		answer(w, ro)
		return
	}
	problem(w, 404, "not_found", "there is no rollout "+r.PathValue("id"))
}

func (f *fakeServer) report(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Query().Get("format") {
	case "csv":
		_, _ = fmt.Fprintln(w, "device,control,outcome")
	case "json":
		_, _ = fmt.Fprintln(w, `{"report":"compliance"}`)
	case "html":
		_, _ = fmt.Fprintln(w, "<!doctype html><title>Compliance</title>")
	default:
		problem(w, 400, "invalid_format", "the format is html, json or csv")
	}
}

func (f *fakeServer) listEvents(w http.ResponseWriter, r *http.Request) {
	out := api.EventList{Events: []api.Event{}}
	for _, e := range f.events {
		if s := r.URL.Query().Get("subject"); s == "" || s == e.Subject {
			out.Events = append(out.Events, e)
		}
	}
	answer(w, out)
}

// read takes a request's body as strictly as the service does.
func read(w http.ResponseWriter, r *http.Request, v any) bool {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		problem(w, 422, "invalid_request", err.Error())
		return false
	}
	return true
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func problem(w http.ResponseWriter, status int, code, detail string) {
	w.Header().Set("Content-Type", api.ProblemType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(api.Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: detail, RequestID: "req-1"})
}
