package cli

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"troth/attest"
	"troth/attest/ek"
)

const maxCRL = 32 << 20

// ekAnswer is an EK certificate and how far it can be trusted.
type ekAnswer struct {
	Verified     bool             `json:"verified"`
	Problems     []attest.Problem `json:"problems"`
	DeviceID     string           `json:"device_id,omitempty"`
	Certificate  ekCertificate    `json:"certificate"`
	TPM          ek.Facts         `json:"tpm"`                    // what the certificate says of its TPM
	Manufacturer string           `json:"manufacturer,omitempty"` // of the roots
	RootSHA256   string           `json:"root_sha256,omitempty"`
	Chain        []ekCertificate  `json:"chain,omitempty"`
	CRL          *crlAnswer       `json:"crl,omitempty"`
}

type ekCertificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Serial    string    `json:"serial"`
	Key       string    `json:"key"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	SHA256    string    `json:"sha256"`
}

// Codes of an EK certificate that package ek does not have.
const (
	codeNoRoots    = "ek_no_roots"
	codeRevoked    = "ek_revoked"
	codeCRLUnknown = "ek_crl_unusable" // nothing can be said of revocation
)

func (a *app) attestEKCommand() *cobra.Command {
	var roots, crl string
	cmd := &cobra.Command{
		Use:   "ek FILE",
		Short: "Verify the certificate of an endorsement key",
		Long: `Verify an EK certificate (DER, as a TPM holds it, or PEM) against the certificates of
TPM makers, and say the device id that its key stands for.

The roots directory holds the makers' root and intermediate certificates (PEM or DER):
each subdirectory is a maker; the files beside them are makers of their own, or, where
that leads nowhere, one together. With --crl the certificate must not be revoked by
that list.

Exit status: 0 verified; 1 not; 3 could not be decided: no roots were given, or the CRL
is out of date or not of an issuer in the chain.`,
		Example: `  troth attest ek ek.der --roots makers/ -o json
  troth attest ek ek.der --roots makers/ --crl acme.crl`,
		Args: takes("FILE"),
		RunE: a.action(func(_ context.Context, args []string) error { return a.attestEK(args[0], roots, crl) }),
	}
	cmd.Flags().StringVar(&roots, "roots", "", "`DIR` of the makers' certificates")
	cmd.Flags().StringVar(&crl, "crl", "", "`FILE` of a certificate revocation list (DER or PEM)")
	return cmd
}

func (a *app) attestEK(file, rootsDir, crlFile string) error {
	if crlFile != "" && rootsDir == "" {
		return usagef("--crl needs --roots: a list counts only if an issuer in the chain signed it")
	}
	raw, err := a.readFile(file, maxBlob)
	if err != nil {
		return err
	}
	cert, err := ek.ParseCertificate(derOf(raw, "CERTIFICATE"))
	if err != nil {
		return ekFailure(err)
	}
	got := ekAnswer{Problems: []attest.Problem{}, Certificate: describe(cert), TPM: ek.ReadFacts(cert)}
	verdict := got.judgeKey(cert)
	if verdict == nil {
		verdict, err = a.judgeChain(&got, cert, rootsDir, crlFile)
		if err != nil {
			return err
		}
	}
	got.Verified = verdict == nil
	if verdict != nil {
		got.Problems = append(got.Problems, attest.Problem{Code: verdict.code, Severity: attest.SeverityError, Message: verdict.sentence})
	}
	if err := a.printer().print(got, func(p *page) { drawEK(p, got) }); err != nil || verdict == nil {
		return err
	}
	return a.after(verdict)
}

func (got *ekAnswer) judgeKey(cert *x509.Certificate) *failure {
	public, err := ek.Public(cert)
	if err != nil {
		return ekFailure(err)
	}
	got.DeviceID = ek.DeviceID(public)
	return nil
}

// judgeChain returns why the certificate is not verified; err says that what
// the command line names cannot be used.
func (a *app) judgeChain(got *ekAnswer, cert *x509.Certificate, rootsDir, crlFile string) (verdict *failure, err error) {
	if rootsDir == "" {
		return failf(exitUndecided, codeNoRoots, "no maker is trusted without --roots DIR"), nil
	}
	makers, err := readMakers(rootsDir)
	if err != nil {
		return nil, err
	}
	chain, err := makers.verify(cert, a.Now())
	if err != nil {
		return ekFailure(err), nil
	}
	got.Manufacturer, got.RootSHA256 = chain.Manufacturer, chain.RootSHA256
	for _, c := range chain.Certificates {
		got.Chain = append(got.Chain, describe(c))
	}
	if crlFile == "" {
		return nil, nil
	}
	raw, err := a.readFile(crlFile, maxCRL)
	if err != nil {
		return nil, err
	}
	list, err := x509.ParseRevocationList(derOf(raw, "X509 CRL"))
	if err != nil {
		return nil, failf(exitUsage, codeFile, "%s is no certificate revocation list: %s", crlFile, err)
	}
	got.CRL, verdict = checkCRL(list, chain.Certificates, a.Now())
	return verdict, nil
}

// ekFailure gives an EK's error its exit status.
func ekFailure(err error) *failure {
	var e *ek.Error
	if !errors.As(err, &e) {
		return failf(exitUndecided, codeLocal, "%s", err)
	}
	return failf(exitNo, e.Code, "%s", e.Message)
}

// derOf is the first PEM block of the type, or what there is if there is none.
func derOf(raw []byte, kind string) []byte {
	for rest := raw; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return raw
		}
		if block.Type == kind {
			return block.Bytes
		}
	}
}

func describe(c *x509.Certificate) ekCertificate {
	sum := sha256.Sum256(c.Raw)
	return ekCertificate{
		Subject: c.Subject.String(), Issuer: c.Issuer.String(), Serial: c.SerialNumber.Text(16), Key: c.PublicKeyAlgorithm.String(),
		NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(), SHA256: hex.EncodeToString(sum[:]),
	}
}

// describeTPM is what the certificate says of its TPM, in one line.
func describeTPM(f ek.Facts) string {
	words := []string{first(f.Manufacturer, f.ManufacturerID), f.Model, f.Version}
	if f.Specification != nil {
		words = append(words, fmt.Sprintf("TPM %s level %d revision %d", f.Specification.Family, f.Specification.Level, f.Specification.Revision))
	}
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), ", ")
}

func drawEK(p *page, got ekAnswer) {
	p.fields(
		[2]string{"Verified", yesNo(got.Verified)}, [2]string{"Device", got.DeviceID},
		[2]string{"Subject", got.Certificate.Subject}, [2]string{"Issuer", got.Certificate.Issuer},
		[2]string{"Serial", got.Certificate.Serial}, [2]string{"Key", got.Certificate.Key},
		[2]string{"Ends", got.Certificate.NotAfter.Format(time.DateOnly)},
		[2]string{"Maker", got.Manufacturer}, [2]string{"Root", got.RootSHA256},
		[2]string{"TPM", describeTPM(got.TPM)},
	)
	for i, c := range got.Chain {
		p.line("  %d  %s, until %s", i, first(c.Subject, "(no subject)"), c.NotAfter.Format(time.DateOnly))
	}
	drawProblems(p, got.Problems)
}

func drawProblems(p *page, problems []attest.Problem) {
	if len(problems) == 0 {
		return
	}
	p.gap()
	t := &table{head: []string{"SEVERITY", "CODE", "MESSAGE"}}
	for _, problem := range problems {
		t.add(string(problem.Severity), problem.Code, problem.Message)
	}
	p.table(t, "")
}
