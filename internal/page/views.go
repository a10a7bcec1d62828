package page

import (
	"bytes"
	"embed"
	"encoding/hex"
	"encoding/json"
	"hash/fnv"
	"html/template"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"lastwill/internal/will"
)

//go:embed assets
var assetFiles embed.FS

//go:embed templates
var templateFiles embed.FS

// version is in the assets' path, so that browsers may keep them for good.
var version = func() string {
	sum := fnv.New64a()
	names, err := fs.Glob(assetFiles, "assets/*")
	if err != nil {
		panic(err) // the pattern is well formed
	}
	for _, name := range names {
		b, err := assetFiles.ReadFile(name)
		if err != nil {
			panic(err) // it is embedded
		}
		_, _ = sum.Write(b) // a hash takes everything
	}
	return hex.EncodeToString(sum.Sum(nil))
}()

func serveAsset(w http.ResponseWriter, r *http.Request) {
	b, err := assetFiles.ReadFile("assets/" + r.PathValue("name"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	kind := mime.TypeByExtension(path.Ext(r.PathValue("name")))
	if strings.HasSuffix(r.PathValue("name"), ".woff2") {
		kind = "font/woff2"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(b) //nolint:gosec // an embedded file; and if the page is gone, there is nobody to tell
}

var templates = func() map[string]*template.Template {
	shell := template.Must(template.New("shell.html").Funcs(template.FuncMap{
		"asset":  func(name string) string { return Root + "assets/" + version + "/" + name },
		"clock":  func(t time.Time) string { return t.Local().Format("15:04:05") },
		"date":   func(t time.Time) string { return t.Local().Format("2 Jan 2006, 15:04:05") },
		"after":  func(t, from time.Time) string { return strconv.FormatFloat(t.Sub(from).Seconds(), 'f', 3, 64) + " s" },
		"iso":    func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
		"json":   indented,
		"links":  links,
		"state":  stateOf,
		"number": thousands,
		"parts":  func(kind string) []string { return strings.Split(strings.TrimPrefix(kind, "AWS::"), "::") },
		"letter": initial,
	}).ParseFS(templateFiles, "templates/shell.html"))
	all := map[string]*template.Template{}
	for _, view := range []string{"timeline", "client", "mailbox", "stack", "rule", "simulate", "nothing"} {
		all[view] = template.Must(template.Must(shell.Clone()).ParseFS(templateFiles, "templates/"+view+".html"))
	}
	return all
}()

// indented is JSON as people read it; anything else stays as it is.
func indented(s string) string {
	var b bytes.Buffer
	if json.Indent(&b, []byte(s), "", "  ") != nil {
		return s
	}
	return b.String()
}

// thousands writes a number as the page's script does: 1,234,567.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// stateOf is the colour of a status of CloudFormation's.
func stateOf(status string) string {
	switch {
	case strings.Contains(status, "FAILED"), strings.Contains(status, "ROLLBACK"):
		return "lost"
	case strings.HasSuffix(status, "_COMPLETE"):
		return "alive"
	}
	return "quiet"
}

func initial(name string) string {
	for _, r := range name {
		return strings.ToUpper(string(r))
	}
	return "?"
}

// A piece of a mail's text; Link is its address if it is one.
type piece struct{ Text, Link string }

var webAddress = regexp.MustCompile(`https?://[^\s<>"]+`)

// links finds the addresses in a text, as mail clients do.
func links(s string) []piece {
	var out []piece
	at := 0
	for _, found := range webAddress.FindAllStringIndex(s, -1) {
		out = append(out, piece{Text: s[at:found[0]]}, piece{s[found[0]:found[1]], s[found[0]:found[1]]})
		at = found[1]
	}
	return append(out, piece{Text: s[at:]})
}

// A tab leads to a view.
type tab struct {
	Name, Path string
	Current    bool
}

// A view is what the shell's template shows.
type view struct {
	Title  string
	Script string // of the view, if it needs one
	Tabs   []tab
	Page   Options
	Data   any
	// At is the place in the history up to which the page was rendered.
	At string
}

func (p *Page) show(w http.ResponseWriter, status int, name, title string, data any) {
	script := name + ".js"
	if name == "nothing" {
		script = ""
	}
	v := view{Title: title, Script: script, Page: p.options, Data: data, At: p.history.id(p.history.position())}
	add := func(name, path string) { v.Tabs = append(v.Tabs, tab{name, Root + path, name == title}) }
	add("Timeline", "")
	add("MQTT client", "client")
	if p.options.Mailbox != nil {
		add("Mailbox", "mailbox")
	}
	if p.options.Stacks != nil {
		add("Stack", "stack")
	}
	add("Try a rule", "rule")
	if p.options.Fleet != nil {
		add("Simulate", "simulate")
	}
	var b bytes.Buffer
	if err := templates[name].ExecuteTemplate(&b, "shell.html", v); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the page is gone; there is nobody to tell
}

func (p *Page) serveTimeline(w http.ResponseWriter, r *http.Request) {
	data := struct {
		MaxEvents int
		Connected []string // topics of connected messages
		// Addresses of the e-mails, and how many of them are confirmed.
		Addresses, Confirmed int
		Problems             []string
	}{MaxEvents: MaxEvents}
	stacks, err := p.stacks(r)
	if err != nil {
		data.Problems = append(data.Problems, err.Error())
	}
	for _, s := range stacks {
		data.Problems = append(data.Problems, s.Problems...)
		for _, a := range s.Addresses {
			data.Addresses++
			if !a.Pending {
				data.Confirmed++
			}
		}
		if topic := s.Output(will.OutputConnectedTopic); topic != "" {
			data.Connected = append(data.Connected, topic)
		}
	}
	p.show(w, http.StatusOK, "timeline", "Timeline", data)
}

// stacks are the deployed stacks as they were last read, and what keeps them from
// being read now.
func (p *Page) stacks(r *http.Request) ([]StackState, error) {
	if p.options.Stacks == nil {
		return nil, nil
	}
	return p.options.Stacks(r.Context())
}

func (p *Page) serveNothing(w http.ResponseWriter, r *http.Request) {
	p.show(w, http.StatusNotFound, "nothing", "Nothing here", r.URL.Path)
}

// names are the topics that the stacks use, the scenario's if none is deployed.
func (p *Page) names(r *http.Request) (wills, connected, executed string) {
	n := will.NewNames("")
	wills, connected, executed = n.WillTopic, n.ConnectedTopic, n.ExecutedTopic
	stacks, _ := p.stacks(r) // the timeline and the Stack view say why
	for _, s := range stacks {
		if s.Output(will.OutputWillTopic) != "" {
			return s.Output(will.OutputWillTopic), s.Output(will.OutputConnectedTopic), s.Output(will.OutputExecutedTopic)
		}
	}
	return wills, connected, executed
}

func (p *Page) serveClient(w http.ResponseWriter, r *http.Request) {
	wills, connected, executed := p.names(r)
	p.show(w, http.StatusOK, "client", "MQTT client", struct {
		Suggested []string
		Topic     string
	}{[]string{wills, connected, executed, "#"}, wills})
}

func (p *Page) serveStack(w http.ResponseWriter, r *http.Request) {
	var data struct {
		Stacks []StackState
		Shown  *StackState
		Error  string
	}
	stacks, err := p.options.Stacks(r.Context())
	if err != nil {
		data.Error = err.Error()
	}
	data.Stacks = stacks
	wanted := r.URL.Query().Get("name")
	for i, s := range stacks {
		if s.Name == wanted || wanted == "" && i == 0 {
			data.Shown = &stacks[i]
		}
	}
	p.show(w, http.StatusOK, "stack", "Stack", data)
}

func (p *Page) serveRule(w http.ResponseWriter, r *http.Request) {
	wills, _, _ := p.names(r)
	data := struct {
		Rules []Rule
		Rule  Rule
		Topic, Payload,
		Client string
		Versions []string
	}{
		Rule:  Rule{SQL: will.SQL(wills), Version: will.SQLVersion},
		Topic: wills, Payload: indented(string(will.Payload(will.ThingName))), Client: will.ThingName,
		Versions: []string{"2016-03-23", "2015-10-08", "beta"},
	}
	stacks, _ := p.stacks(r) // the timeline and the Stack view say why
	for _, s := range stacks {
		data.Rules = append(data.Rules, s.Rules...)
	}
	for _, rule := range data.Rules {
		if rule.Name == r.URL.Query().Get("name") {
			data.Rule = rule
		}
	}
	p.show(w, http.StatusOK, "rule", "Try a rule", data)
}

func (p *Page) serveSimulate(w http.ResponseWriter, r *http.Request) {
	things, err := p.options.Fleet.Things(r.Context())
	data := struct {
		Things  []Thing
		Devices []Device
		Error   string
		Minimum, Maximum,
		KeepAlive int
	}{
		Things: things, Devices: p.options.Fleet.Devices(),
		Minimum: int(will.MinKeepAlive.Seconds()), Maximum: int(will.MaxKeepAlive.Seconds()), KeepAlive: int(will.KeepAlive.Seconds()),
	}
	if err != nil {
		data.Error = err.Error()
	}
	p.show(w, http.StatusOK, "simulate", "Simulate", data)
}

// lettersAtOnce is how many mails the list shows on one page.
const lettersAtOnce = 50

// serveMailbox shows the list of mails, and one of them. The list begins with a mail
// and not at a number, so that it stays when mail arrives.
func (p *Page) serveMailbox(w http.ResponseWriter, r *http.Request) {
	var data struct {
		Letters []Letter
		Shown   *Letter
		// From is the mail that the list begins with, Newer and Older are those of the
		// parts before and after; empty for the newest part, and if there is none.
		From, Newer, Older string
		First, Last, Total int
	}
	box := p.options.Mailbox
	name := r.PathValue("name")
	if name != "" {
		letter, ok := box.Letter(name)
		if !ok {
			p.serveNothing(w, r)
			return
		}
		data.Shown = &letter
	}
	skip, ok := box.Newer(r.URL.Query().Get("from"))
	if !ok { // the part that has the mail, or the newest
		newer, _ := box.Newer(name)
		skip = 0
		if name != "" {
			skip = newer / lettersAtOnce * lettersAtOnce
		}
	}
	data.Letters, data.Total = box.List(skip, lettersAtOnce+1)
	if len(data.Letters) > lettersAtOnce {
		data.Older = data.Letters[lettersAtOnce].Name
		data.Letters = data.Letters[:lettersAtOnce]
	}
	if skip > 0 {
		data.From = data.Letters[0].Name
	}
	if skip > lettersAtOnce {
		newer, _ := box.List(skip-lettersAtOnce, 1)
		data.Newer = newer[0].Name
	}
	data.First, data.Last = skip+1, skip+len(data.Letters)
	p.show(w, http.StatusOK, "mailbox", "Mailbox", data)
}

// serveMailHTML is a mail's HTML for a frame of the mailbox: it runs no script,
// loads nothing, and is of no origin.
func (p *Page) serveMailHTML(w http.ResponseWriter, r *http.Request) {
	letter, ok := p.options.Mailbox.Letter(r.PathValue("name"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'")
	w.Header().Set("X-Frame-Options", "SAMEORIGIN")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte(letter.HTML)) // the page is gone; there is nobody to tell
}
