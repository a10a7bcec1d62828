package api

import (
	"net/http"

	"lastwill/internal/localaws/loopback"
)

// checkOrigin refuses what a web page in a browser of this machine could have sent.
// The test credentials are no secret, and who has them can have a function run as a
// process here. A page of another site shows in headers that it cannot leave out,
// or, where its name leads to this machine, in the host.
func checkOrigin(r *http.Request) error {
	if !loopback.Host(r.Host) || r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
		return forbidden("AccessDenied", "this local endpoint takes no requests of web pages, and none for another host than 127.0.0.1 or localhost")
	}
	return nil
}
