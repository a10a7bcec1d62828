package mail

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"

	"lastwill/internal/await"
)

var quiet = slog.New(slog.DiscardHandler)

func alert(subject string) Message {
	return Message{
		From:    Address{Name: "lwtSNSTopic", Address: "no-reply@sns.amazonaws.com"},
		To:      Address{Address: "me@example.com"},
		Subject: subject,
		Body:    "device lost\n",
	}
}

func newMailbox(t *testing.T, dir string) *Mailbox {
	t.Helper()
	b, err := NewMailbox("127.0.0.1:0", dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// noPauses makes retries that cost no time.
var noPauses = []time.Duration{0, 0, 0}

func startMailer(t *testing.T, addr string, log *slog.Logger) *Mailer {
	t.Helper()
	m := newMailer(addr, log, connections, noPauses)
	t.Cleanup(func() { _ = m.Close(t.Context()) })
	return m
}

func send(t *testing.T, m *Mailer, messages ...Message) {
	t.Helper()
	for _, msg := range messages {
		if err := m.Send(msg); err != nil {
			t.Fatal(err)
		}
	}
}

func subjects(t *testing.T, mails []Mail) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, m := range mails {
		msg, err := Parse(m.Raw)
		if err != nil {
			t.Fatal(err)
		}
		counts[msg.Subject]++
	}
	return counts
}

func TestEveryMailArrivesOnce(t *testing.T) {
	t.Parallel()
	b := newMailbox(t, "")
	m := startMailer(t, b.Addr(), quiet)
	const n = 500
	for i := range n {
		send(t, m, alert(fmt.Sprint("alert ", i)))
	}
	if err := m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := subjects(t, b.List()); len(got) != n || len(b.List()) != n {
		t.Errorf("%d mails with %d subjects arrived, want %d of each", len(b.List()), len(got), n)
	}
	if err := m.Send(alert("late")); err == nil {
		t.Error("a closed Mailer takes mail")
	}
}

func TestUnicodeAddressArrives(t *testing.T) {
	t.Parallel()
	b := newMailbox(t, "")
	m := startMailer(t, b.Addr(), quiet)
	msg := alert("s")
	msg.To.Address = "jürgen@例え.jp"
	send(t, m, msg)
	mails, err := b.Wait(await.Context(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Parse(mails[0].Raw); err != nil || got.To.Address != msg.To.Address {
		t.Errorf("mail to %q, %v", got.To.Address, err)
	}
}

// A script is an SMTP server that answers each connection's commands by rote.
type script struct {
	net.Listener
	// replies[i] are the lines that connection i answers to the greeting and to
	// each command; after the last it hangs up, as on all further connections.
	replies  [][]string
	accepted chan struct{}
}

func newScript(t *testing.T, replies ...[]string) *script {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &script{l, replies, make(chan struct{}, 100)}
	done := make(chan struct{})
	go func() { defer close(done); s.serve() }()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return s
}

func (s *script) serve() {
	for n := 0; ; n++ {
		conn, err := s.Accept()
		if err != nil {
			return
		}
		s.accepted <- struct{}{}
		var replies []string
		if n < len(s.replies) {
			replies = s.replies[n]
		}
		lines := bufio.NewReader(conn)
		for i, reply := range replies {
			if i > 0 && !readCommand(lines, replies[i-1]) {
				break
			}
			fmt.Fprint(conn, reply+"\r\n")
		}
		// To close with something unread would take the last reply with it.
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}
}

func readCommand(r *bufio.Reader, last string) bool {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return false
		}
		if !strings.HasPrefix(last, "354") || line == ".\r\n" {
			return true
		}
	}
}

var (
	delivers = []string{"220 hi", "250 hello", "250 sender", "250 recipient", "354 go", "250 taken"}
	later    = []string{"220 hi", "250 hello", "451 later"}
	never    = []string{"220 hi", "250 hello", "250 sender", "550 no such user"}
	hangsUp  = []string{"220 hi"}

	// These get a mail at once and so read its lines for commands.
	chunks      = "250-hello\r\n250-PIPELINING\r\n250 CHUNKING"
	deliversNow = []string{"220 hi", chunks, "250 sender", "250 recipient", "250 taken"}
	laterNow    = []string{"220 hi", chunks, "250 sender", "250 recipient", "452 full"}
	neverNow    = []string{"220 hi", chunks, "250 sender", "550 no such user", "503 no recipient"}
)

func TestMailerTriesAgain(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		replies  [][]string
		mails    int
		lost     int
		connects int
	}{
		{"a mail that is taken is sent once", [][]string{delivers}, 1, 0, 1},
		{"a passing refusal is tried again", [][]string{later, later, delivers}, 1, 0, 3},
		{"a server that hangs up is tried again", [][]string{hangsUp, delivers}, 1, 0, 2},
		{"an idle connection that was closed costs no attempt", [][]string{delivers, later, later, later, delivers}, 2, 0, 5},
		{"a refusal for good is reported at once", [][]string{never}, 1, 1, 1},
		{"a mail at once is sent once", [][]string{deliversNow}, 1, 0, 1},
		{"a passing refusal of a mail at once is tried again", [][]string{laterNow, deliversNow}, 1, 0, 2},
		{"a refusal for good of a mail at once is reported", [][]string{neverNow}, 1, 1, 1},
		{"after four attempts the loss is reported", [][]string{later, hangsUp, later, hangsUp, delivers}, 1, 1, 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			s := newScript(t, tt.replies...)
			m := newMailer(s.Addr().String(), slog.New(slog.NewTextHandler(&log, nil)), 1, noPauses)
			for i := range tt.mails {
				send(t, m, alert(fmt.Sprint("alert ", i)))
				if err := m.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if err := m.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := strings.Count(log.String(), `msg="mail lost" to=me@example.com message_id=`); got != tt.lost {
				t.Errorf("%d losses reported, want %d:\n%s", got, tt.lost, log.String())
			}
			if got := len(s.accepted); got != tt.connects {
				t.Errorf("%d connections, want %d", got, tt.connects)
			}
		})
	}
}

