package vault

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/vault/api"

	"troth/ca"
)

// listMountIssuers maps the names and ids of a mount's issuers to their ids.
func listMountIssuers(ctx context.Context, client *api.Client, mount string) (map[string]string, error) {
	answer, err := client.Logical().ListWithContext(ctx, mount+"/issuers")
	if err != nil || answer == nil {
		return nil, absent(err)
	}
	issuers := map[string]string{}
	infos, _ := answer.Data["key_info"].(map[string]any)
	for id, info := range infos {
		issuers[id] = id
		if fields, ok := info.(map[string]any); ok {
			if name, _ := fields["issuer_name"].(string); name != "" {
				issuers[name] = id
			}
		}
	}
	return issuers, nil
}

// settleIssuer sees to the issuer that the role is pinned to. It returns the CSR
// that waits for a signature elsewhere, if one does.
func (b BootstrapConfig) settleIssuer(ctx context.Context, client *api.Client, options Options) (Step, string, error) {
	step := Step{What: "issuer " + b.Issuer, Path: b.Mount + "/issuer/" + b.Issuer, State: Unchanged}
	issuers, err := listMountIssuers(ctx, client, b.Mount)
	if err != nil {
		return step, "", err
	}
	if issuers[b.Issuer] != "" || (b.Issuer == "default" && len(issuers) > 0) {
		return step, "", nil
	}
	if b.Issuer != ownRoot && b.Issuer != ownIntermediate {
		return step, "", fmt.Errorf("the mount %s has no issuer of this name", b.Mount)
	}
	step.State = Missing
	switch {
	case b.CSR && b.Signed == "":
		step.Note = "a CSR for the root elsewhere would be made"
	case b.RootMount != "":
		step.Note = "would be signed by " + b.RootMount
	}
	if options.DryRun {
		return step, "", nil
	}
	step.State, step.Note = Created, ""
	if !b.intermediate() {
		return step, "", b.makeRoot(ctx, client)
	}
	if b.Signed != "" {
		return step, "", b.importSigned(ctx, client, b.Signed)
	}
	csr, err := b.makeCSR(ctx, client)
	if err != nil {
		return step, "", err
	}
	if b.CSR {
		step.State, step.Note = Waiting, "have the CSR signed as a CA with path length 0, then run this again with the signed certificate"
		return step, csr, nil
	}
	signed, err := b.signByRoot(ctx, client, csr)
	if err != nil {
		return step, "", err
	}
	return step, "", b.importSigned(ctx, client, signed)
}

// subject is what names an issuer that we have made.
func (b BootstrapConfig) subject() map[string]any {
	return map[string]any{
		"common_name":          "Troth device CA " + b.TrustDomain,
		"exclude_cn_from_sans": true,
		"uri_sans":             "spiffe://" + b.TrustDomain,
		"organization":         "Troth",
	}
}

func (b BootstrapConfig) rootRequest() map[string]any {
	request := b.subject()
	for name, value := range map[string]any{
		"issuer_name": ownRoot, "key_name": ownRoot, "key_type": "ec", "key_bits": 256,
		"max_path_length": 0, "ttl": seconds(b.RootTTL),
		// Vault refuses a certificate that begins before its issuer does, so
		// the root is backdated at least as far as the role backdates.
		"not_before_duration": seconds(2 * ca.MaxBackdate),
	} {
		request[name] = value
	}
	return request
}

func (b BootstrapConfig) makeRoot(ctx context.Context, client *api.Client) error {
	_, err := client.Logical().WriteWithContext(ctx, b.Mount+"/root/generate/internal", b.rootRequest())
	return err
}

