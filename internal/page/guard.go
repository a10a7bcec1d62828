package page

import (
	"mime"
	"net"
	"net/http"
)

// policy lets a browser load what the page itself serves and nothing else. No
// script is inline, and no text becomes HTML by script at all.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; connect-src 'self'; " +
	"frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// guard lets through what the page itself asks for, or a person who opens it. A
// page elsewhere can make a browser send requests here, also under a name of its
// own that it has pointed at this machine (DNS rebinding): those carry another
// Host, another Origin, or say that they come from another site.
func (p *Page) guard(w http.ResponseWriter, r *http.Request, next http.Handler) {
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	if reason := p.refused(r); reason != "" {
		http.Error(w, reason, http.StatusForbidden)
		return
	}
	next.ServeHTTP(w, r)
}

func (p *Page) refused(r *http.Request) string {
	if !p.own(r.Host) {
		return "this page answers to http://" + p.options.Address + Root + " only"
	}
	if origin := r.Header.Get("Origin"); origin != "" && origin != "http://"+r.Host {
		return "this page takes no requests from other pages"
	}
	opened := r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
	default: // a link elsewhere may lead here, and no more
		if !opened {
			return "this page takes no requests from other pages"
		}
	}
	if r.Method == http.MethodPost {
		// A form of another page cannot send this type.
		if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
			return "this page takes application/json only"
		}
	}
	return ""
}

// own reports whether a Host header is one of this page's names.
func (p *Page) own(host string) bool {
	if host == p.options.Address {
		return true
	}
	_, port, err := net.SplitHostPort(p.options.Address)
	if err != nil {
		return false
	}
	return host == "127.0.0.1:"+port || host == "localhost:"+port || host == "[::1]:"+port
}
