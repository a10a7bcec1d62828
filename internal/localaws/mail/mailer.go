package mail

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-smtp"
)

// Errors of Mailer.Send, besides those of a malformed message.
var (
	ErrQueueFull = errors.New("mail queue is full: the SMTP server takes mails slower than they come")
	ErrClosed    = errors.New("mailer is closed")
)

// The queue takes a fleet of thousands that drops at once, and bounds what a
// server that does not answer costs in memory.
const (
	maxQueuedMails = 20_000
	maxQueuedBytes = 64 << 20
)

// Each connection is kept open, because greeting and EHLO would cost every
// alert two round trips more.
const connections = 2

// maxTogether is how many of the mails that wait are written before an answer is
// read. That saves a fleet that drops a third of what its alerts cost, most of it
// in system calls.
const maxTogether = 16

const (
	// commandTimeout bounds connecting and each SMTP command.
	commandTimeout = 30 * time.Second
	// quitTimeout bounds the last word to a server that may have gone.
	quitTimeout = time.Second
)

// A Mailer sends mails to one SMTP server. It tries each several times and
// logs an error with the mail's recipient and Message-ID when it gives up. A
// connection that breaks after the last byte of a mail can double it, and those
// that were sent together with it: SMTP leaves the sender in doubt there (RFC
// 1047), and an alert too many is better than one too few.
type Mailer struct {
	addr string
	log  *slog.Logger
	// retries are the pauses between the attempts to send one mail.
	retries []time.Duration

	queue   chan job
	stopped context.Context
	stop    context.CancelFunc
	workers sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	mails   int           // queued or under way
	bytes   int           // of these mails
	room    int           // most that bytes may be
	allDone chan struct{} // closed when mails falls to zero
}

type job struct {
	from, to, id string
	raw          []byte
}

func (j job) needsUTF8() bool {
	return strings.ContainsFunc(j.from+j.to, func(r rune) bool { return r >= utf8.RuneSelf })
}

// NewMailer returns a Mailer for the SMTP server at addr (host:port). It
// connects when there is a first mail.
func NewMailer(addr string, log *slog.Logger) *Mailer {
	return newMailer(addr, log, connections, []time.Duration{100 * time.Millisecond, time.Second, 5 * time.Second})
}

func newMailer(addr string, log *slog.Logger, connections int, retries []time.Duration) *Mailer {
	stopped, stop := context.WithCancel(context.Background())
	m := &Mailer{
		addr:    addr,
		log:     log,
		retries: retries,
		queue:   make(chan job, maxQueuedMails),
		room:    maxQueuedBytes,
		stopped: stopped,
		stop:    stop,
		allDone: make(chan struct{}),
	}
	for range connections {
		m.workers.Go(m.work)
	}
	return m
}

// Send queues a mail. Its errors are those of the message, ErrQueueFull and
// ErrClosed; what happens to the mail later goes to the log.
func (m *Mailer) Send(msg Message) error {
	msg, err := msg.complete()
	if err != nil {
		return err
	}
	raw := msg.encode()
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return ErrClosed
	case m.mails == maxQueuedMails || m.bytes+len(raw) > m.room:
		return ErrQueueFull
	}
	if m.mails == 0 {
		m.allDone = make(chan struct{})
	}
	m.mails++
	m.bytes += len(raw)
	m.queue <- job{msg.From.Address, msg.To.Address, msg.ID, raw} // never blocks: mails counts at least what is in it
	return nil
}

// Flush waits until every mail that was queued is delivered or given up.
func (m *Mailer) Flush(ctx context.Context) error {
	m.mu.Lock()
	mails, allDone := m.mails, m.allDone
	m.mu.Unlock()
	if mails == 0 {
		return nil
	}
	select {
	case <-allDone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for mails to leave for %s: %w", m.addr, ctx.Err())
	}
}

// Close takes no more mails, flushes and ends all connections. When ctx ends
// first, it gives up and logs each mail that is lost by it.
func (m *Mailer) Close(ctx context.Context) error {
	m.mu.Lock()
	wasClosed := m.closed
	m.closed = true
	m.mu.Unlock()
	err := m.Flush(ctx)
	if err != nil {
		m.stop()
	}
	if !wasClosed {
		close(m.queue)
	}
	m.workers.Wait()
	m.stop()
	return err
}

func (m *Mailer) work() {
	s := sender{mailer: m}
	for j := range m.queue {
		for _, j := range s.deliverTogether(m.withWaiting(j)) {
			if attempts, err := s.deliver(j); err != nil {
				m.log.Error("mail lost", "to", j.to, "message_id", j.id, "smtp", m.addr, "attempts", attempts, "error", err)
			}
			m.finish(j)
		}
	}
	s.quit()
}

// withWaiting returns a mail and those that wait behind it.
func (m *Mailer) withWaiting(j job) []job {
	jobs := []job{j}
	for len(jobs) < maxTogether {
		select {
		case next, ok := <-m.queue:
			if !ok {
				return jobs
			}
			jobs = append(jobs, next)
		default:
			return jobs
		}
	}
	return jobs
}

func (m *Mailer) finish(j job) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mails--
	m.bytes -= len(j.raw)
	if m.mails == 0 {
		close(m.allDone)
	}
}

