package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"troth/internal/api"
)

// Exit statuses of the program.
const (
	exitDone      = 0
	exitNo        = 1 // the answer is no
	exitUsage     = 2 // used wrongly
	exitUndecided = 3 // no answer could be had
)

// Codes of what the program itself has to say. The others are the server's.
const (
	codeUsage       = "usage"
	codeUnreachable = "unreachable"
	codeUntrusted   = "untrusted_server"
	codeTimeout     = "timeout"
	codeInterrupted = "interrupted"
	codeBadAnswer   = "bad_answer"
	codeLocal       = "local_failure"
	codeConfig      = "config"
	codeNoContext   = "no_context"
	codeCSV         = "csv_invalid"
	codeFile        = "file"
	codeRollout     = "rollout_failed"
	codeVerdict     = "not_compliant"
	codeNoVerdict   = "no_verdict"
	codeUnsettled   = "http_status" // api's: something that is no trothd answered
)

// failure is an error with its exit status and its sentence for people.
type failure struct {
	exit     int
	code     string
	sentence string
	details  []string // one line each
}

func (f *failure) Error() string { return f.sentence + " (" + f.code + ")" }

func failf(exit int, code, format string, args ...any) *failure {
	return &failure{exit: exit, code: code, sentence: fmt.Sprintf(format, args...)}
}

func usagef(format string, args ...any) *failure {
	return failf(exitUsage, codeUsage, format, args...)
}

// fail says err once, for people on standard error and, where asked, for
// programs on standard output; it returns the exit status.
func (a *app) fail(err error) int {
	f := explain(err)
	_, _ = fmt.Fprintf(a.Stderr, "troth: %s (%s)\n", clean(strings.TrimSuffix(f.sentence, ".")), clean(f.code))
	for _, d := range f.details {
		_, _ = fmt.Fprintf(a.Stderr, "  %s\n", clean(d))
	}
	if a.flags.format == formatJSON || a.flags.format == formatYAML {
		_ = a.printer().print(problemOf(err, f), nil)
	}
	return f.exit
}

// after is an error whose answer is already out: it is said on standard error
// only, lest standard output hold two documents.
func (a *app) after(err error) error {
	a.flags.format = formatTable
	return err
}

// problemOf is err as the API would say it; Status is 0 for what did not come
// from a server.
func problemOf(err error, f *failure) *api.Problem {
	var p *api.Problem
	if errors.As(err, &p) {
		return p
	}
	return &api.Problem{Type: "about:blank", Title: exitTitle(f.exit), Code: f.code, Detail: f.sentence, Errors: f.details}
}

func exitTitle(exit int) string {
	switch exit {
	case exitNo:
		return "No"
	case exitUsage:
		return "Used wrongly"
	default:
		return "Could not be decided"
	}
}

// explain finds the sentence and the exit status of any error.
func explain(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	var p *api.Problem
	if errors.As(err, &p) {
		f := &failure{exit: exitOf(p), code: p.Code, sentence: p.Detail, details: p.Errors}
		if f.sentence == "" {
			f.sentence = "the server refuses: " + p.Title
		}
		if p.RequestID != "" && p.Status >= 500 {
			f.sentence = strings.TrimSuffix(f.sentence, ".") + "; request " + p.RequestID
		}
		return f
	}
	if f := explainNetwork(err); f != nil {
		return f
	}
	return failf(exitUndecided, codeLocal, "%s", err)
}

func explainNetwork(err error) *failure {
	var cert *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var netErr net.Error
	var urlErr *url.Error
	switch {
	case errors.Is(err, context.Canceled):
		return failf(exitUndecided, codeInterrupted, "interrupted before the answer came")
	case errors.As(err, &authority):
		return failf(exitUndecided, codeUntrusted, "the server's certificate is signed by nobody trusted here: name its CA with --ca FILE")
	case errors.As(err, &cert):
		return failf(exitUndecided, codeUntrusted, "the server's certificate does not hold: %s", cert.Err)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return failf(exitUndecided, codeTimeout, "the server did not answer in time: try again, or give a longer --timeout")
	case errors.As(err, &urlErr):
		return failf(exitUndecided, codeUnreachable, "cannot reach %s: %s", authorityOf(urlErr.URL), urlErr.Err)
	case strings.HasPrefix(err.Error(), "decode answer "), strings.HasPrefix(err.Error(), "read answer "):
		return failf(exitUndecided, codeBadAnswer, "the server's answer cannot be read: %s", err)
	}
	return nil
}

func authorityOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "the server"
	}
	return u.Scheme + "://" + u.Host
}

// exitOf ranks a server's no. Where something else than a trothd answered,
// nothing was decided.
func exitOf(p *api.Problem) int {
	switch {
	case p.Code == codeUnsettled || p.Status >= 500 || p.Status < 400:
		return exitUndecided
	case p.Status == 408 || p.Status == 425 || p.Status == 429:
		return exitUndecided
	case p.Status == 400 || p.Status == 413 || p.Status == 415 || p.Status == 422:
		return exitUsage
	default:
		return exitNo
	}
}
