package httpapi

import (
	"bytes"
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"troth/internal/api"
	"troth/internal/device"
	"troth/internal/fleet"
)

func (e *edge) operatorRoutes() {
	get := func(id, path, summary string) huma.Operation {
		return huma.Operation{OperationID: id, Method: http.MethodGet, Path: path, Summary: summary, Tags: []string{"operator"}}
	}
	post := func(id, path, summary string) huma.Operation {
		return huma.Operation{OperationID: id, Method: http.MethodPost, Path: path, Summary: summary, Tags: []string{"operator"}}
	}
	byOperator(e, post("login", api.PathLogin, "Exchange the bootstrap token, once"), actionLogin, e.login)
	byOperator(e, get("whoami", api.PathWhoAmI, "Whose token this is"), actionWhoAmI, e.whoami)
	byOperator(e, post("create-token", api.PathTokens, "Make a token for another operator or program"), "token.create", e.createToken)

	byOperator(e, get("list-devices", api.PathDevices, "List devices"), "device.list", e.listDevices)
	byOperator(e, get("get-device", api.PathDevice, "One device with its posture"), "device.get", e.getDevice)
	for _, m := range []struct {
		action, summary string
		move            device.Move
	}{
		{"quarantine", "Refuse the device access and renewal", fleet.Device.Quarantine},
		{"release", "End a quarantine", fleet.Device.Release},
		{"retire", "End the device's life", fleet.Device.Retire},
	} {
		path := "/v1/devices/{id}/" + m.action
		byOperator(e, post(m.action+"-device", path, m.summary), "device."+m.action, e.moveDevice(m.action, m.move))
	}
	byOperator(e, get("list-certificates", api.PathCertificates, "A device's certificates, newest first, and what the CA knows of their end"), "certificate.list", e.listCertificates)
	byOperator(e, post("rotate-key-device", "/v1/devices/{id}/rotate-key", "Have the device replace its TLS key at its next check-in"), "device.rotate-key", e.change(e.Devices.RotateKey))
	byOperator(e, post("revoke-device", "/v1/devices/{id}/revoke", "End the device's certificates: it has to attest anew"), "device.revoke", e.change(e.Devices.Revoke))
	register := post("register-devices", api.PathRegistrations, "Make devices known by the hashes of their endorsement keys")
	register.MaxBodyBytes = 8 << 20
	byOperator(e, register, "device.register", e.register)
	byOperator(e, get("list-manufacturers", api.PathManufacturers, "Trusted makers of TPMs"), "manufacturer.list", e.listManufacturers)
	byOperator(e, post("add-manufacturer", api.PathManufacturers, "Trust a maker of TPMs"), "manufacturer.add", e.addManufacturer)

	byOperator(e, get("list-alerts", api.PathAlerts, "List alerts, newest first"), "alert.list", e.listAlerts)
	byOperator(e, post("acknowledge-alert", api.PathAlertAcknowledge, "Say that you have seen an alert"), "alert.acknowledge", e.acknowledgeAlert)
	byOperator(e, get("compliance-report", api.PathComplianceReport, "Compliance report over the whole fleet"), "report.compliance", e.complianceReport)
	byOperator(e, get("list-events", api.PathEvents, "What was done, newest first"), "event.list", e.listEvents)
	e.accessRoutes(get)
	e.rolloutRoutes(get, post)
	e.vulnerabilityRoutes(get, post)
	e.evidenceRoutes()
}

func (e *edge) login(ctx context.Context, t fleet.Token, in *struct{ Body api.LoginRequest }) (*body[api.Token], error) {
	text, token, err := e.Operators.Login(ctx, t, in.Body.Operator)
	return answer(api.Token{Token: text, Operator: token.Operator, Role: string(token.Role), ExpiresAt: token.ExpiresAt}, err)
}

func (e *edge) whoami(_ context.Context, t fleet.Token, _ *struct{}) (*body[api.WhoAmI], error) {
	return answer(api.WhoAmI{Operator: t.Operator, Role: string(t.Role), Scope: t.Scope.String(), ExpiresAt: t.ExpiresAt}, nil)
}

func (e *edge) createToken(ctx context.Context, t fleet.Token, in *struct{ Body api.TokenRequest }) (*body[api.Token], error) {
	life := time.Duration(in.Body.Hours) * time.Hour
	scope, err := fleet.ParseScope(in.Body.Scope)
	if err != nil {
		return nil, err
	}
	text, token, err := e.Operators.Create(ctx, t.Operator, in.Body.Operator, fleet.Role(in.Body.Role), scope, life)
	return answer(api.Token{Token: text, Operator: token.Operator, Role: string(token.Role), Scope: token.Scope.String(), ExpiresAt: token.ExpiresAt}, err)
}

// maxPage of a list of devices.
const maxPage = 1000

