package main

import (
	"context"
	"flag"
	"fmt"

	"lastwill/internal/cli"
	"lastwill/internal/deployed"
	"lastwill/internal/leftovers"
)

const leftoversUsage = `lwt leftovers lists what is still there of an environment, local or on AWS: after
cdk destroy, what was left behind. Each has the command that removes it.

Usage: lwt leftovers [FLAGS]

  -environment NAME   the environment; default: none, the stack Lastwill
  -assets             also list the programs and templates in the bootstrap
                      bucket, which all CDK apps of account and region share
  -json               print one JSON object: environment, and what is left; or error
                      and hint

It goes by the names of the environment, those that lwt check gives to what it
makes, and the tags app and environment. Without an environment it knows no other
thing than lwtThing; with one, all whose names end in it, but for those of stacks of
other environments. A certificate that is attached to nothing it cannot tell: AWS
IoT has neither names nor tags for certificates.

Exit codes: 0 nothing is left; 1 something is, or it could not be found out;
2 wrong usage.
`

func runLeftovers(ctx context.Context, args []string, s cli.Streams) error {
	flags := flag.NewFlagSet("lwt leftovers", flag.ContinueOnError)
	var o leftovers.Options
	flags.StringVar(&o.Environment, "environment", "", "")
	flags.BoolVar(&o.Assets, "assets", false, "")
	asJSON := flags.Bool("json", false, "")
	if err := cli.Parse(flags, args, s.Out, leftoversUsage); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return cli.WithHint(cli.Usagef("unexpected argument %q", flags.Arg(0)), "lwt leftovers -h shows the flags")
	}
	err := checkEnvironment(o.Environment)
	if err != nil {
		return err
	}
	if o.AWS, err = awsConfig(ctx); err != nil {
		return err
	}
	items, err := leftovers.Find(ctx, o)
	if err != nil {
		return deployed.Hint(err)
	}
	if *asJSON {
		err = printJSON(s.Out, leftoversResult{o.Environment, append([]leftovers.Item{}, items...)})
	} else {
		printLeftovers(s, o.Environment, items)
	}
	if err == nil && len(items) > 0 {
		err = &cli.ExitError{Code: cli.ExitFailed}
	}
	return err
}

// A leftoversResult is what -json prints.
type leftoversResult struct {
	Environment string           `json:"environment"`
	Left        []leftovers.Item `json:"left"`
}

func printLeftovers(s cli.Streams, environment string, items []leftovers.Item) {
	of := "the environment without a name"
	if environment != "" {
		of = "environment " + environment
	}
	if len(items) == 0 {
		fmt.Fprintf(s.Out, "nothing is left of %s\n", of)
		return
	}
	fmt.Fprintf(s.Out, "left of %s: %d, each with the command that removes it\n\n", of, len(items))
	for _, i := range items {
		detail := i.Detail
		if detail != "" {
			detail = ", " + detail
		}
		fmt.Fprintf(s.Out, "  %s %s%s\n    %s\n", i.Kind, i.Name, detail, i.Command)
	}
}
