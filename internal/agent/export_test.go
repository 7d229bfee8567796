package agent

import (
	"net/http"
	"net/url"
)

// Places is where the firmware of a service at base is fetched from, as pairs of
// addresses of metadata and targets.
var Places = places

// Apart is a transport that uses toIt for the server, and toOther for all else.
func Apart(server *url.URL, toIt, toOther http.RoundTripper) http.RoundTripper {
	return apart{server, toIt, toOther}
}

// ToStrangers is what mirrors are reached by.
var ToStrangers = toStrangers
