// Package httpapi is the edge: it authenticates, decodes, calls one use case,
// and encodes the answer. It decides nothing. Every route is registered with
// how its caller is known (routes.go); there is no other way to add one.
package httpapi

import (
	"context"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"golang.org/x/time/rate"

	"troth/internal/access"
	"troth/internal/alert"
	"troth/internal/api"
	"troth/internal/decision"
	"troth/internal/device"
	"troth/internal/enroll"
	"troth/internal/fleet"
	"troth/internal/operator"
	"troth/internal/posture"
	"troth/internal/report"
	"troth/internal/rollout"
	"troth/internal/vuln"
)

// Records are what the edge itself looks up.
type Records interface {
	Device(ctx context.Context, id fleet.DeviceID) (fleet.Device, error)
	CertificateBySerial(ctx context.Context, serial string) (fleet.Certificate, error)
	Events(ctx context.Context, subject string, limit int) ([]fleet.Event, error)
}

// Config is what the edge stands in front of.
type Config struct {
	Enroll   *enroll.Service
	Posture  *posture.Service
	Devices  *device.Service
	Alerts   *alert.Service
	Rollouts *rollout.Service
	// Vulnerabilities compares releases with imported records.
	Vulnerabilities *vuln.Service
	Access          *access.Service
	Operators       *operator.Service
	Reports         *report.Service
	// Decided is the decision log.
	Decided *decision.Log
	Results Results
	CA      CA
	Policies
	Catalog  ReleaseCatalog
	Records  Records
	Firmware fs.FS // the TUF repository: metadata/ and targets/
	// Ready returns what keeps the service from its work, by name; empty: nothing.
	Ready   func(ctx context.Context) map[string]error
	Version string
	Log     *slog.Logger
	Now     func() time.Time
}

// Limits of requests.
const (
	maxBody         = 1 << 20          // bytes, unless a route says otherwise
	maxEvidenceBody = 32 << 20         // bytes; holds measurement logs in base64
	maxCheckIns     = 64               // at once
	maxEnrolments   = 16               // at once; apart, because anybody may try to enrol
	evidenceTime    = 15 * time.Second // for a slow link to send its logs, within answerTime
	enrollRate      = 50               // per second and address
	enrollBurst     = 200
)

type edge struct {
	Config
	api       huma.API
	mux       *http.ServeMux
	checkIns  chan struct{} // a place for each call that carries evidence
	enrolling chan struct{} // likewise
	enrolls   *perAddress
	guesses   *perAddress // wrong tokens
}

// New returns the handler of the whole service.
func New(c Config) http.Handler {
	mux := http.NewServeMux()
	config := huma.DefaultConfig("Troth", c.Version)
	config.Info.Description = "Attestation and compliance service for fleets of devices."
	config.CreateHooks = nil // no $schema links in answers
	config.DocsPath = ""     // the documentation page would load scripts of others
	config.Transformers = []huma.Transformer{transformProblem}
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token":  {Type: "http", Scheme: "bearer"},
		"device": {Type: "mutualTLS"},
	}
	e := &edge{
		Config: c, mux: mux, api: humago.New(mux, config),
		checkIns: make(chan struct{}, maxCheckIns), enrolling: make(chan struct{}, maxEnrolments),
		enrolls: newPerAddress(enrollRate, enrollBurst), guesses: newPerAddress(rate.Every(time.Second), 10),
	}
	e.deviceRoutes()
	e.operatorRoutes()
	e.decisionRoutes()
	e.resultRoutes()
	e.authorityRoutes()
	e.policyRoutes()
	e.fileRoutes()
	// Errors have our own form, not huma's, which it documents all the same.
	delete(e.api.OpenAPI().Components.Schemas.Map(), "ErrorModel")
	delete(e.api.OpenAPI().Components.Schemas.Map(), "ErrorDetail")
	return e.envelope(served(mux))
}

func (e *edge) fileRoutes() {
	e.mux.Handle("GET "+api.PathTUF, e.deviceOnly(http.StripPrefix(api.PathTUF, problems(http.FileServerFS(filesOnly{e.Firmware})))))
	e.mux.HandleFunc("GET "+api.PathHealthz, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	e.mux.HandleFunc("GET "+api.PathReadyz, e.readyz)
}

// readyz says no with reasons while the service cannot do its work. The reasons
// are names of what is away; the causes are in the log.
func (e *edge) readyz(w http.ResponseWriter, r *http.Request) {
	problems := e.Ready(r.Context())
	if len(problems) == 0 {
		_, _ = w.Write([]byte("ok\n"))
		return
	}
	p := &api.Problem{Code: "not_ready", Detail: "the service cannot do its work"}
	for name, err := range problems {
		p.Errors = append(p.Errors, name)
		e.Log.WarnContext(r.Context(), "not ready", "dependency", name, "error", err)
	}
	writeProblem(w, r, http.StatusServiceUnavailable, p)
}

// filesOnly hides directories, so that nothing is listed.
type filesOnly struct{ fs.FS }

func (f filesOnly) Open(name string) (fs.File, error) {
	file, err := f.FS.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil || info.IsDir() {
		_ = file.Close()
		return nil, fs.ErrNotExist
	}
	return file, nil
}
