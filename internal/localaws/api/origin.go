package api

import (
	"net"
	"net/http"
	"strings"
)

// checkOrigin refuses what a web page in a browser of this machine could have sent.
// The test credentials are no secret, and who has them can have a function run as a
// process here. A page of another site shows in headers that it cannot leave out,
// or, where its name leads to this machine, in the host.
func checkOrigin(r *http.Request) error {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	local := ip != nil && ip.IsLoopback() || host == "localhost" || strings.HasSuffix(host, ".localhost")
	if !local || r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
		return forbidden("AccessDenied", "this local endpoint takes no requests of web pages, and none for another host than 127.0.0.1 or localhost")
	}
	return nil
}