// A sender is a worker's connection, which is kept from mail to mail.
type sender struct {
	mailer *Mailer
	client *smtp.Client // nil while there is none
	// conn and replies are the client's, for what it does not do itself.
	conn    net.Conn
	replies *textproto.Reader
	// atOnce tells that the server takes a mail without answers in between.
	atOnce bool
	// release undoes that stopping the Mailer closes the connection.
	release func() bool
}

// deliverTogether sends the mails of a queue in one go, if the server takes them
// so, and returns those that are still to be delivered.
func (s *sender) deliverTogether(jobs []job) (left []job) {
	if s.client == nil || !s.atOnce || len(jobs) == 1 || slices.ContainsFunc(jobs, job.needsUTF8) {
		return jobs
	}
	for i, err := range s.sendAtOnce(jobs) {
		if err != nil {
			left = append(left, jobs[i])
			continue
		}
		s.mailer.finish(jobs[i])
	}
	if len(left) > 0 {
		s.drop()
	}
	return left
}

// deliver sends a mail, again and again where that may help.
func (s *sender) deliver(j job) (attempts int, err error) {
	for {
		kept := s.client != nil
		attempts++
		err := s.send(j)
		if err == nil {
			return attempts, nil
		}
		s.drop()
		if isPermanent(err) || s.mailer.stopped.Err() != nil {
			return attempts, err
		}
		if kept {
			attempts-- // the server had hung up on an idle connection
			continue
		}
		if attempts > len(s.mailer.retries) {
			return attempts, err
		}
		select {
		case <-time.After(s.mailer.retries[attempts-1]):
		case <-s.mailer.stopped.Done():
			return attempts, err
		}
	}
}

// isPermanent tells a refusal that will be repeated from a passing one
// (RFC 5321, 4.2.1).
func isPermanent(err error) bool {
	refusal, ok := errors.AsType[*smtp.SMTPError](err)
	return ok && !refusal.Temporary()
}

func (s *sender) send(j job) error {
	if s.client == nil {
		if err := s.dial(); err != nil {
			return err
		}
	}
	if s.atOnce && !j.needsUTF8() {
		return s.sendAtOnce([]job{j})[0]
	}
	return s.client.SendMail(j.from, []string{j.to}, bytes.NewReader(j.raw))
}

func (s *sender) dial() error {
	dialer := net.Dialer{Timeout: commandTimeout}
	conn, err := dialer.DialContext(s.mailer.stopped, "tcp", s.mailer.addr)
	if err != nil {
		return err
	}
	s.conn, s.replies = conn, textproto.NewReader(bufio.NewReader(conn))
	s.client = smtp.NewClient(conn)
	s.client.CommandTimeout = commandTimeout
	s.client.SubmissionTimeout = commandTimeout
	s.release = context.AfterFunc(s.mailer.stopped, func() { _ = conn.Close() })
	if err := s.client.Hello("localhost"); err != nil {
		return err
	}
	pipelining, _ := s.client.Extension("PIPELINING")
	chunking, _ := s.client.Extension("CHUNKING")
	s.atOnce = pipelining && chunking
	return nil
}

// sendAtOnce writes whole mails before it reads an answer, as PIPELINING (RFC
// 2920) and CHUNKING (RFC 3030, 4.2) allow, and returns what became of each.
// go-smtp's client waits for four answers: on loopback that makes 57 µs a mail
// instead of 22 (test/bench, MailDialogue).
func (s *sender) sendAtOnce(jobs []job) []error {
	var b bytes.Buffer
	for i, j := range jobs {
		if i > 0 {
			b.WriteString("RSET\r\n") // a mail that is refused leaves nothing to the next one
		}
		fmt.Fprintf(&b, "MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nBDAT %d LAST\r\n", j.from, j.to, len(j.raw))
		b.Write(j.raw)
	}
	broken := s.conn.SetDeadline(time.Now().Add(commandTimeout))
	if broken == nil {
		_, broken = s.conn.Write(b.Bytes())
	}
	errs := make([]error, len(jobs))
	for i := range jobs {
		answers := 3
		if i > 0 {
			answers = 4 // with that to RSET
		}
		if broken == nil {
			errs[i], broken = s.answers(answers)
		}
		errs[i] = cmp.Or(errs[i], broken)
	}
	return errs
}

// answers reads those to the commands of a mail and returns the first refusal, or
// why no more can be read.
func (s *sender) answers(n int) (refused, broken error) {
	for range n {
		_, _, err := s.replies.ReadResponse(2) // any 2yz
		refusal, ok := errors.AsType[*textproto.Error](err)
		switch {
		case ok && refused == nil:
			refused = &smtp.SMTPError{Code: refusal.Code, Message: refusal.Msg}
		case !ok && err != nil:
			return refused, err
		}
	}
	return refused, nil
}

func (s *sender) drop() {
	if s.client == nil {
		return
	}
	s.release()
	_ = s.client.Close()
	s.client = nil
}

func (s *sender) quit() {
	if s.client == nil {
		return
	}
	s.client.CommandTimeout = quitTimeout
	_ = s.client.Quit()
	s.drop()
}
