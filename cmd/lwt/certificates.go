package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"

	"lastwill/internal/atomicfile"
	"lastwill/internal/cli"
	"lastwill/internal/deployed"
	"lastwill/internal/pemfile"
	"lastwill/internal/shell"
	"lastwill/internal/will"
)

const certificatesUsage = `lwt certificates fetches the certificates of all things of a deployed stack into files
beside their keys: DIR/THING.pem.crt. Files that are there and current stay as they
are; one that AWS IoT issued earlier for the same key is replaced. Run it after each
deployment that replaces certificates.

Usage: lwt certificates [FLAGS]

  -environment NAME   the environment; default: none, the stack Lastwill
  -stack NAME         the stack; default: that of the environment
  -certs DIR          the folder; default: certs
  -json               print one JSON object: what was done for each thing; error and
                      hint, if something failed

A file with any other certificate is never overwritten: that is an error, which says
what to do. Your IAM policy must allow cloudformation:DescribeStacks and
iot:DescribeCertificate.

Exit codes: 0 all are there; 1 not all are, or they could not be found out; 2 wrong
usage.
`

// A fetched is what was done for the certificate of a thing.
type fetched struct {
	Thing       string `json:"thing"`
	Certificate string `json:"certificateId"`
	File        string `json:"file"`
	// Done is "fetched", "current" or "replaced"; empty if it failed.
	Done string `json:"done,omitempty"`
	cli.Failure
}

// A certificatesResult is what -json prints.
type certificatesResult struct {
	Stack        string    `json:"stack"`
	Certificates []fetched `json:"certificates"`
	cli.Failure
}

func runCertificates(ctx context.Context, args []string, s cli.Streams) error {
	flags := flag.NewFlagSet("lwt certificates", flag.ContinueOnError)
	var stack stackFlags
	stack.add(flags)
	dir := flags.String("certs", "certs", "")
	asJSON := flags.Bool("json", false, "")
	if err := cli.Parse(flags, args, s.Out, certificatesUsage); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return cli.WithHint(cli.Usagef("unexpected argument %q", flags.Arg(0)), "lwt certificates -h shows the flags")
	}
	if err := stack.validate(); err != nil {
		return err
	}
	config, err := awsConfig(ctx)
	if err != nil {
		return err
	}
	things, ids, err := certificatesOf(ctx, config, stack.name())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(*dir, 0o700); err != nil {
		return cli.WithHint(err, "-certs names a folder that can be made")
	}
	result := certificatesResult{Stack: stack.name()}
	var errs []error
	for i, thing := range things {
		f := fetched{Thing: thing, Certificate: ids[i], File: filepath.Join(*dir, thing+".pem.crt")}
		done, err := fetchCertificate(ctx, iot.NewFromConfig(config), f)
		f.Done, f.Failure = done, cli.FailureOf(err)
		errs = append(errs, err)
		result.Certificates = append(result.Certificates, f)
		if err == nil && !*asJSON {
			fmt.Fprintf(s.Out, "%-8s  %s\n", f.Done, f.File)
		}
	}
	err = errors.Join(errs...)
	if *asJSON {
		result.Failure = cli.FailureOf(err)
		return cli.Told(errors.Join(err, printJSON(s.Out, result)))
	}
	return err
}

// certificatesOf returns the things of a stack and the IDs of their certificates, in the
// same order.
func certificatesOf(ctx context.Context, config aws.Config, name string) (things, ids []string, err error) {
	target, err := deployed.Target(ctx, config, name)
	if err != nil {
		return nil, nil, err
	}
	stack, err := deployed.Stack(ctx, config, target.Stack)
	if err != nil || stack == nil {
		return nil, nil, errors.Join(err, fmt.Errorf("read stack %s", name))
	}
	outputs := deployed.Outputs(*stack)
	things, ids = strings.Split(outputs[will.OutputThingName], ","), strings.Split(outputs[will.OutputCertificateID], ",")
	if len(things) != len(ids) {
		return nil, nil, fmt.Errorf("stack %s has %d things and %d certificates", name, len(things), len(ids))
	}
	return things, ids, nil
}

// fetchCertificate brings the certificate of a thing into its file, and says what was done.
func fetchCertificate(ctx context.Context, client *iot.Client, f fetched) (done string, err error) {
	found, err := client.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: &f.Certificate})
	if err != nil {
		return "", deployed.Hint(fmt.Errorf("fetch the certificate of %s: %w", f.Thing, err))
	}
	text := aws.ToString(found.CertificateDescription.CertificatePem)
	blocks, err := pemfile.Decode([]byte(text))
	if err != nil {
		return "", fmt.Errorf("the certificate of %s: %w", f.Thing, err)
	}
	fresh, err := x509.ParseCertificate(blocks[0].Bytes)
	if err != nil {
		return "", fmt.Errorf("the certificate of %s: %w", f.Thing, err)
	}
	old, err := pemfile.Read(f.File)
	done = "replaced"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		done = "fetched"
	case err != nil:
		return "", keepFile(f.File, err.Error())
	case pemfile.Of(old, pemfile.Certificate) == nil:
		return "", keepFile(f.File, f.File+" holds no certificate")
	default:
		own := pemfile.Of(old, pemfile.Certificate).Bytes
		if bytes.Equal(own, fresh.Raw) {
			return "current", nil
		}
		c, err := x509.ParseCertificate(own)
		if err != nil || !replaceable(c, fresh) || pemfile.Key(old) != nil {
			return "", keepFile(f.File, f.File+" holds another certificate, which is not the stack's")
		}
	}
	return done, atomicfile.Write(f.File, []byte(text))
}

// keepFile is the error of a file that must not be overwritten.
func keepFile(file, why string) error {
	return cli.WithHint(fmt.Errorf("%s: it is not overwritten", why), "mv %s %s, then run this again", shell.Quote(file), shell.Quote(file+".old"))
}

// replaceable tells whether a certificate is an earlier one of AWS IoT's, or of the local
// endpoint's, for the same key. One that somebody else issued is its owner's.
func replaceable(old, fresh *x509.Certificate) bool {
	key, ok := fresh.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	issuers := []string{fresh.Issuer.String(), "CN=lastwill local root CA,O=lastwill"}
	return ok && key.Equal(old.PublicKey) && (slices.Contains(issuers, old.Issuer.String()) || strings.Contains(old.Issuer.String(), "Amazon Web Services"))
}
