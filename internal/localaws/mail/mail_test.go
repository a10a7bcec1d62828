package mail

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMessageSurvivesTheWire(t *testing.T) {
	t.Parallel()
	hostile := "x\r\nBcc: everyone@example.com\r\n\r\nforged body"
	tests := []struct {
		name          string
		sender        string
		subject, body string
		// wantSubject and wantBody differ from what went in only where that could not be kept.
		wantSubject, wantBody string
	}{
		{name: "plain text", sender: "lwtSNSTopic", subject: "AWS Notification Message", body: "device lost\n"},
		{name: "unicode everywhere", sender: "Gerät ☂", subject: "Ausfall – 設備", body: "Gerät 設備 ☂\n"},
		{name: "a JSON payload in one long line", subject: "s", body: strings.Repeat(`{"state":{"reported":1}}`, 5000)},
		{name: "a line of a single dot", subject: "s", body: "before\n.\nafter\n..\n"},
		{name: "a line From a mailbox file", subject: "s", body: "From me\n"},
		{name: "control characters", subject: "s", body: "a\x00b\x1b[31mc\n"},
		{name: "spaces at line ends", subject: "s", body: "a \nb\t\n"},
		{name: "an empty body", subject: "s"},
		{name: "a sender's name with quotes and commas", sender: `a "b", <c@d>`, subject: "s", body: "b"},
		{name: "a sender's name with a backslash", sender: `Gerät\1`, subject: "s", body: "b"},
		{name: "a subject longer than a line", subject: strings.Repeat("word ", 19) + "end", body: "b"},
		{name: "the longest subject and name", sender: strings.Repeat("☂", maxTextChars), subject: strings.Repeat("設", maxTextChars), body: "b"},
		{name: "the longest name of quotes", sender: strings.Repeat(`"`, maxTextChars), subject: "s", body: "b"},
		{name: "a subject with header lines stays a subject", subject: hostile, body: "b"},
		{name: "a sender's name with header lines stays a name", sender: hostile, subject: "s", body: "b"},
		{name: "bytes that are not UTF-8 are replaced", subject: "a\xffb", body: "c\xffd", wantSubject: "a\uFFFDb", wantBody: "c\uFFFDd"},
		{name: "carriage returns become line ends", subject: "s", body: "a\r\nb\rc\n", wantBody: "a\nb\nc\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sent := Message{
				From:    Address{Name: tt.sender, Address: "no-reply@sns.amazonaws.com"},
				To:      Address{Address: "me@example.com"},
				Subject: tt.subject,
				Body:    tt.body,
				Date:    time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
				ID:      "id@example.com",
			}
			raw := sent.encode()
			checkLines(t, raw)
			got, err := Parse(raw)
			if err != nil {
				t.Fatalf("%v in\n%s", err, raw)
			}
			want := sent
			if tt.wantSubject != "" {
				want.Subject = tt.wantSubject
			}
			if tt.wantBody != "" {
				want.Body = tt.wantBody
			}
			got.Date = got.Date.UTC()
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("mail differs (-sent +received):\n%s\n%s", diff, raw)
			}
		})
	}
}

// checkLines claims what every mail server relies on: CRLF line ends, no line
// over 998 bytes, ASCII only, and none of the hostile header lines.
func checkLines(t *testing.T, raw []byte) {
	t.Helper()
	for line := range bytes.Lines(raw) {
		content, isWhole := bytes.CutSuffix(line, []byte("\r\n"))
		if !isWhole && bytes.ContainsAny(line, "\r\n") || bytes.ContainsAny(content, "\r\n") {
			t.Errorf("line end in %q is not CRLF", line)
		}
		if len(content) > maxLineBytes {
			t.Errorf("line has %d bytes", len(content))
		}
		if bytes.HasPrefix(line, []byte("Bcc:")) {
			t.Errorf("header injected: %q", line)
		}
	}
	if i := bytes.IndexFunc(raw, func(r rune) bool { return r > '~' }); i >= 0 {
		t.Errorf("byte %d of the mail is not ASCII", i)
	}
}

func TestLinksStayWholeInRawMail(t *testing.T) {
	t.Parallel()
	link := "http://127.0.0.1:4566/_lwt/sns/confirm?TopicArn=arn:aws:sns:us-east-1:000000000000:t&Token=" + strings.Repeat("0f", 100)
	raw := Message{From: Address{Address: "a@b"}, To: Address{Address: "c@d"}, Body: "visit\r\n" + link + "\n"}.encode()
	if !bytes.Contains(raw, []byte("\r\n"+link+"\r\n")) {
		t.Errorf("link is broken in\n%s", raw)
	}
}

func TestCheckAddress(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"me@example.com", "first.last+tag@sub.example.com", "root@localhost", "jürgen@例え.jp"} {
		if err := CheckAddress(good); err != nil {
			t.Errorf("%q is refused: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "me", "me@", "@example.com", "me@example.com, you@example.com", "Me <me@example.com>", "<me@example.com>",
		"me@example.com\r\nRCPT TO:<you@example.com>", "me@example.com\n", `"a b"@example.com`, "a b@example.com",
		"a>b@example.com", " me@example.com", strings.Repeat("a", 250) + "@b.de", "me@\xff.com",
	} {
		if err := CheckAddress(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestTooLongSubjectIsAnError(t *testing.T) {
	t.Parallel()
	m := NewMailer("127.0.0.1:1", quiet)
	msg := alert(strings.Repeat("ä", maxTextChars+1))
	if err := m.Send(msg); err == nil || !strings.Contains(err.Error(), "101 characters") {
		t.Errorf("Send says %v", err)
	}
	if err := m.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("From: a@b\r\nTo: c@d\r\nSubject: =?utf-8?q?x?=\r\n\r\nbody\r\n"))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\na\r\n--x--\r\n"))
	f.Add([]byte("Content-Transfer-Encoding: base64\r\n\r\n!!\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, _ = Parse(raw)
	})
}

// FuzzEncode claims that whatever text a device puts into an alert, the mail
// has exactly the header lines that this package writes.
func FuzzEncode(f *testing.F) {
	f.Add("name", "subject", "body")
	f.Add("a\r\nb", "\r\n\r\nx", "\r.\r\n")
	f.Fuzz(func(t *testing.T, name, subject, body string) {
		m := Message{From: Address{Name: name, Address: "a@example.com"}, To: Address{Address: "b@example.com"}, Subject: subject, Body: body, ID: "i@d"}
		m, err := m.complete()
		if err != nil {
			return // text too long
		}
		raw := m.encode()
		checkLines(t, raw)
		got, err := Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got.To != m.To || got.From.Address != m.From.Address || got.ID != m.ID {
			t.Errorf("header forged: %+v", got)
		}
	})
}