// A picky server holds its first mail until the gate opens, refuses a recipient
// once or for good and hangs up on another once.
type picky struct {
	held, gate chan struct{}

	mu    sync.Mutex
	asked map[string]int // by recipient
	taken []string       // recipients, by mail
}

// A pickySession is a connection to it.
type pickySession struct {
	*picky
	conn *smtp.Conn
	open bool // a mail is under way
	to   []string
	cut  bool
}

func (s *pickySession) Reset()        { s.open, s.to = false, nil }
func (s *pickySession) Logout() error { return nil }

func (s *pickySession) Mail(string, *smtp.MailOptions) error {
	if s.open {
		return &smtp.SMTPError{Code: 503, Message: "nested MAIL"} // RFC 5321, 4.1.4
	}
	s.open = true
	return nil
}

func (s *pickySession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[to]++
	switch {
	case to == "never@example.com":
		return &smtp.SMTPError{Code: 550, Message: "no such user"}
	case to == "later@example.com" && s.asked[to] == 1:
		return &smtp.SMTPError{Code: 451, Message: "later"}
	case to == "cut@example.com" && s.asked[to] == 1:
		s.cut = true
		_ = s.conn.Conn().Close()
	}
	if s.cut { // go-smtp goes on with what it has read before
		return errors.New("hung up")
	}
	s.to = append(s.to, to)
	return nil
}

func (s *pickySession) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if s.to[0] == "first@example.com" {
		close(s.held)
		<-s.gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken = append(s.taken, strings.Join(s.to, " "))
	if len(s.to) != 1 || !bytes.Contains(raw, []byte("To: <"+s.to[0]+">\r\n")) {
		s.taken = append(s.taken, "which got "+string(raw))
	}
	return nil
}

