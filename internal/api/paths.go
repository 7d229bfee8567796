package api

// Paths of the device API. Enrolment is authenticated by the protocol itself;
// the others need the device's client certificate.
const (
	PathEnrollments    = "/v1/enrollments"
	PathEnrollComplete = "/v1/enrollments/{id}/complete"
	PathNonce          = "/v1/device/nonce"
	PathCheckIn        = "/v1/device/check-in"
	PathRenew          = "/v1/device/renew"
	PathTUF            = "/tuf/" // metadata/ and targets/ below it
)

// Paths of the operator API, which need a bearer token.
const (
	PathLogin            = "/v1/login"
	PathWhoAmI           = "/v1/whoami"
	PathDevices          = "/v1/devices"
	PathDevice           = "/v1/devices/{id}"
	PathCertificates     = "/v1/devices/{id}/certificates"
	PathDeviceAction     = "/v1/devices/{id}/{action}"
	PathRegistrations    = "/v1/registrations"
	PathManufacturers    = "/v1/manufacturers"
	PathAlerts           = "/v1/alerts"
	PathAlertAcknowledge = "/v1/alerts/{id}/acknowledge"
	PathReleases         = "/v1/releases"
	PathRollouts         = "/v1/rollouts"
	PathRollout          = "/v1/rollouts/{id}"
	PathRolloutAction    = "/v1/rollouts/{id}/{action}"
	PathComplianceReport = "/v1/reports/compliance"
	PathEvents           = "/v1/events"
	PathTokens           = "/v1/tokens"
	PathAuthz            = "/authz"
	PathExtAuthz         = "/envoy.service.auth.v3.Authorization/Check" // gRPC
)

// Paths that need no credential.
const (
	PathHealthz = "/healthz"
	PathReadyz  = "/readyz"
)
