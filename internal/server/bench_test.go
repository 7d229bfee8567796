package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"troth/internal/api"
)

// batch is how many devices one iteration of a benchmark serves.
const batch = 128

// cost is what somebody took: by the clock, and of the processors of those who
// took part.
type cost struct{ clock, caller, service, vault time.Duration }

// race compares what Vault takes for requests to sign that come straight to it,
// and the service for as many of its own, in turns on the same Vault.
type race struct {
	rig       *fleetRig
	raw, ours cost
	n         int
	err       atomic.Pointer[error]
}

func (x *race) check(err error) {
	if err != nil {
		x.err.CompareAndSwap(nil, &err)
	}
}

// measure adds what it costs to do something for each device of a batch.
func (x *race) measure(b *testing.B, c *cost, do func(i int) error) {
	b.Helper()
	read := func() cost {
		return cost{caller: ownTime(b), service: processorTime(b, x.rig.pid), vault: processorTime(b, x.rig.vault.PID())}
	}
	before, began := read(), time.Now()
	each(batch, func(i int) { x.check(do(i)) })
	c.clock += time.Since(began)
	after := read()
	c.caller += after.caller - before.caller
	c.service += after.service - before.service
	c.vault += after.vault - before.vault
	if err := x.err.Load(); err != nil {
		b.Fatal(*err)
	}
}

func (x *race) report(b *testing.B, unit string) {
	b.Helper()
	per := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(x.n) }
	b.ReportMetric(0, "ns/op") // holds the devices' own work
	b.ReportMetric(float64(x.n)/x.raw.clock.Seconds(), "signs/s")
	b.ReportMetric(float64(x.n)/x.ours.clock.Seconds(), unit+"/s")
	b.ReportMetric(x.raw.clock.Seconds()/x.ours.clock.Seconds(), "x/sign")
	b.ReportMetric((x.raw.caller+x.raw.vault).Seconds()/(x.ours.service+x.ours.vault).Seconds(), "x/sign-cpu")
	b.ReportMetric(per(x.raw.vault), "rawvault-µs")
	b.ReportMetric(per(x.raw.caller), "rawcaller-µs")
	b.ReportMetric(per(x.ours.vault), "vault-µs")
	b.ReportMetric(per(x.ours.service), "service-µs")
	b.ReportMetric(per(x.ours.caller), "device-µs")
}

// line is a device's connection to the service.
type line struct {
	conn *tls.Conn
	in   *bufio.Reader
}

// dial connects from an address of its own, up to the end of the TLS handshake.
func (r *fleetRig) dial(ctx context.Context, cert *tls.Certificate) (*line, error) {
	raw, err := r.ownAddress().DialContext(ctx, "tcp", r.address())
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: r.trusted, MinVersion: tls.VersionTLS13, ServerName: "127.0.0.1"}
	if cert != nil {
		config.Certificates = []tls.Certificate{*cert}
	}
	conn := tls.Client(raw, config)
	return &line{conn: conn, in: bufio.NewReader(conn)}, conn.HandshakeContext(ctx)
}

// post sends a request as it is written in advance, and returns the body of the
// answer, which is to be 200.
func (l *line) post(request []byte) ([]byte, error) {
	if _, err := l.conn.Write(request); err != nil {
		return nil, err
	}
	answer, err := http.ReadResponse(l.in, nil)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("the service answers %s: %s", answer.Status, text)
	}
	return text, err
}

// written is a request as it goes over the line.
func written(t testing.TB, path string, body any) []byte {
	t.Helper()
	text := must(json.Marshal(body))(t)
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", path, len(text))
	return append([]byte(head), text...)
}

