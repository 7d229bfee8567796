package cli_test

import (
	"net/http"
	"time"

	"troth/internal/api"
)

// fakeCA is a CA that is changed as a real one is: one device confirms only when
// the status is looked at for the second time.
type fakeCA struct {
	stage string // the last step
	looks int
}

func (f *fakeCA) status() api.CAStatus {
	end := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	old := api.Authority{ID: "a1", Role: "signing", Subject: "CN=old", NotAfter: end.AddDate(9, 0, 0), Live: 2, LastEnds: &end}
	next := api.Authority{ID: "b2", Role: "next", Subject: "CN=new", NotAfter: end.AddDate(10, 0, 0), Bridged: true}
	list := []api.Authority{old}
	switch f.stage {
	case "begin":
		list = append(list, next)
	case "activate":
		old.Role, next.Role = "retiring", "signing"
		list = []api.Authority{old, next}
	case "retire":
		next.Role = "signing"
		list = []api.Authority{next}
	}
	confirmed := 1
	if f.looks > 1 || f.stage != "begin" {
		confirmed = 2
	}
	return api.CAStatus{CAs: []api.CA{{Name: "local", Rotatable: true, Authorities: list}}, Bundle: "d0", Devices: 2, Confirmed: confirmed}
}

func (f *fakeCA) routes(handle func(string, http.HandlerFunc), public func(string, http.HandlerFunc)) {
	handle("GET /v1/ca", func(w http.ResponseWriter, _ *http.Request) {
		f.looks++
		answer(w, f.status())
	})
	handle("POST /v1/ca/{action}", func(w http.ResponseWriter, r *http.Request) {
		var in api.RotateRequest
		if !read(w, r, &in) {
			return
		}
		if r.PathValue("action") == "activate" && f.status().Confirmed < 2 && !in.Force {
			problem(w, 403, "ca_bundle_unconfirmed", "1 of 2 devices have not confirmed")
			return
		}
		f.stage, f.looks = r.PathValue("action"), 0
		answer(w, f.status())
	})
	public("GET /ca/bundle.pem", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("PEM of roots\n")) })
	public("GET /spiffe/bundle", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"keys":[]}`)) })
}
