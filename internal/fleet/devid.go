package fleet

// DevID is what a device's manufacturer says of it by an IDevID or IAK, a key in
// the TPM with a certificate of its own (TCG "TPM 2.0 Keys for Device Identity and
// Attestation").
type DevID struct {
	Kind         string // "idevid" or "iak"; empty: none was shown, or its key cannot be read
	Manufacturer string // whose root the certificate led to; empty: it was not verified
	Serial       string // of the device; the manufacturer's word, empty where it was not verified
	Model        string // likewise
	// Problem is a code of package attest/idevid or attest: why there is no
	// Manufacturer, or with one a warning. Empty: none.
	Problem string
}

// Given says whether the device showed one.
func (d DevID) Given() bool { return d.Kind != "" || d.Problem != "" }
