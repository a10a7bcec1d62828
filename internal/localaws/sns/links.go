package sns

import (
	"errors"
	"html/template"
	"net/http"

	"lastwill/internal/localaws/awsapi"
)

// Handler answers the links in the mails.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+confirmPath, s.serveConfirm)
	mux.HandleFunc("GET "+unsubscribePath, s.serveUnsubscribe)
	return mux
}

// A page is what the owner of an e-mail address gets to see.
type page struct {
	Title, Text string
	ARN         string // of the subscription, if there is one
	Undo        string // link that unsubscribes again, if there is one
}

var pageTemplate = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{.Title}}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:44em;margin:3em auto;padding:0 1em;overflow-wrap:anywhere}</style>
<h1>{{.Title}}</h1>
<p>{{.Text}}</p>
{{with .ARN}}<p>Your subscription's id is:<br><code>{{.}}</code></p>
{{end}}{{with .Undo}}<p>If it was not your intention to subscribe, <a href="{{.}}">click here to unsubscribe</a>.</p>
{{end}}</html>
`))

func (s *Service) serveConfirm(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	arn, err := s.ConfirmSubscription(query.Get("TopicArn"), query.Get("Token"))
	if err != nil {
		refuse(w, "Subscription not confirmed", err)
		return
	}
	show(w, http.StatusOK, page{
		Title: "Subscription confirmed!",
		Text:  "You have successfully subscribed.",
		ARN:   arn,
		Undo:  s.unsubscribeLink(&subscription{ARN: arn}),
	})
}

func (s *Service) serveUnsubscribe(w http.ResponseWriter, r *http.Request) {
	arn := r.URL.Query().Get("SubscriptionArn")
	if err := s.Unsubscribe(arn); err != nil {
		refuse(w, "Subscription not removed", err)
		return
	}
	show(w, http.StatusOK, page{
		Title: "Subscription removed!",
		Text:  "You will get no more mail from this topic.",
		ARN:   arn,
	})
}

func refuse(w http.ResponseWriter, title string, err error) {
	status := http.StatusInternalServerError
	if refused, ok := errors.AsType[*awsapi.Error](err); ok {
		status = refused.Status
	}
	show(w, status, page{Title: title, Text: err.Error()})
}

func show(w http.ResponseWriter, status int, p page) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	w.WriteHeader(status)
	_ = pageTemplate.Execute(w, p) // fails only if the reader has gone
}
