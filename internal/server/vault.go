package server

import (
	"errors"
	"fmt"
	"time"

	"troth/ca"
	"troth/ca/vault"
)

// VaultConfig is a Vault PKI secrets engine, and one way to log in to it.
type VaultConfig struct {
	Address    string `json:"address"`
	Namespace  string `json:"namespace"`
	CACert     string `json:"ca_cert"`     // file
	ServerName string `json:"server_name"` // that Vault's certificate must bear; the address's host
	TLSMin     string `json:"tls_min"`     // 1.2 or 1.3; 1.3
	Proxy      string `json:"proxy"`       // http://HOST:PORT; none
	Mount      string `json:"mount"`
	Role       string `json:"role"`
	Issuer     string `json:"issuer"`

	TokenFile string `json:"token_file"`

	RoleID              string `json:"role_id"`                // AppRole, with
	SecretIDFile        string `json:"secret_id_file"`         // its secret or
	WrappedSecretIDFile string `json:"wrapped_secret_id_file"` // a wrapping token around it
	AppRoleMount        string `json:"app_role_mount"`

	KubernetesRole      string `json:"kubernetes_role"` // login as a pod's service account
	KubernetesTokenFile string `json:"kubernetes_token_file"`
	KubernetesMount     string `json:"kubernetes_mount"`

	CertFile  string `json:"cert_file"` // login by TLS client certificate
	KeyFile   string `json:"key_file"`
	CertRole  string `json:"cert_role"`
	CertMount string `json:"cert_mount"`
}

// validate says what is wrong after the name of the section.
func (v *VaultConfig) validate() error {
	if v.Address == "" {
		return errors.New(".address is missing")
	}
	ways := 0
	for _, key := range []string{v.TokenFile, v.RoleID, v.KubernetesRole, v.CertFile} {
		if key != "" {
			ways++
		}
	}
	if ways != 1 {
		return errors.New(" needs one of token_file, role_id, kubernetes_role and cert_file")
	}
	if v.RoleID != "" && (v.SecretIDFile == "") == (v.WrappedSecretIDFile == "") {
		return errors.New(".role_id needs one of secret_id_file and wrapped_secret_id_file")
	}
	if v.CertFile != "" && v.KeyFile == "" {
		return errors.New(".cert_file needs key_file")
	}
	if v.TLSMin != "" && v.TLSMin != "1.2" && v.TLSMin != "1.3" {
		return fmt.Errorf(".tls_min is \"1.2\" or \"1.3\", not %q", v.TLSMin)
	}
	return nil
}

func openVault(v *VaultConfig, trustDomain string) (ca.Issuer, error) {
	config := vault.Config{
		Address: v.Address, Namespace: v.Namespace, Proxy: v.Proxy,
		CACert: v.CACert, ServerName: v.ServerName, TLS12: v.TLSMin == "1.2",
		Mount: v.Mount, Role: v.Role, Issuer: v.Issuer,
		TrustDomain: trustDomain, TokenFile: v.TokenFile, Now: time.Now,
	}
	switch {
	case v.RoleID != "":
		config.AppRole = &vault.AppRole{
			RoleID: v.RoleID, SecretIDFile: v.SecretIDFile, WrappedSecretIDFile: v.WrappedSecretIDFile, Mount: v.AppRoleMount,
		}
	case v.KubernetesRole != "":
		config.Kubernetes = &vault.Kubernetes{Role: v.KubernetesRole, TokenFile: v.KubernetesTokenFile, Mount: v.KubernetesMount}
	case v.CertFile != "":
		config.Certificate = &vault.Certificate{Role: v.CertRole, CertFile: v.CertFile, KeyFile: v.KeyFile, Mount: v.CertMount}
	}
	authority, err := vault.New(config)
	if err != nil {
		return nil, fmt.Errorf("open Vault: %w", err)
	}
	return authority, nil
}
