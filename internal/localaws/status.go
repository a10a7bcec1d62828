package localaws

import (
	"encoding/json"
	"net/http"

	"lastwill/internal/localaws/loopback"
)

// StatusPath answers with a Status, so that a command finds a running endpoint.
const StatusPath = "/_lwt/status"

// Status tells how to use a running endpoint.
type Status struct {
	Account string `json:"account"`
	Region  string `json:"region"`
	// Endpoint is the URL of the AWS APIs.
	Endpoint string `json:"endpoint"`
	// MQTT is the address for devices, with mutual TLS and for WebSocket.
	MQTT string `json:"mqtt"`
	// SMTP is the address of the built-in mailbox; empty where mails leave.
	SMTP string `json:"smtp,omitempty"`
	// Credentials is the file with the user's credentials; empty where they are the test
	// credentials.
	Credentials string `json:"credentials,omitempty"`
	// RootCA is the PEM of the authority that signed the broker's certificate.
	RootCA string `json:"rootCA"`
}

// Status of the server.
func (s *Server) Status() Status {
	status := Status{
		Account: Account.ID, Region: Account.Region, Endpoint: s.URL(), MQTT: s.IoT.Address(), RootCA: string(s.IoT.RootCA()), Credentials: s.credentials,
	}
	if s.Mailbox != nil {
		status.SMTP = s.Mailbox.Addr()
	}
	return status
}

func (s *Server) serveStatus(w http.ResponseWriter, r *http.Request) {
	if !loopback.Host(r.Host) {
		http.Error(w, "this endpoint answers to 127.0.0.1 and localhost only", http.StatusForbidden)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s.Status()) // the client is gone; there is nobody to tell
}