// makeCSR has the intermediate's key made, unless an earlier run did, and its
// CSR written.
func (b BootstrapConfig) makeCSR(ctx context.Context, client *api.Client) (string, error) {
	answer, err := client.Logical().ListWithContext(ctx, b.Mount+"/keys")
	if err := absent(err); err != nil {
		return "", err
	}
	request, kind := b.subject(), "internal"
	request["key_type"], request["key_bits"], request["key_name"] = "ec", 256, ownIntermediate
	if answer != nil {
		infos, _ := answer.Data["key_info"].(map[string]any)
		for _, info := range infos {
			if fields, ok := info.(map[string]any); ok && fields["key_name"] == ownIntermediate {
				kind, request["key_ref"] = "existing", ownIntermediate
				delete(request, "key_type")
				delete(request, "key_bits")
				delete(request, "key_name")
			}
		}
	}
	made, err := client.Logical().WriteWithContext(ctx, b.Mount+"/intermediate/generate/"+kind, request)
	if err != nil {
		return "", err
	}
	csr := ""
	if made != nil {
		csr, _ = made.Data["csr"].(string)
	}
	if block, _ := pem.Decode([]byte(csr)); block == nil {
		return "", errors.New("vault answers without a CSR")
	}
	return strings.TrimSpace(csr) + "\n", nil
}

func (b BootstrapConfig) signingRequest() map[string]any {
	return map[string]any{
		"use_csr_values": true, "max_path_length": 0, "ttl": seconds(b.RootTTL), "format": "pem_bundle",
		"not_before_duration": seconds(2 * ca.MaxBackdate),
	}
}

func (b BootstrapConfig) signByRoot(ctx context.Context, client *api.Client, csr string) (string, error) {
	reference := b.RootIssuer
	setDefault(&reference, "default")
	request := b.signingRequest()
	request["csr"] = csr
	answer, err := client.Logical().WriteWithContext(ctx, b.RootMount+"/issuer/"+reference+"/sign-intermediate", request)
	if err != nil {
		return "", fmt.Errorf("sign by %s: %w", b.RootMount, err)
	}
	if answer == nil {
		return "", errors.New("vault answers without a certificate")
	}
	text, _ := answer.Data["certificate"].(string)
	for _, link := range list(answer.Data["ca_chain"]) {
		if !strings.Contains(text, strings.TrimSpace(link)) {
			text += "\n" + link
		}
	}
	return text, nil
}

// importSigned brings the signed intermediate, and those above it, to its key.
func (b BootstrapConfig) importSigned(ctx context.Context, client *api.Client, signed string) error {
	csr, err := b.makeCSR(ctx, client)
	if err != nil {
		return err
	}
	if err := checkSigned(csr, signed); err != nil {
		return err
	}
	answer, err := client.Logical().WriteWithContext(ctx, b.Mount+"/intermediate/set-signed", map[string]any{"certificate": signed})
	if err != nil {
		return err
	}
	if answer == nil {
		return errors.New("vault answers nothing")
	}
	mapping, _ := answer.Data["mapping"].(map[string]any)
	id := ""
	for issuer, key := range mapping {
		if key != "" {
			id = issuer
		}
	}
	if id == "" {
		return errors.New("vault has imported no issuer with a key")
	}
	// A certificate that would outlive the issuer is shortened, not refused.
	_, err = client.Logical().WriteWithContext(ctx, b.Mount+"/issuer/"+id,
		map[string]any{"issuer_name": ownIntermediate, "leaf_not_after_behavior": "truncate"})
	return err
}

// checkSigned looks at what is to be imported, since Vault would also take up
// certificates that have nothing to do with us.
func checkSigned(csr, signed string) error {
	block, _ := pem.Decode([]byte(csr))
	if block == nil {
		return errors.New("not a PEM CSR")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return fmt.Errorf("parse CSR: %w", err)
	}
	var chain []*x509.Certificate
	for rest := []byte(signed); ; {
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		link, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("parse what was signed: %w", err)
		}
		if last := len(chain) - 1; last >= 0 && chain[last].CheckSignatureFrom(link) != nil {
			return fmt.Errorf("what was signed is no chain: %s did not sign %s", link.Subject, chain[last].Subject)
		}
		chain = append(chain, link)
	}
	switch {
	case len(chain) == 0:
		return errors.New("what was signed holds no PEM certificate")
	case !bytes.Equal(chain[0].RawSubjectPublicKeyInfo, request.RawSubjectPublicKeyInfo):
		return errors.New("what was signed is not for the key in this mount: sign the CSR that was made for it, and put its certificate first")
	case !chain[0].IsCA || chain[0].KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New("what was signed is no CA certificate")
	}
	return nil
}

func parseCertificate(text string) (*x509.Certificate, error) {
	der, err := decodeCertificate(text)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
