package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"syscall"
	"time"

	"lastwill/internal/cli"
	"lastwill/internal/localaws/loopback"
	"lastwill/internal/page"
	"lastwill/internal/page/cloud"
)

const (
	defaultWeb = "127.0.0.1:4567"
	// maxTabs bounds the connections of the page; browsers open six for all tabs.
	maxTabs = 100
)

// watchWeb serves the page of a stack until ctx ends, or for a time if that is more
// than 0.
func watchWeb(ctx context.Context, address string, duration time.Duration, stack stackFlags, broker brokerFlags, s cli.Streams) error {
	listener, err := loopback.Listen(address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return cli.WithHint(err, "another port: -addr 127.0.0.1:0")
	}
	if err != nil {
		return cli.Usagef("%w", err)
	}
	defer func() { _ = listener.Close() }() // the server has closed it, unless there was none
	roots, err := broker.roots()
	if err != nil {
		return err
	}
	aws, err := awsConfig(ctx)
	if err != nil {
		return err
	}
	endpoint, err := broker.find(ctx, aws)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	shown, err := cloud.Open(ctx, cloud.Options{
		AWS: aws, Stack: stack.name(), Endpoint: endpoint, Roots: roots, Address: listener.Addr().String(),
		Log: func(err error) { fmt.Fprintln(s.Err, err) },
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle(page.Root, shown.Handler())
	mux.Handle("/{$}", http.RedirectHandler(page.Root, http.StatusFound))
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(loopback.Limit(listener, maxTabs)) }()
	fmt.Fprintf(s.Out, "page  http://%s%s  stack %s in %s, live; Ctrl-C ends\n", listener.Addr(), page.Root, stack.name(), aws.Region)
	wanted, enough := limited(ctx, duration)
	defer enough()
	select {
	case <-wanted.Done():
	case err = <-served:
	}
	cancel()
	closing, stop := context.WithTimeout(context.Background(), 5*time.Second)
	defer stop()
	server.Shutdown(closing)
	shown.Wait()
	return err
}
