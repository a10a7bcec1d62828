package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"lastwill/internal/cli"
	"lastwill/internal/iotsql"
	"lastwill/internal/iotsql/casefile"
	"lastwill/internal/textfile"
	"lastwill/internal/will"
)

const ruleUsage = `lwt rule tries the statements of topic rules, without deploying them.

Usage: lwt rule eval -sql STATEMENT -topic TOPIC [FLAGS]
       lwt rule explain -sql STATEMENT [FLAGS]
       lwt rule test FILE...
       lwt rule test -example

eval prints what the rule's actions would get for a message.
explain prints the parsed statement as a tree with types, and what a check of
it finds.
test runs files of cases; -example prints one to begin with.

  -sql STATEMENT     the rule's statement
  -version VERSION   2015-10-08, 2016-03-23 (default) or beta
  -topic TOPIC       the topic that the message was sent to
  -payload FILE      the message's payload, - for standard input (default: empty)
  -clientid ID       the client that sent the message
  -timestamp MS      the time in milliseconds since 1970 (default: now)
  -republish TOPIC   explain: where the rule republishes to, to check for loops

Exit codes: 0 the rule fires, the cases pass; 1 failed; 2 wrong usage or a wrong
statement; 3 the rule does not fire: the reason is on standard error.
`

// exitNoMatch is the exit code of a rule that does not fire.
const exitNoMatch = 3

// ruleExample is a file of cases for the scenario's rule.
//
//go:embed rule_example.cases
var ruleExample string

func runRule(_ context.Context, args []string, s cli.Streams) error {
	verbs := map[string]func([]string, cli.Streams) error{
		"eval": ruleEval, "explain": ruleExplain, "test": ruleTest,
	}
	if len(args) > 0 && verbs[args[0]] != nil {
		return verbs[args[0]](args[1:], s)
	}
	if len(args) > 0 && (args[0] == "-h" || args[0] == "--help") {
		fmt.Fprint(s.Out, ruleUsage)
		return nil
	}
	given := ""
	if len(args) > 0 {
		given = fmt.Sprintf(", not %q%s", args[0], cli.Meant(args[0], slices.Sorted(maps.Keys(verbs))))
	}
	return cli.WithHint(cli.Usagef("expected eval, explain or test%s", given), "lwt rule -h shows the usage")
}

type ruleFlags struct {
	sql, version, topic, payload, clientID, republish string
	time                                              time.Time
}

// parseRuleFlags reads the flags of a verb and compiles the statement.
func parseRuleFlags(verb string, args []string, s cli.Streams) (*ruleFlags, *iotsql.Rule, error) {
	f := &ruleFlags{}
	flags := flag.NewFlagSet("lwt rule "+verb, flag.ContinueOnError)
	flags.StringVar(&f.sql, "sql", "", "")
	flags.StringVar(&f.version, "version", will.SQLVersion, "")
	if verb == "eval" {
		flags.StringVar(&f.topic, "topic", "", "")
		flags.StringVar(&f.payload, "payload", "", "")
		flags.StringVar(&f.clientID, "clientid", "", "")
		flags.Func("timestamp", "", func(s string) error {
			ms, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				return errors.New("expected milliseconds since 1970")
			}
			f.time = time.UnixMilli(ms)
			return nil
		})
	} else {
		flags.StringVar(&f.republish, "republish", "", "")
	}
	if err := cli.Parse(flags, args, s.Out, ruleUsage); err != nil {
		return nil, nil, err
	}
	hint := fmt.Sprintf("lwt rule %s -sql \"SELECT * FROM 'my/topic'\"", verb)
	if verb == "eval" {
		hint += " -topic my/topic"
	}
	switch {
	case flags.NArg() > 0:
		return nil, nil, cli.WithHint(cli.Usagef("unexpected argument %q", flags.Arg(0)), "put the statement in quotes: %s", hint)
	case f.sql == "":
		return nil, nil, cli.WithHint(cli.Usagef("no statement given"), "%s", hint)
	case verb == "eval" && f.topic == "":
		return nil, nil, cli.WithHint(cli.Usagef("no topic given"), "%s", hint)
	}
	rule, err := iotsql.Compile(f.sql, iotsql.Version(f.version))
	if err != nil {
		return nil, nil, statementError(err)
	}
	return f, rule, nil
}