func (e *edge) listDevices(ctx context.Context, t fleet.Token, in *struct {
	Model     string `query:"model" maxLength:"64"`
	Lifecycle string `query:"lifecycle" enum:"pending,active,quarantined,retired"`
	Verdict   string `query:"verdict" enum:"compliant,noncompliant,error,unknown"`
	After     string `query:"after" maxLength:"64" doc:"the next of the page before"`
	Limit     int    `query:"limit" minimum:"1" maximum:"1000" default:"200"`
}) (*body[api.DeviceList], error) {
	now := e.Now()
	devices, err := e.Devices.List(ctx, fleet.DeviceFilter{
		Model: in.Model, Lifecycle: fleet.Lifecycle(in.Lifecycle), After: fleet.DeviceID(in.After), Scope: t.Scope, Limit: min(in.Limit, maxPage),
	})
	if err != nil {
		return nil, err
	}
	out := api.DeviceList{Devices: []api.Device{}}
	for _, d := range devices {
		// What is believed depends on the instant, so it is not a column.
		if in.Verdict == "" || in.Verdict == string(d.Believed(now)) {
			out.Devices = append(out.Devices, deviceView(d, now))
		}
	}
	if len(devices) == in.Limit {
		out.Next = string(devices[len(devices)-1].ID)
	}
	return answer(out, nil)
}

// ByID names what a route is about. It is exported for the sake of embedding:
// huma does not see the fields of an embedded unexported type.
type ByID struct {
	ID string `path:"id" maxLength:"128"`
}

func (e *edge) getDevice(ctx context.Context, _ fleet.Token, in *ByID) (*body[api.Device], error) {
	detail, err := e.Devices.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return answer(detailView(detail, e.Now()), nil)
}

func (e *edge) moveDevice(action string, move device.Move) func(context.Context, fleet.Token, *struct {
	ByID
	Body api.ReasonRequest
}) (*body[api.Device], error) {
	return func(ctx context.Context, t fleet.Token, in *struct {
		ByID
		Body api.ReasonRequest
	}) (*body[api.Device], error) {
		d, err := e.Devices.Move(ctx, in.ID, action, in.Body.Reason, t.Operator, move)
		return answer(deviceView(d, e.Now()), err)
	}
}

func (e *edge) register(ctx context.Context, t fleet.Token, in *struct{ Body api.RegistrationRequest }) (*body[api.RegistrationAnswer], error) {
	list := make([]device.Registration, len(in.Body.Devices))
	for i, r := range in.Body.Devices {
		list[i] = device.Registration{ID: fleet.DeviceID(r.EKHash), Name: r.Name, Model: r.Model, Labels: r.Labels}
	}
	registered, known, err := e.Devices.Register(ctx, list, t.Operator)
	return answer(api.RegistrationAnswer{Registered: registered, Known: known}, err)
}

func (e *edge) listManufacturers(ctx context.Context, _ fleet.Token, _ *struct{}) (*body[api.ManufacturerList], error) {
	makers, err := e.Devices.Manufacturers(ctx)
	out := api.ManufacturerList{Manufacturers: []api.Manufacturer{}}
	for _, m := range makers {
		out.Manufacturers = append(out.Manufacturers, manufacturerView(m))
	}
	return answer(out, err)
}

func (e *edge) addManufacturer(ctx context.Context, t fleet.Token, in *struct{ Body api.ManufacturerRequest }) (*body[api.Manufacturer], error) {
	m, err := e.Devices.AddManufacturer(ctx, in.Body.Name, in.Body.PEM, t.Operator)
	return answer(manufacturerView(m), err)
}

func (e *edge) listAlerts(ctx context.Context, _ fleet.Token, in *struct {
	All   bool `query:"all" doc:"resolved ones too"`
	Limit int  `query:"limit" minimum:"1" maximum:"1000" default:"200"`
}) (*body[api.AlertList], error) {
	alerts, err := e.Alerts.List(ctx, fleet.AlertFilter{Open: !in.All, Limit: in.Limit})
	out := api.AlertList{Alerts: []api.Alert{}}
	for _, a := range alerts {
		out.Alerts = append(out.Alerts, alertView(a, e.nameOf(ctx, a.Device)))
	}
	return answer(out, err)
}

func (e *edge) acknowledgeAlert(ctx context.Context, t fleet.Token, in *ByID) (*body[api.Alert], error) {
	a, err := e.Alerts.Acknowledge(ctx, in.ID, t.Operator)
	return answer(alertView(a, e.nameOf(ctx, a.Device)), err)
}

func (e *edge) listEvents(ctx context.Context, _ fleet.Token, in *struct {
	Subject string `query:"subject" maxLength:"128"`
	Limit   int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}) (*body[api.EventList], error) {
	events, err := e.Records.Events(ctx, in.Subject, in.Limit)
	out := api.EventList{Events: []api.Event{}}
	for _, ev := range events {
		out.Events = append(out.Events, api.Event{At: ev.At, Actor: ev.Actor, Action: ev.Action, Subject: ev.Subject, Detail: ev.Detail})
	}
	return answer(out, err)
}

type document struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func (e *edge) complianceReport(ctx context.Context, _ fleet.Token, in *struct {
	Format string `query:"format" enum:"json,html,csv" default:"json"`
}) (*document, error) {
	r, err := e.Reports.Compliance(ctx)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	d := &document{}
	switch in.Format {
	case "html":
		d.ContentType, err = "text/html; charset=utf-8", r.WriteHTML(&out)
	case "csv":
		d.ContentType, err = "text/csv; charset=utf-8", r.WriteCSV(&out)
	default:
		d.ContentType, err = "application/json", r.WriteJSON(&out)
	}
	d.Body = out.Bytes()
	return d, err
}

// nameOf is a device's name, where it can be found.
func (e *edge) nameOf(ctx context.Context, id fleet.DeviceID) string {
	if id == "" {
		return ""
	}
	d, err := e.Records.Device(ctx, id)
	if err != nil {
		return ""
	}
	return d.Name
}