// read decodes an answer.
func read[T any](t testing.TB, text []byte) (v T) {
	t.Helper()
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// BenchmarkEnrol enrols devices over HTTPS, each on a connection of its own, from
// its handshake to its certificate, and compares that with raw pki/sign calls.
//
// On the side of the service: everything that its process and Vault's do from the
// first packet of a device to the last byte of its answer. On the raw side: Vault,
// and a client that writes the same request and reads the answer without looking
// into it, over connections that are kept, as the service's are.
//
// On neither side is what a device does by itself: its keys, its TPM's answers and
// the JSON around them are made between the measured parts. What is left of it,
// TLS and the reading and writing, must happen meanwhile: it is in the time by the
// clock (x/sign), because both share this machine's processors, and not in the
// processor time (x/sign-cpu), by which a service's machine is as much slower than
// a Vault alone.
func BenchmarkEnrol(b *testing.B) {
	x := race{rig: newFleetRigAlone(b)}
	for b.Loop() {
		devices := x.rig.devices(b, batch)
		lines, requests, answers := make([]*line, batch), make([][]byte, batch), make([][]byte, batch)
		challenges := make([]api.EnrollChallenge, batch)
		for i, d := range devices {
			requests[i] = written(b, api.PathEnrollments, d.intro)
		}
		x.measure(b, &x.raw, func(i int) error { return x.rig.sign(devices[i]) })
		x.measure(b, &x.ours, func(i int) (err error) {
			if lines[i], err = x.rig.dial(b.Context(), nil); err != nil {
				return err
			}
			answers[i], err = lines[i].post(requests[i])
			return err
		})
		each(batch, func(i int) {
			challenges[i] = read[api.EnrollChallenge](b, answers[i])
			requests[i] = written(b, api.Path(api.PathEnrollComplete, challenges[i].ID), devices[i].answer(b, challenges[i]))
		})
		x.measure(b, &x.ours, func(i int) (err error) {
			answers[i], err = lines[i].post(requests[i])
			return err
		})
		for i := range lines {
			devices[i].holds(b, read[api.Credential](b, answers[i]))
			_ = lines[i].conn.Close()
		}
		x.n += batch
	}
	x.report(b, "enrolments")
}

// BenchmarkRenew renews certificates over mutual TLS. A device that checks in has
// a connection already; one that comes just to renew makes it.
func BenchmarkRenew(b *testing.B) {
	for _, connected := range []bool{true, false} {
		name := map[bool]string{true: "connected", false: "connecting"}[connected]
		b.Run(name, func(b *testing.B) {
			x := race{rig: newFleetRigAlone(b)}
			for b.Loop() {
				devices := x.rig.devices(b, batch)
				held := x.rig.known(b, devices)
				lines, requests, answers := make([]*line, batch), make([][]byte, batch), make([][]byte, batch)
				for i, d := range devices {
					requests[i] = written(b, api.PathRenew, api.RenewRequest{CSR: d.csr})
				}
				connect := func(i int) (err error) {
					lines[i], err = x.rig.dial(b.Context(), held[i])
					return err
				}
				if connected {
					nonce := written(b, api.PathNonce, struct{}{})
					each(batch, func(i int) {
						x.check(connect(i))
						_, err := lines[i].post(nonce)
						x.check(err)
					})
				}
				x.measure(b, &x.raw, func(i int) error { return x.rig.sign(devices[i]) })
				x.measure(b, &x.ours, func(i int) (err error) {
					if !connected {
						if err = connect(i); err != nil {
							return err
						}
					}
					answers[i], err = lines[i].post(requests[i])
					return err
				})
				for i := range lines {
					devices[i].holds(b, read[api.Credential](b, answers[i]))
					_ = lines[i].conn.Close()
				}
				x.n += batch
			}
			x.report(b, "renewals")
		})
	}
}

// holds says whether a credential is for the device's key.
func (d *paperDevice) holds(t testing.TB, c api.Credential) {
	t.Helper()
	if leaf := must(x509.ParseCertificate(c.Certificate))(t); !d.tls.PublicKey.Equal(leaf.PublicKey) {
		t.Fatal("the certificate is for another key")
	}
}
