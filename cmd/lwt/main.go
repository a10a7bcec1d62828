// Command lwt is the operators' tool of lastwill.
package main

import (
	"context"
	"fmt"
	"strings"

	"lastwill/internal/cli"
)

// A command is one subcommand of lwt; each lives in a file of its own name.
type command struct {
	name, summary string
	run           func(ctx context.Context, args []string, s cli.Streams) error
}

var commands = []command{
	{"certificates", "fetch the certificates of all things of a deployed stack", runCertificates},
	{"check", "prove a deployed stack end to end, and name the link that broke", runCheck},
	{"demo", "deploy on this machine, lose a device, see the e-mail", runDemo},
	{"ephemeral", "create, check and always destroy an environment", runEphemeral},
	{"leftovers", "list what is still there of an environment", runLeftovers},
	{"local", "a local AWS endpoint: cdk deploy, aws, devices, e-mails", runLocal},
	{"mute", "keep mails about a device back for a while", runMute},
	{"offline", "list the devices that are offline, and whether people know", runOffline},
	{"rule", "try the SQL statements of topic rules: eval, explain, test", runRule},
	{"status", "say whether a device is connected, since when, and why it was lost", runStatus},
	{"unmute", "end a mute", runUnmute},
	{"watch", "print the messages of MQTT topics as they come", runWatch},
	{"why", "say why there was a mail about a device, or none", runWhy},
}

func main() { cli.Main("lwt", run) }

func run(ctx context.Context, args []string, s cli.Streams) error {
	if len(args) == 0 {
		return cli.WithHint(cli.Usagef("no command given"), "lwt help lists the commands")
	}
	switch {
	case args[0] == "help" && len(args) > 1: // of a command
		args = append(args[1:], "-h")
	case args[0] == "help", args[0] == "-h", args[0] == "--help":
		fmt.Fprint(s.Out, usage())
		return nil
	}
	for _, c := range commands {
		if c.name == args[0] {
			return c.run(ctx, args[1:], s)
		}
	}
	var names []string
	for _, c := range commands {
		names = append(names, c.name)
	}
	return cli.WithHint(cli.Usagef("unknown command %q%s", args[0], cli.Meant(args[0], names)), "lwt help lists the commands")
}

func usage() string {
	var b strings.Builder
	b.WriteString("lwt tells within seconds when an IoT device dies.\n\nUsage: lwt COMMAND [FLAGS]\n\n")
	for _, c := range commands {
		fmt.Fprintf(&b, "  %-12s %s\n", c.name, c.summary)
	}
	fmt.Fprintf(&b, "  %-12s %s\n", "version", "print module version, commit and Go release of this program")
	b.WriteString("\nlwt COMMAND -h shows a command's flags. With -json, where a command has it, standard\noutput is JSON; a command that fails prints an object with error and hint there, too.\nExit codes: 0 done, 1 failed, 2 wrong usage; a command says where it has more.\n")
	return b.String()
}
