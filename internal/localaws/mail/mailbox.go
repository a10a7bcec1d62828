package mail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"lastwill/internal/atomicfile"
	"lastwill/internal/localaws/loopback"
)

// Limits of the Mailbox.
const (
	// maxMailBytes lets through the largest SNS message (256 KB), tripled by
	// quoted-printable.
	maxMailBytes = 1 << 20
	// maxMailboxBytes is what the Mailbox keeps; it then refuses further mails.
	maxMailboxBytes = 64 << 20
	maxConnections  = 100
	// maxRecipients is the least that RFC 5321, 4.5.3.1.8, asks of a server.
	maxRecipients = 100
	// idleTimeout is the server's in RFC 5321, 4.5.3.2.7.
	idleTimeout  = 5 * time.Minute
	replyTimeout = 30 * time.Second
)

// A Mail is one that the Mailbox has taken.
type Mail struct {
	// Name of its file; names sort by arrival.
	Name    string
	Arrived time.Time
	// Raw is the mail as it came. It must not be changed.
	Raw []byte
}

// A Mailbox is an SMTP server on loopback that keeps all mail that it gets,
// whoever it is for.
type Mailbox struct {
	dir      string
	log      *slog.Logger
	listener *listener
	server   *smtp.Server
	served   chan struct{} // closed when the server accepts no more

	mu      sync.Mutex
	mails   []Mail
	bytes   int           // of mails
	room    int           // most that bytes may be
	changed chan struct{} // closed, and made anew, when a mail arrives
}

// NewMailbox listens on addr, which must be on loopback; port 0 takes a free
// one. With a folder it keeps the mails there as .eml files too, and begins
// with those that it finds.
func NewMailbox(addr, dir string, log *slog.Logger) (*Mailbox, error) {
	b := &Mailbox{dir: dir, log: log, served: make(chan struct{}), changed: make(chan struct{}), room: maxMailboxBytes}
	if dir != "" {
		if err := b.load(); err != nil {
			return nil, fmt.Errorf("open mailbox folder: %w", err)
		}
	}
	l, err := loopback.Listen(addr)
	if err != nil {
		return nil, fmt.Errorf("open mailbox: %w", err)
	}
	b.listener = &listener{Listener: l, max: maxConnections, conns: map[net.Conn]struct{}{}}
	b.server = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{b}, nil }))
	b.server.Domain = "localhost"
	b.server.EnableSMTPUTF8 = true
	b.server.MaxMessageBytes = maxMailBytes
	b.server.MaxRecipients = maxRecipients
	b.server.ReadTimeout = idleTimeout
	b.server.WriteTimeout = replyTimeout
	b.server.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	go func() {
		defer close(b.served)
		_ = b.server.Serve(b.listener) // returns when Close closes the listener
	}()
	return b, nil
}

// Addr returns the address that the Mailbox listens on, as host:port.
func (b *Mailbox) Addr() string { return b.listener.Addr().String() }

// List returns all mails, first come first.
func (b *Mailbox) List() []Mail {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mails[:len(b.mails):len(b.mails)]
}

// Get returns the mail of a name.
func (b *Mailbox) Get(name string) (Mail, bool) {
	for _, m := range b.List() {
		if m.Name == name {
			return m, true
		}
	}
	return Mail{}, false
}

// Wait returns the mails after the first seen ones. It waits until there is
// at least one, or ctx ends.
func (b *Mailbox) Wait(ctx context.Context, seen int) ([]Mail, error) {
	for {
		b.mu.Lock()
		mails, changed := b.mails[:len(b.mails):len(b.mails)], b.changed
		b.mu.Unlock()
		if len(mails) > seen {
			return mails[seen:], nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for mail: %w", ctx.Err())
		}
	}
}

// Close ends the server and all its connections. The mails stay readable.
func (b *Mailbox) Close() error {
	err := b.listener.Close()
	<-b.served
	// Shutdown waits for the connections' goroutines, which the closed
	// listener has ended.
	if shut := b.server.Shutdown(context.Background()); !errors.Is(shut, smtp.ErrServerClosed) {
		err = errors.Join(err, shut)
	}
	return err
}

var (
	errMailboxFull = &smtp.SMTPError{
		Code: 452, EnhancedCode: smtp.EnhancedCode{4, 2, 2},
		Message: "Mailbox full: restart the local endpoint with an empty mail folder",
	}
	errNotStored = &smtp.SMTPError{
		Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0},
		Message: "Mail could not be written to the mailbox folder",
	}
)

func (b *Mailbox) store(raw []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bytes+len(raw) > b.room {
		return errMailboxFull
	}
	m := Mail{Name: b.nextName(), Arrived: time.Now(), Raw: raw}
	if b.dir != "" {
		if err := atomicfile.Write(filepath.Join(b.dir, m.Name), raw); err != nil {
			b.log.Error("mail not stored", "folder", b.dir, "error", err)
			return errNotStored
		}
	}
	b.add(m)
	close(b.changed)
	b.changed = make(chan struct{})
	return nil
}

func (b *Mailbox) add(m Mail) {
	b.mails = append(b.mails, m)
	b.bytes += len(m.Raw)
}

func (b *Mailbox) nextName() string {
	last := 0
	if len(b.mails) > 0 {
		last, _ = strconv.Atoi(strings.TrimSuffix(b.mails[len(b.mails)-1].Name, ".eml")) // names are made here
	}
	return fmt.Sprintf("%08d.eml", last+1)
}

var mailName = regexp.MustCompile(`^\d{8}\.eml$`)

func (b *Mailbox) load() error {
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(b.dir) // sorted by name
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !mailName.MatchString(e.Name()) {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		raw, err := os.ReadFile(filepath.Join(b.dir, e.Name()))
		if err != nil {
			return err
		}
		b.add(Mail{Name: e.Name(), Arrived: info.ModTime(), Raw: raw})
	}
	return nil
}

// A session is one SMTP connection. The Mailbox is for every sender and
// recipient.
type session struct{ mailbox *Mailbox }

func (s *session) Mail(string, *smtp.MailOptions) error { return nil }
func (s *session) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (s *session) Reset()                               {}
func (s *session) Logout() error                        { return nil }

func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return s.mailbox.store(raw)
}
