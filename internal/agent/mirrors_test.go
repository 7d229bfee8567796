package agent_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"

	"troth/internal/agent"
	"troth/tuf/client"
)

func TestPlaces(t *testing.T) {
	service := client.Mirror{MetadataURL: "https://s/tuf/metadata/", TargetsURL: "https://s/tuf/targets/"}
	for _, tc := range []struct {
		mirrors []string
		want    []client.Mirror
	}{
		{nil, []client.Mirror{service}},
		{[]string{"https://m/fw/", "file:///usb"}, []client.Mirror{
			{MetadataURL: service.MetadataURL, TargetsURL: "https://m/fw/targets"},
			{MetadataURL: "https://m/fw/metadata", TargetsURL: "file:///usb/targets"},
			{MetadataURL: "file:///usb/metadata", TargetsURL: service.TargetsURL},
		}},
	} {
		if got := agent.Places(service, tc.mirrors); !slices.Equal(got, tc.want) {
			t.Errorf("with mirrors %v: %v", tc.mirrors, got)
		}
	}
}

// by notes who was asked over the connections on which the device proves who it is.
type by struct {
	http.RoundTripper
	asked []string
}

func (b *by) RoundTrip(r *http.Request) (*http.Response, error) {
	b.asked = append(b.asked, r.URL.Path)
	return b.RoundTripper.RoundTrip(r)
}

// A mirror, and whoever a service redirects to, is not shown who the device is.
func TestAttack_S1_MirrorsAreShownNoCertificate(t *testing.T) {
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("image")) }))
	t.Cleanup(mirror.Close)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/tuf/elsewhere" {
			http.Redirect(w, r, mirror.URL+"/stolen", http.StatusFound)
		}
	}))
	t.Cleanup(service.Close)
	base, err := url.Parse(service.URL + "/tuf/")
	if err != nil {
		t.Fatal(err)
	}
	proving := &by{RoundTripper: &http.Transport{}}
	c := &http.Client{Transport: agent.Apart(base, proving, agent.ToStrangers())}
	for _, address := range []string{service.URL + "/tuf/metadata", service.URL + "/tuf/elsewhere", mirror.URL + "/image"} {
		response, err := c.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"/tuf/metadata", "/tuf/elsewhere"}; !slices.Equal(proving.asked, want) {
		t.Errorf("the device proved who it is when it asked for %v, want %v", proving.asked, want)
	}
	if config := agent.ToStrangers().TLSClientConfig; config != nil && (len(config.Certificates) > 0 || config.GetClientCertificate != nil || config.InsecureSkipVerify) {
		t.Error("mirrors are shown a certificate, or not asked for theirs")
	}
}