// statementError is a usage error that shows the place of the fault.
func statementError(err error) error {
	var fault *iotsql.SyntaxError
	if errors.As(err, &fault) {
		return cli.Usagef("%w\n%s", fault, fault.Snippet())
	}
	return cli.Usagef("%w", err)
}

func ruleEval(args []string, s cli.Streams) error {
	f, rule, err := parseRuleFlags("eval", args, s)
	if err != nil {
		return err
	}
	m := &iotsql.Message{Topic: f.topic, ClientID: f.clientID, Time: f.time}
	if m.Payload, err = readPayload(f.payload, s.In); err != nil {
		return err
	}
	for _, p := range rule.Check() {
		fmt.Fprintf(s.Err, "lwt: warning: %s\n%s\n", p, p.Snippet())
	}
	why, err := rule.Explain(m)
	if err != nil {
		return evalError(err)
	}
	if !why.Fired {
		fmt.Fprintf(s.Err, "no match: %s\n", strings.ReplaceAll(why.String(), "\n", "\nno match: "))
		return &cli.ExitError{Code: exitNoMatch}
	}
	result, err := rule.Eval(m)
	if err != nil {
		return evalError(err)
	}
	s.Out.Write(result.Payload) //nolint:errcheck // as with fmt.Fprint: nobody is left to tell
	if !bytes.HasSuffix(result.Payload, []byte("\n")) {
		fmt.Fprintln(s.Out)
	}
	return nil
}

func evalError(err error) error {
	switch {
	case errors.Is(err, iotsql.ErrPayload):
		return cli.WithHint(err, "on AWS this counts as a ParseError of the rule, and no action runs")
	case errors.Is(err, iotsql.ErrNotAvailable):
		return cli.WithHint(err, "try the statement with a literal in its place")
	}
	return err
}

func readPayload(name string, in io.Reader) ([]byte, error) {
	switch name {
	case "":
		return nil, nil
	case "-":
		payload, err := io.ReadAll(in)
		if err != nil {
			return nil, fmt.Errorf("cannot read the payload from standard input: %w", err)
		}
		return payload, nil
	}
	payload, err := os.ReadFile(name)
	if err != nil {
		return nil, cli.WithHint(fmt.Errorf("cannot read the payload: %w", err), "-payload takes a file's name, or - for standard input")
	}
	return payload, nil
}

func ruleExplain(args []string, s cli.Streams) error {
	f, rule, err := parseRuleFlags("explain", args, s)
	if err != nil {
		return err
	}
	fmt.Fprint(s.Out, rule.Tree())
	var republish []string
	if f.republish != "" {
		republish = append(republish, f.republish)
	}
	problems := 0
	for _, p := range rule.Check(republish...) {
		severity := "warning"
		if !p.Warning {
			severity = "problem"
			problems++
		}
		fmt.Fprintf(s.Out, "\n%s: %s\n%s\n", severity, p, p.Snippet())
	}
	if problems > 0 {
		return fmt.Errorf("problems found: %d", problems)
	}
	return nil
}

func ruleTest(args []string, s cli.Streams) error {
	flags := flag.NewFlagSet("lwt rule test", flag.ContinueOnError)
	example := flags.Bool("example", false, "")
	if err := cli.Parse(flags, args, s.Out, ruleUsage); err != nil {
		return err
	}
	if *example {
		fmt.Fprint(s.Out, ruleExample)
		return nil
	}
	if flags.NArg() == 0 {
		return cli.WithHint(cli.Usagef("no file given"), "lwt rule test -example prints one to begin with")
	}
	passed, failed := 0, 0
	for _, name := range flags.Args() {
		cases, err := readCases(name)
		if err != nil {
			return err
		}
		for _, c := range cases {
			if err := c.Run(); err != nil {
				failed++
				fmt.Fprintf(s.Out, "FAIL %s:%d: %s\n     %v\n", name, c.Line, c.Name, err)
				continue
			}
			passed++
		}
	}
	fmt.Fprintf(s.Out, "%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		return &cli.ExitError{Code: cli.ExitFailed}
	}
	return nil
}

func readCases(name string) ([]casefile.Case, error) {
	text, err := textfile.Read(name)
	if err != nil {
		return nil, fmt.Errorf("cannot read cases: %w", err)
	}
	cases, err := casefile.Parse(bytes.NewReader(text))
	if err != nil {
		return nil, cli.WithHint(fmt.Errorf("%s: %w", name, err), "lwt rule test -example prints a file of cases")
	}
	return cases, nil
}
