package httpapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"troth/internal/api"
	"troth/internal/enroll"
	"troth/internal/evidence"
	"troth/internal/posture"
)

func (e *edge) deviceRoutes() {
	open(e, huma.Operation{
		OperationID: "begin-enrolment", Method: http.MethodPost, Path: api.PathEnrollments, Tags: []string{"device"},
		Summary: "Begin an enrolment: show the TPM's keys, receive a challenge",
	}, e.enrolls, e.beginEnrolment)
	open(e, huma.Operation{
		OperationID: "complete-enrolment", Method: http.MethodPost, Path: api.PathEnrollComplete, Tags: []string{"device"},
		Summary:      "Complete an enrolment: answer the challenge, receive a certificate",
		MaxBodyBytes: maxEvidenceBody, BodyReadTimeout: evidenceTime, Middlewares: huma.Middlewares{e.heavy(e.enrolling)},
	}, e.enrolls, e.completeEnrolment)
	byDevice(e, huma.Operation{
		OperationID: "nonce", Method: http.MethodPost, Path: api.PathNonce, Tags: []string{"device"},
		Summary: "A fresh nonce for the next check-in",
	}, e.nonce)
	byDevice(e, huma.Operation{
		OperationID: "check-in", Method: http.MethodPost, Path: api.PathCheckIn, Tags: []string{"device"},
		Summary:      "Check in with fresh evidence",
		MaxBodyBytes: maxEvidenceBody, BodyReadTimeout: evidenceTime, Middlewares: huma.Middlewares{e.heavy(e.checkIns)},
	}, e.checkIn)
	byDevice(e, huma.Operation{
		OperationID: "renew", Method: http.MethodPost, Path: api.PathRenew, Tags: []string{"device"},
		Summary: "Renew the certificate of a device, for its key or for a new one, where policy allows it",
	}, e.renew)
	decodedAnyway(e.api.OpenAPI().Components.Schemas.SchemaFromRef("#/components/schemas/Log").Properties["content"])
}

// decodedAnyway has a base64 text of up to megabytes checked once, where it is
// decoded, and not before by a regular expression as well, which takes longer than
// all else that is done to a log. The documentation says the same as before.
func decodedAnyway(s *huma.Schema) {
	s.Extensions = map[string]any{"contentEncoding": s.ContentEncoding}
	s.ContentEncoding = ""
}

func (e *edge) beginEnrolment(ctx context.Context, in *struct{ Body api.EnrollRequest }) (*body[api.EnrollChallenge], error) {
	c, err := e.Enroll.Begin(ctx, enroll.Claim{
		EKCertificate: in.Body.EKCertificate, EKPublic: in.Body.EKPublic, EKChain: in.Body.EKChain,
		EKTemplate: in.Body.EKTemplate, EKNonce: in.Body.EKNonce,
		DevIDPublic: in.Body.IDevIDPublic, DevIDChain: in.Body.IDevIDChain,
		AKPublic: in.Body.AKPublic, TLSPublic: in.Body.TLSPublic, Model: in.Body.Model, Name: in.Body.Name,
	})
	return answer(api.EnrollChallenge{
		ID: c.ID, DeviceID: string(c.Device), CredentialBlob: c.CredentialBlob, EncryptedSecret: c.EncryptedSecret,
		Nonce: c.Nonce, URI: c.URI, Selection: c.Selection, ExpiresAt: c.ExpiresAt,
	}, err)
}

func (e *edge) completeEnrolment(ctx context.Context, in *struct {
	ID   string `path:"id" maxLength:"64"`
	Body api.EnrollProof
}) (*body[api.Credential], error) {
	c, err := e.Enroll.Complete(ctx, in.ID, enroll.Proof{
		Secret: in.Body.Secret, Evidence: submission(in.Body.Evidence),
		CertifyInfo: in.Body.CertifyInfo, CertifySignature: in.Body.CertifySignature, CSR: in.Body.CSR,
		DevIDCertifyInfo: in.Body.IDevIDCertifyInfo, DevIDCertifySignature: in.Body.IDevIDCertifySignature,
	})
	return answer(credential(c), err)
}

func (e *edge) nonce(ctx context.Context, c caller, _ *struct{}) (*body[api.Nonce], error) {
	n, err := e.Posture.Nonce(ctx, c.id)
	return answer(api.Nonce{Nonce: n.Nonce, Selection: n.Selection, IMAEntries: n.IMAEntries}, err)
}

func (e *edge) checkIn(ctx context.Context, c caller, in *struct{ Body api.CheckInRequest }) (*body[api.CheckInAnswer], error) {
	a, err := e.Posture.CheckIn(ctx, posture.CheckIn{
		Device: c.id, ClientKey: c.key, Nonce: in.Body.Nonce, Evidence: submission(in.Body.Evidence),
	})
	if err != nil {
		return nil, err
	}
	out := api.CheckInAnswer{
		Verdict: string(a.Posture.Verdict), Lifecycle: string(a.Device.Lifecycle), Firmware: a.Device.FirmwareVersion,
		Nonce: a.Nonce, NextSeconds: max(1, int(a.Next.Seconds())), IMAEntries: a.IMAEntries,
		TrustBundle: e.trustDigest(),
	}
	out.Certificate = string(enroll.WishOf(a.Device, c.shown))
	for _, control := range a.Posture.Controls {
		if control.Failing() && !control.Advisory {
			out.Findings = append(out.Findings, api.Finding{Control: control.ID, Reason: control.Reason})
		}
	}
	if r := a.Install; r != nil {
		out.Assignment = &api.Assignment{Rollout: r.ID, Target: r.Target, Version: r.Version, Counter: r.Counter}
	}
	return answer(out, nil)
}

func (e *edge) renew(ctx context.Context, c caller, in *struct{ Body api.RenewRequest }) (*body[api.Credential], error) {
	r := enroll.Renewal{Certificate: c.shown, CSR: in.Body.CSR}
	if k := in.Body.NewKey; k != nil {
		r.NewKey = &enroll.NewKey{Nonce: k.Nonce, Public: k.TLSPublic, CertifyInfo: k.CertifyInfo, CertifySignature: k.CertifySignature}
	}
	issued, err := e.Enroll.Renew(ctx, r)
	return answer(credential(issued), err)
}

func submission(in api.Evidence) evidence.Submission {
	return evidence.Submission{
		Quote: in.Quote, Signature: in.Signature, PCRs: in.PCRs, Reported: in.Reported,
		EventLog: submittedLog(in.EventLog), IMA: submittedLog(in.IMA), IMAFrom: in.IMAFrom, Userspace: submittedLog(in.Userspace),
	}
}

func submittedLog(l *api.Log) *evidence.Log {
	if l == nil {
		return nil
	}
	return &evidence.Log{SHA256: l.SHA256, Content: l.Content}
}

func credential(c enroll.Credential) api.Credential {
	out := api.Credential{
		DeviceID: string(c.Device), Certificate: c.Certificate.DER, Chain: c.Certificate.Chain,
		NotAfter: c.Certificate.NotAfter, Nonce: c.Nonce,
	}
	for _, root := range c.TrustBundle {
		out.TrustBundle = append(out.TrustBundle, root.Raw)
	}
	return out
}
