package agent

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"troth/internal/api"
	"troth/tuf/client"
)

// places are where a service's firmware is fetched from: metadata from the service
// before any mirror, so that it is fresh; images from the mirrors before the
// service, so that it need not send them.
func places(service client.Mirror, mirrors []string) []client.Mirror {
	all := []client.Mirror{service}
	for _, base := range mirrors {
		base = strings.TrimRight(base, "/")
		all = append(all, client.Mirror{MetadataURL: base + "/metadata", TargetsURL: base + "/targets"})
	}
	paired := make([]client.Mirror, len(all))
	for i := range all {
		paired[i] = client.Mirror{MetadataURL: all[i].MetadataURL, TargetsURL: all[(i+1)%len(all)].TargetsURL}
	}
	return paired
}

// following configures the updater to follow a service's repository.
func (a *Agent) following(root []byte) (client.Config, error) {
	base, err := url.JoinPath(a.Server, api.PathTUF)
	if err != nil {
		return client.Config{}, fmt.Errorf("make TUF address: %w", err)
	}
	server, err := url.Parse(base)
	if err != nil {
		return client.Config{}, fmt.Errorf("parse TUF address: %w", err)
	}
	from := places(client.Mirror{MetadataURL: base + "metadata/", TargetsURL: base + "targets/"}, a.Mirrors)
	return client.Config{
		Root: root, MetadataURL: from[0].MetadataURL, TargetsURL: from[0].TargetsURL, Mirrors: from[1:],
		// A download takes as long as it takes: the updater bounds its rate.
		HTTP: &http.Client{Transport: apart{server, a.session.http.Transport, toStrangers()}},
	}, nil
}

// apart keeps the service's connections, on which the device proves who it is,
// from everybody else: mirrors, and wherever anyone redirects to.
type apart struct {
	server  *url.URL
	toIt    http.RoundTripper
	toOther http.RoundTripper
}

// RoundTrip is http.RoundTripper's.
func (t apart) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == t.server.Scheme && r.URL.Host == t.server.Host {
		return t.toIt.RoundTrip(r)
	}
	return t.toOther.RoundTrip(r)
}

// toStrangers connects to mirrors, whose certificates are those of the system's
// authorities. No certificate is shown to them.
func toStrangers() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = 30 * time.Second
	t.MaxResponseHeaderBytes = 64 << 10
	t.DisableCompression = true
	return t
}
