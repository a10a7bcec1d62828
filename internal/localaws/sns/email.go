package sns

import (
	"net/url"
	"strings"

	"lastwill/internal/localaws/mail"
)

// What the mails of SNS have in common. Senders and subjects are AWS's
// (developer guide, "Email notifications").
const (
	senderAddress       = "no-reply@sns.amazonaws.com"
	senderName          = "AWS Notifications"
	confirmationSubject = "AWS Notification - Subscription Confirmation"
	notificationSubject = "AWS Notification Message"
)

// LinkPath is where the links in mails are, below the endpoint's base URL.
const LinkPath = "/_lwt/sns/"

const (
	confirmPath     = LinkPath + "confirm"
	unsubscribePath = LinkPath + "unsubscribe"
)

const origin = "Please do not reply directly to this email. It comes from lastwill's local SNS, not from AWS."

func (s *Service) confirmationMail(t *topic, sub *subscription) mail.Message {
	return s.mail(t, sub, confirmationSubject, paragraphs(
		"You have chosen to subscribe to the topic:\n"+t.ARN,
		"To confirm this subscription, click or visit the link below (if this was in error no action is necessary):\n"+s.confirmLink(sub),
		origin,
	))
}

func (s *Service) notificationMail(t *topic, sub *subscription, subject, text string) mail.Message {
	if subject == "" {
		subject = notificationSubject
	}
	return s.mail(t, sub, subject, paragraphs(
		strings.TrimRight(text, "\r\n"),
		"--\nIf you wish to stop receiving notifications from this topic, please click or visit the link below to unsubscribe:\n"+s.unsubscribeLink(sub),
		origin,
	))
}

func paragraphs(p ...string) string { return strings.Join(p, "\n\n") + "\n" }

func (s *Service) mail(t *topic, sub *subscription, subject, body string) mail.Message {
	name := t.DisplayName
	if name == "" {
		name = senderName
	}
	return mail.Message{
		From:    mail.Address{Name: name, Address: senderAddress},
		To:      mail.Address{Address: sub.Endpoint},
		Subject: subject,
		Body:    body,
	}
}

func (s *Service) confirmLink(sub *subscription) string {
	return s.baseURL + confirmPath + "?TopicArn=" + url.QueryEscape(sub.TopicARN) + "&Token=" + url.QueryEscape(sub.Token)
}

func (s *Service) unsubscribeLink(sub *subscription) string {
	return s.baseURL + unsubscribePath + "?SubscriptionArn=" + url.QueryEscape(sub.ARN)
}
