package server_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"troth/internal/api"
)

// batch is how many devices one iteration of a benchmark serves.
const batch = 128

// race compares how long Vault takes for requests to sign that come straight to
// it, and the service for as many of its own, in turns on the same Vault.
type race struct {
	raw, ours time.Duration
	n         int
}

func (x *race) clock(total *time.Duration, do func()) {
	began := time.Now()
	do()
	*total += time.Since(began)
}

func (x *race) report(b *testing.B, unit string) {
	b.Helper()
	b.ReportMetric(0, "ns/op") // holds the devices' own work
	b.ReportMetric(float64(x.n)/x.raw.Seconds(), "signs/s")
	b.ReportMetric(float64(x.n)/x.ours.Seconds(), unit+"/s")
	b.ReportMetric(x.raw.Seconds()/x.ours.Seconds(), "x/sign")
}

// failed reports the first error of many callers.
func failed(b *testing.B, errs *atomic.Pointer[error]) {
	b.Helper()
	if err := errs.Load(); err != nil {
		b.Fatal(*err)
	}
}

// BenchmarkEnrol enrols devices over HTTPS, each on a connection of its own, from
// its introduction to its certificate, and compares that with raw pki/sign calls.
// What a device does between the two requests is in neither time.
func BenchmarkEnrol(b *testing.B) {
	r := newFleetRig(b)
	var x race
	var errs atomic.Pointer[error]
	check := func(err error) {
		if err != nil {
			errs.CompareAndSwap(nil, &err)
		}
	}
	for b.Loop() {
		devices := r.devices(b, batch)
		callers := make([]*api.Client, batch)
		challenges, proofs := make([]api.EnrollChallenge, batch), make([]api.EnrollProof, batch)
		for i := range callers {
			callers[i] = r.caller(nil)
		}
		x.clock(&x.raw, func() { each(batch, func(i int) { check(r.sign(devices[i])) }) })
		x.clock(&x.ours, func() {
			each(batch, func(i int) {
				check(callers[i].Do(b.Context(), http.MethodPost, api.PathEnrollments, devices[i].intro, &challenges[i]))
			})
		})
		failed(b, &errs)
		each(batch, func(i int) { proofs[i] = devices[i].answer(b, challenges[i]) })
		x.clock(&x.ours, func() {
			each(batch, func(i int) {
				var c api.Credential
				check(callers[i].Do(b.Context(), http.MethodPost, api.Path(api.PathEnrollComplete, challenges[i].ID), proofs[i], &c))
				callers[i].HTTP.CloseIdleConnections()
			})
		})
		failed(b, &errs)
		x.n += batch
	}
	x.report(b, "enrolments")
}

// BenchmarkRenew renews certificates over mutual TLS. A device that checks in has
// a connection already; one that comes just to renew makes it.
func BenchmarkRenew(b *testing.B) {
	for name, connected := range map[string]bool{"connected": true, "connecting": false} {
		b.Run(name, func(b *testing.B) {
			r := newFleetRig(b)
			var x race
			var errs atomic.Pointer[error]
			check := func(err error) {
				if err != nil {
					errs.CompareAndSwap(nil, &err)
				}
			}
			for b.Loop() {
				devices := r.devices(b, batch)
				held := r.known(b, devices)
				callers := make([]*api.Client, batch)
				for i := range callers {
					callers[i] = r.caller(held[i])
				}
				if connected {
					each(batch, func(i int) { check(callers[i].Do(b.Context(), http.MethodPost, api.PathNonce, nil, nil)) })
				}
				x.clock(&x.raw, func() { each(batch, func(i int) { check(r.sign(devices[i])) }) })
				x.clock(&x.ours, func() {
					each(batch, func(i int) {
						var c api.Credential
						check(callers[i].Do(b.Context(), http.MethodPost, api.PathRenew, api.RenewRequest{CSR: devices[i].csr}, &c))
					})
				})
				failed(b, &errs)
				for _, c := range callers {
					c.HTTP.CloseIdleConnections()
				}
				x.n += batch
			}
			x.report(b, "renewals")
		})
	}
}