// Mails that wait go together: what becomes of one is no matter of the others'.
func TestMailsThatWaitedAreDeliveredOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		claim string
		to    []string // behind the first mail
		taken []string
		lost  int
	}{
		{"all are taken", []string{"a", "b", "c"}, []string{"first", "a", "b", "c"}, 0},
		{"a passing refusal is tried again after the others", []string{"a", "later", "b"}, []string{"first", "a", "b", "later"}, 0},
		{"a refusal for good is reported", []string{"never", "a", "b"}, []string{"first", "a", "b"}, 1},
		{"a connection that breaks is made anew for the rest", []string{"a", "cut", "b"}, []string{"first", "a", "cut", "b"}, 0},
	} {
		t.Run(tt.claim, func(t *testing.T) {
			t.Parallel()
			p := &picky{held: make(chan struct{}), gate: make(chan struct{}), asked: map[string]int{}}
			server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &pickySession{picky: p, conn: c}, nil }))
			server.ErrorLog = slog.NewLogLogger(quiet.Handler(), slog.LevelWarn)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan struct{})
			go func() { defer close(served); _ = server.Serve(l) }()
			t.Cleanup(func() { _ = server.Close(); <-served })
			var log bytes.Buffer
			m := newMailer(l.Addr().String(), slog.New(slog.NewTextHandler(&log, nil)), 1, noPauses)
			sendTo := func(name string) {
				msg := alert("s")
				msg.To.Address = name + "@example.com"
				send(t, m, msg)
			}
			sendTo("first")
			<-p.held
			for _, name := range tt.to {
				sendTo(name)
			}
			close(p.gate)
			if err := m.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, name := range tt.taken {
				want = append(want, name+"@example.com")
			}
			if diff := cmp.Diff(want, p.taken); diff != "" {
				t.Errorf("taken (-want +got):\n%s", diff)
			}
			if got := strings.Count(log.String(), "mail lost"); got != tt.lost {
				t.Errorf("%d losses reported, want %d:\n%s", got, tt.lost, log.String())
			}
		})
	}
}

func TestServerWithoutUnicodeAddressesIsNamed(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := newScript(t, deliversNow, deliversNow, deliversNow, deliversNow)
	m := newMailer(s.Addr().String(), slog.New(slog.NewTextHandler(&log, nil)), 1, noPauses)
	msg := alert("s")
	msg.To.Address = "jürgen@example.com"
	send(t, m, msg)
	if err := m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "does not support SMTPUTF8") {
		t.Errorf("log:\n%s", log.String())
	}
}

