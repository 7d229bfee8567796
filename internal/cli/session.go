package cli

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"golang.org/x/term"

	"troth/internal/api"
)

const maxToken = 4096

// target is the server of a command and what is needed to talk to it.
type target struct {
	server, ca, token string // ca is PEM; empty: the system's roots
}

// client reaches the server of the context, of the flags or of the environment.
func (a *app) client() (*api.Client, error) {
	t, err := a.target()
	if err != nil {
		return nil, err
	}
	if t.token == "" {
		return nil, failf(exitUsage, codeNoContext, "there is no token for %s: run troth login, or set TROTH_TOKEN or --token-file", t.server)
	}
	return a.connect(t)
}

// target resolves the server. A context's token and CA serve for the context's
// own server only: naming another server never hands it the token.
func (a *app) target() (target, error) {
	t, err := a.givenTarget()
	if err != nil {
		return target{}, err
	}
	c, err := a.loadConfig()
	if err != nil {
		return target{}, err
	}
	named := first(a.flags.context, a.Getenv("TROTH_CONTEXT"))
	kept, ok := c.Contexts[first(named, c.Current)]
	switch {
	case named != "" && !ok:
		return target{}, failf(exitUsage, codeNoContext, "there is no context %q: see troth context list", named)
	case !ok && t.server == "":
		return target{}, failf(exitUsage, codeNoContext, "there is no server: run troth login, or give --server")
	case !ok:
		return t, nil
	}
	if t.server == "" || t.server == kept.Server {
		t = target{server: kept.Server, ca: first(t.ca, kept.CA), token: first(t.token, kept.Token)}
	}
	return t, nil
}

// givenTarget is what flags and environment say.
func (a *app) givenTarget() (t target, err error) {
	if s := first(a.flags.server, a.Getenv("TROTH_SERVER")); s != "" {
		if t.server, err = serverURL(s); err != nil {
			return target{}, err
		}
	}
	if file := first(a.flags.ca, a.Getenv("TROTH_CA")); file != "" {
		pem, err := a.readFile(file, 1<<20)
		if err != nil {
			return target{}, err
		}
		t.ca = string(pem)
	}
	t.token, err = a.givenToken()
	return t, err
}

func (a *app) givenToken() (string, error) {
	switch {
	case a.flags.tokenFile != "":
		return a.readToken(a.flags.tokenFile)
	case a.Getenv("TROTH_TOKEN") != "":
		return checkToken(a.Getenv("TROTH_TOKEN"))
	case a.Getenv("TROTH_TOKEN_FILE") != "":
		return a.readToken(a.Getenv("TROTH_TOKEN_FILE"))
	}
	return "", nil
}

func (a *app) readToken(file string) (string, error) {
	b, err := a.readFile(file, maxToken)
	if err != nil {
		return "", err
	}
	return checkToken(string(b))
}

// askToken reads a token from standard input, without echo on a terminal.
func (a *app) askToken() (string, error) {
	if terminal(a.Stdin) {
		_, _ = fmt.Fprint(a.Stderr, "Token: ")
		b, err := term.ReadPassword(int(a.Stdin.(*os.File).Fd()))
		_, _ = fmt.Fprintln(a.Stderr)
		if err != nil {
			return "", failf(exitUsage, codeFile, "the token cannot be read: %s", err)
		}
		return checkToken(string(b))
	}
	line, err := bufio.NewReader(io.LimitReader(a.Stdin, maxToken)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", failf(exitUsage, codeFile, "the token cannot be read: %s", err)
	}
	return checkToken(line)
}

// checkToken never repeats what it refuses: it may be a secret all the same.
func checkToken(s string) (string, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return "", usagef("the token is empty")
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", usagef("this is no token: a token is one word of printable ASCII")
	}
	return s, nil
}

// serverURL accepts what a token may be sent to: HTTPS, or HTTP that stays on
// this machine.
func serverURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return "", usagef("the server is given as https://HOST:PORT, not %q", s)
	}
	switch {
	case u.Scheme == "https":
	case u.Scheme == "http" && loopback(u.Hostname()):
	default:
		return "", usagef("a token is only sent over https, not to %q", s)
	}
	return u.Scheme + "://" + u.Host, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// connect makes a client. Redirects are not followed: the token is for one
// server.
func (a *app) connect(t target) (*api.Client, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.ca != "" {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM([]byte(t.ca)) {
			return nil, usagef("the CA file holds no certificate")
		}
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, ForceAttemptHTTP2: true}
	return &api.Client{Base: t.server, Token: t.token, HTTP: &http.Client{
		Transport:     transport,
		Timeout:       a.flags.timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// readFile reads a file of at most limit bytes; - is standard input.
func (a *app) readFile(name string, limit int64) ([]byte, error) {
	in := a.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, failf(exitUsage, codeFile, "%s", err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err != nil {
		return nil, failf(exitUsage, codeFile, "%s cannot be read: %s", name, err)
	}
	if int64(len(b)) > limit {
		return nil, failf(exitUsage, codeFile, "%s has more than %d bytes", name, limit)
	}
	return b, nil
}

func first(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}
