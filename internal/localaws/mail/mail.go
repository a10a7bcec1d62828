// Package mail carries the local endpoint's e-mail. Mail always leaves through
// SMTP: a Mailer hands it to a server, which is any host:port or the Mailbox of
// this package.
//
// The Mailer speaks plain SMTP without TLS and without a login, as test servers
// on the same machine expect it.
package mail

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-message"
	gomail "github.com/emersion/go-message/mail"

	"lastwill/internal/localaws/awsapi"
)

// An Address is a mailbox with a display name, which may be empty.
type Address = mail.Address

// A Message is a mail of plain text.
type Message struct {
	From, To Address
	Subject  string
	// Body in UTF-8; any line ending will do.
	Body string
	// Date of writing. Default: the time of sending.
	Date time.Time
	// ID is the Message-ID without angle brackets. Default: a random one at the
	// domain of From.
	ID string
}

// maxAddressBytes is the longest path of RFC 5321, 4.5.3.1.3, without its brackets.
const maxAddressBytes = 254

// CheckAddress says what keeps s from being a bare address such as
// me@example.com. It returns nil if nothing does. Quoted local parts are
// refused: no alert goes there, and an SMTP command is no place for them.
func CheckAddress(s string) error {
	parsed, err := mail.ParseAddress(s)
	switch {
	case err != nil || parsed.Address != s:
		return fmt.Errorf("%q is not an e-mail address: write it as name@example.com", s)
	case len(s) > maxAddressBytes:
		return fmt.Errorf("e-mail address has %d bytes, SMTP takes at most %d: shorten it", len(s), maxAddressBytes)
	}
	return nil
}

// maxTextChars is what subjects and display names of SNS have at most. No line of
// a header that it allows is too long for a mail server.
const maxTextChars = 100

// complete checks m and fills in what its sender may leave out.
func (m Message) complete() (Message, error) {
	if err := errors.Join(CheckAddress(m.From.Address), CheckAddress(m.To.Address)); err != nil {
		return Message{}, err
	}
	for _, text := range []string{m.From.Name, m.To.Name, m.Subject} {
		if n := utf8.RuneCountInString(text); n > maxTextChars {
			return Message{}, fmt.Errorf("name or subject has %d characters, a mail takes at most %d: shorten it", n, maxTextChars)
		}
	}
	if m.Date.IsZero() {
		m.Date = time.Now()
	}
	if m.ID == "" {
		m.ID = awsapi.NewID() + m.From.Address[strings.LastIndexByte(m.From.Address, '@'):]
	}
	return m, nil
}

// encode writes a complete m as RFC 5322 wants it. go-message would take five
// times as long, which counts when a fleet drops at once.
func (m Message) encode() []byte {
	header := "From: " + formatAddress(m.From) + "\r\n" +
		"To: " + formatAddress(m.To) + "\r\n" +
		"Subject: " + encodeText(mime.QEncoding, m.Subject) + "\r\n" +
		"Date: " + m.Date.Format(time.RFC1123Z) + "\r\n" +
		"Message-ID: <" + m.ID + ">\r\n" +
		"MIME-Version: 1.0\r\n" +
		"Content-Type: text/plain; charset=utf-8\r\n" +
		"Content-Transfer-Encoding: "
	body := normalize(m.Body)
	if isPlain(body) {
		return []byte(header + "7bit\r\n\r\n" + body)
	}
	b := bytes.NewBufferString(header + "quoted-printable\r\n\r\n")
	w := quotedprintable.NewWriter(b)
	_, _ = io.WriteString(w, body) // a Buffer takes all
	_ = w.Close()
	return b.Bytes()
}

// formatAddress writes a checked address. A name beyond ASCII goes as base64:
// net/mail's String leaves a backslash bare in an encoded word of the other
// kind, which no reader takes.
func formatAddress(a Address) string {
	if !strings.ContainsFunc(a.Name, notPlain) {
		return a.String()
	}
	return encodeText(mime.BEncoding, a.Name) + " <" + a.Address + ">"
}

// encodeText writes text beyond ASCII as encoded words, one on a line.
func encodeText(encoding mime.WordEncoder, text string) string {
	words := encoding.Encode("utf-8", strings.ToValidUTF8(text, "\uFFFD"))
	return strings.ReplaceAll(words, "?= =?", "?=\r\n =?")
}

// normalize makes a body UTF-8 with CRLF as its line ends.
func normalize(body string) string {
	body = strings.ReplaceAll(strings.ToValidUTF8(body, "\uFFFD"), "\r\n", "\n")
	return strings.ReplaceAll(strings.ReplaceAll(body, "\r", "\n"), "\n", "\r\n")
}

// maxLineBytes is the longest line of RFC 5322, 2.1.1, without its CRLF.
const maxLineBytes = 998

// isPlain tells of a body that may go as it is, so that the links in a raw mail
// stay whole.
func isPlain(body string) bool {
	for line := range strings.SplitSeq(body, "\r\n") {
		if len(line) > maxLineBytes || strings.ContainsFunc(line, notPlain) {
			return false
		}
	}
	return true
}

func notPlain(r rune) bool { return r != '\t' && (r < ' ' || r > '~') }

// Parse reads a mail: the first address of From and To, and of several parts
// the first text.
func Parse(raw []byte) (Message, error) {
	r, err := gomail.CreateReader(bytes.NewReader(raw))
	if err != nil && !message.IsUnknownCharset(err) {
		return Message{}, fmt.Errorf("read mail header: %w", err)
	}
	var m Message
	if m.From, err = address(r.Header, "From"); err != nil {
		return Message{}, err
	}
	if m.To, err = address(r.Header, "To"); err != nil {
		return Message{}, err
	}
	if m.Date, err = r.Header.Date(); err != nil {
		return Message{}, fmt.Errorf("read mail header Date: %w", err)
	}
	if m.ID, err = r.Header.MessageID(); err != nil {
		return Message{}, fmt.Errorf("read mail header Message-ID: %w", err)
	}
	m.Subject, _ = r.Header.Subject() // what cannot be decoded is shown as it came
	m.Body, err = firstText(r)
	return m, err
}

func address(h gomail.Header, key string) (Address, error) {
	list, err := h.AddressList(key)
	if err != nil {
		return Address{}, fmt.Errorf("read mail header %s: %w", key, err)
	}
	if len(list) == 0 {
		return Address{}, nil
	}
	return *list[0], nil
}

// HTML returns the first part of a mail that is HTML, or "" if there is none.
func HTML(raw []byte) string {
	r, err := gomail.CreateReader(bytes.NewReader(raw))
	if err != nil {
		return ""
	}
	for {
		part, err := r.NextPart()
		if err != nil {
			return ""
		}
		h, inline := part.Header.(*gomail.InlineHeader)
		if !inline {
			continue
		}
		if kind, _, err := h.ContentType(); err != nil || kind != "text/html" {
			continue
		}
		text, err := io.ReadAll(part.Body)
		if err != nil {
			return ""
		}
		return string(text)
	}
}

func firstText(r *gomail.Reader) (string, error) {
	for {
		part, err := r.NextPart()
		if errors.Is(err, io.EOF) {
			return "", nil
		}
		if err != nil && !message.IsUnknownCharset(err) {
			return "", fmt.Errorf("read mail body: %w", err)
		}
		if _, inline := part.Header.(*gomail.InlineHeader); !inline {
			continue
		}
		text, err := io.ReadAll(part.Body)
		if err != nil {
			return "", fmt.Errorf("read mail body: %w", err)
		}
		return strings.ReplaceAll(string(text), "\r\n", "\n"), nil
	}
}