func TestCloseGivesUpLoudly(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never greets
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	m := NewMailer(silent.Addr().String(), slog.New(slog.NewTextHandler(&log, nil)))
	send(t, m, alert("1"), alert("2"), alert("3"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Close(ctx); err == nil || !strings.Contains(err.Error(), silent.Addr().String()) {
		t.Errorf("Close says %v", err)
	}
	if got := strings.Count(log.String(), "mail lost"); got != 3 {
		t.Errorf("%d of 3 lost mails reported:\n%s", got, log.String())
	}
}

func TestFullQueueIsAnError(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	m := NewMailer(silent.Addr().String(), quiet)
	m.room = 2000
	big := alert("big")
	big.Body = strings.Repeat("x", 900)
	for err == nil {
		err = m.Send(big)
	}
	if !errors.Is(err, ErrQueueFull) || m.bytes > m.room {
		t.Errorf("with %d of %d bytes: %v", m.bytes, m.room, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = m.Close(ctx)
}

func TestMailboxFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "mails")
	b := newMailbox(t, dir)
	m := startMailer(t, b.Addr(), quiet)
	for i := range 3 { // one after the other, so that their order is known
		send(t, m, alert(fmt.Sprint("alert ", i)))
		if _, err := b.Wait(await.Context(t), i); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 3 {
		t.Fatalf("files %q, %v", files, err)
	}
	for i, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if msg, err := Parse(raw); err != nil || msg.Subject != fmt.Sprint("alert ", i) {
			t.Errorf("%s has subject %q, %v", file, msg.Subject, err)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", file, info.Mode(), err)
		}
	}

	again := newMailbox(t, dir)
	if got := again.List(); len(got) != 3 {
		t.Fatalf("%d mails after a restart, want 3", len(got))
	}
	send(t, startMailer(t, again.Addr(), quiet), alert("after"))
	mails, err := again.Wait(await.Context(t), 3)
	if err != nil {
		t.Fatal(err)
	}
	if mails[0].Name != "00000004.eml" {
		t.Errorf("the fourth mail is %s", mails[0].Name)
	}
	if _, ok := again.Get("00000002.eml"); !ok {
		t.Error("Get does not find a mail of before the restart")
	}
	if _, ok := again.Get("../mails/00000002.eml"); ok {
		t.Error("Get reads paths")
	}
}

func TestMailThatCannotBeStoredIsNotTaken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := newMailbox(t, dir)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	m := startMailer(t, b.Addr(), slog.New(slog.NewTextHandler(&log, nil)))
	send(t, m, alert("s"))
	if err := m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "could not be written") || len(b.List()) != 0 {
		t.Errorf("%d mails kept, log:\n%s", len(b.List()), log.String())
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := newMailbox(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Wait(ctx, 0); err == nil {
		t.Error("Wait returned without a mail")
	}
}

func TestMailboxListensOnLoopbackOnly(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{":0", "0.0.0.0:0", "192.0.2.1:25", "nonsense"} {
		if b, err := NewMailbox(addr, "", quiet); err == nil {
			t.Errorf("listens on %q", addr)
			_ = b.Close()
		}
	}
}

func TestHostileClientIsRefused(t *testing.T) {
	t.Parallel()
	const envelope = "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"
	tests := []struct {
		name, says, reply string
	}{
		{"a mail over the limit", envelope + strings.Repeat("0123456789\r\n", maxMailBytes/12+1) + ".\r\n", "552 5.3.4"},
		{"a mail that announces too much", "EHLO x\r\nMAIL FROM:<a@b> SIZE=9999999\r\n", "552 5.3.4"},
		{"an endless line", envelope + strings.Repeat("x", 10_000), "500 5.4.0"},
		{"an endless command", strings.Repeat("x", 10_000), "500 5.4.0"},
		{"nonsense", "\x00\x01\x02\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\nx\r\n", "500 5.5.1 Too many errors"},
		{"a mail to nobody", "EHLO x\r\nMAIL FROM:<a@b>\r\nDATA\r\n", "502 5.5.1"},
		{"no sender", "EHLO x\r\nRCPT TO:<c@d>\r\n", "502 5.5.1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newMailbox(t, "")
			conn := dial(t, b)
			go func() { _, _ = conn.Write([]byte(tt.says)) }()
			waitForLine(t, conn, tt.reply)
			if len(b.List()) != 0 {
				t.Error("the mail was kept")
			}
		})
	}
}

func TestFullMailboxSaysSo(t *testing.T) {
	t.Parallel()
	b := newMailbox(t, "")
	b.room = 5000
	c, err := smtp.Dial(b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 6 {
		err = c.SendMail("a@b", []string{"c@d"}, strings.NewReader(strings.Repeat("x", 998)))
	}
	if err == nil || !strings.Contains(err.Error(), "Mailbox full") || len(b.List()) != 5 {
		t.Errorf("after %d mails: %v", len(b.List()), err)
	}
}

func TestTooManyConnectionsAreTurnedAway(t *testing.T) {
	t.Parallel()
	b := newMailbox(t, "")
	var first net.Conn
	for i := range maxConnections {
		conn := dial(t, b)
		waitForLine(t, conn, "220 ")
		if i == 0 {
			first = conn
		}
	}
	waitForLine(t, dial(t, b), "421 4.7.0")

	fmt.Fprint(first, "QUIT\r\n")
	waitForLine(t, first, "221 ")
	if _, err := first.Read(make([]byte, 1)); err == nil {
		t.Error("QUIT leaves the connection open")
	}
	waitForLine(t, dial(t, b), "220 ")
}

func dial(t *testing.T, b *Mailbox) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func waitForLine(t *testing.T, conn net.Conn, prefix string) {
	t.Helper()
	var all strings.Builder
	lines := bufio.NewReader(conn)
	for {
		line, err := lines.ReadString('\n')
		all.WriteString(line)
		if strings.HasPrefix(line, prefix) {
			return
		}
		if err != nil {
			t.Fatalf("no line %q before %v, only:\n%s", prefix, err, all.String())
		}
	}
}
