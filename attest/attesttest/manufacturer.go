package attesttest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Manufacturer is a maker of TPMs: a root CA and an intermediate CA of
// swtpm_localca, in a directory of its own. As with real swtpm, the CAs of all
// manufacturers bear the same subject names and differ in their keys only.
type Manufacturer struct {
	dir  string
	crls string // URL of its revocation lists; empty: it has none
}

var manufacturerName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,32}$`)

// NewManufacturer creates a manufacturer in dir, or opens the one that is
// there. Its name (letters, digits, ".", "_", "-") stands in the certificates
// of platforms.
func NewManufacturer(dir, name string) (*Manufacturer, error) {
	if !manufacturerName.MatchString(name) {
		return nil, fmt.Errorf("create manufacturer: bad name %q", name)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("create manufacturer: %w", err)
	}
	m := &Manufacturer{dir: abs}
	if err := m.writeConfig(name); err != nil {
		return nil, fmt.Errorf("create manufacturer: %w", err)
	}
	if _, err := m.RootsPEM(); err == nil {
		return m, nil
	}
	// swtpm_localca makes its CAs when it first signs something.
	if err := m.signThrowaway(); err != nil {
		return nil, fmt.Errorf("create manufacturer: %w", err)
	}
	return m, nil
}

func (m *Manufacturer) file(name string) string { return filepath.Join(m.dir, name) }

func (m *Manufacturer) writeConfig(name string) error {
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	localca, err := exec.LookPath("swtpm_localca")
	if err != nil {
		return err
	}
	files := map[string][]string{
		"swtpm_setup.conf": {
			"create_certs_tool=" + localca,
			"create_certs_tool_config=" + m.file("swtpm-localca.conf"),
			"create_certs_tool_options=" + m.file("swtpm-localca.options"),
			"active_pcr_banks=sha1,sha256,sha384",
		},
		"swtpm-localca.conf": {
			"statedir=" + m.dir,
			"signingkey=" + m.file("signkey.pem"),
			"issuercert=" + m.file("issuercert.pem"),
			"certserial=" + m.file("certserial"),
		},
		"swtpm-localca.options": {
			"--platform-manufacturer " + name,
			"--platform-version 1.0",
			"--platform-model " + name,
		},
	}
	for file, lines := range files {
		if err := os.WriteFile(m.file(file), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (m *Manufacturer) signThrowaway() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	point, err := key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		return err
	}
	_, err = m.signEK(context.Background(), fmt.Sprintf("x=%x,y=%x,id=secp256r1", point[1:33], point[33:]))
	return err
}

// signEK has swtpm_localca make an EK certificate for a key, which is given as the
// program takes it (keyParameter).
func (m *Manufacturer) signEK(ctx context.Context, key string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "tr")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	err = run(ctx, "swtpm_localca", "--type", "ek", "--ek", key,
		"--dir", dir, "--tpm2", "--tpm-spec-family", "2.0", "--tpm-spec-level", "0", "--tpm-spec-revision", "164",
		"--tpm-manufacturer", "id:00001014", "--tpm-model", "swtpm", "--tpm-version", "id:20191023",
		"--configfile", m.file("swtpm-localca.conf"), "--optsfile", m.file("swtpm-localca.options"))
	if err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(dir, "ek.cert"))
}

// RootsPEM returns the manufacturer's root and intermediate certificates, what
// it would publish for those who verify its TPMs.
func (m *Manufacturer) RootsPEM() ([]byte, error) {
	var all []byte
	for _, name := range []string{rootCert, issuerCert} {
		pem, err := os.ReadFile(m.file(name))
		if err != nil {
			return nil, fmt.Errorf("read manufacturer's certificates: %w", err)
		}
		all = append(append(all, bytes.TrimSpace(pem)...), '\n')
	}
	return all, nil
}

// run runs a program to its end; its error carries the last of its output. Where
// it is ended early, so is what it started, and its temporary files go with it:
// swtpm_setup runs a swtpm of its own.
func run(ctx context.Context, name string, args ...string) error {
	temporary, err := os.MkdirTemp("", "tr")
	if err != nil {
		return fmt.Errorf("run %s: %w", name, err)
	}
	defer os.RemoveAll(temporary) // what is left of it is not ours to mend
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+temporary)
	endAsGroup(cmd)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("run %s: %w: %s", name, err, tail(out))
	}
	return nil
}

func tail(out []byte) []byte {
	out = bytes.TrimSpace(out)
	return out[max(0, len(out)-500):]
}
