// Package localaws is a local AWS endpoint for exactly what lastwill's stacks
// use. It deploys a synthesized stack, runs its devices' broker and its topic
// rule, and delivers its e-mails, and it enforces what AWS enforces: IoT and IAM
// policies, certificate status, the order of deletion, confirmation of
// subscriptions. Everything it opens is on the loopback interface.
//
// Where it differs from AWS is said in the package comment of each service; for
// all of them:
//   - A resource type, property or intrinsic that the stacks do not use is
//     refused by name.
//   - One account and one region.
//   - Over a restart, requests to the APIs and confirmations are kept once they are
//     answered. What devices and rules do (retained messages, log events) is saved a
//     moment later, and a mail that is under way when the process dies is lost.
//     MQTT sessions are not kept.
//   - What AWS does within seconds or minutes (a role that becomes usable, a
//     deactivated certificate that loses its connections) happens at once.
package localaws

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"lastwill/internal/localaws/api"
	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/cloudwatch"
	"lastwill/internal/localaws/ecr"
	"lastwill/internal/localaws/iam"
	"lastwill/internal/localaws/iot"
	"lastwill/internal/localaws/lambda"
	"lastwill/internal/localaws/logs"
	"lastwill/internal/localaws/loopback"
	"lastwill/internal/localaws/mail"
	"lastwill/internal/localaws/resources"
	"lastwill/internal/localaws/s3"
	"lastwill/internal/localaws/sns"
	"lastwill/internal/localaws/sqs"
	"lastwill/internal/localaws/ssm"
)

// Account is the account and region that everything local lives in. The number
// is the one that AWS's documentation uses for examples.
var Account = awsapi.Account{ID: "123456789012", Region: "us-east-1"}

// Options of a Server. The zero value is a server on free ports with a mailbox of
// its own.
type Options struct {
	// HTTPAddress is where the AWS APIs and the links in mails are. Default: a free
	// port on 127.0.0.1.
	HTTPAddress string
	// MQTTAddress is where devices connect. Default: a free port on 127.0.0.1.
	MQTTAddress string
	// ConnectInterval is the least time from one CONNECT of a client ID to the
	// next. Default: 1 s, as on AWS. A negative one is none.
	ConnectInterval time.Duration
	// SMTPAddress is the mail server that e-mails are handed to. Default: the
	// built-in mailbox.
	SMTPAddress string
	// User may do everything. Default: the one with the test credentials, which everybody
	// on the machine can use.
	User api.User
	// CredentialsFile is where User's credentials are for those who may read it. The
	// status names it. Default: none is named.
	CredentialsFile string
	// DataDir keeps stacks, resources, the certificate authority and mails, so that
	// a restart goes on with them. Default: all is in memory and gone with the process.
	DataDir string
	// ObserveIoT is told what the broker and the rules engine do; it must not block.
	ObserveIoT func(iot.Event)
	// ObserveStacks is told every stack event; it must not block.
	ObserveStacks func(cloudformation.Event)
	// Page makes what answers below /_lwt/ beside the endpoint's own: a page to see
	// it on. Default: nothing does.
	Page func(*Server) http.Handler
	// Log gets what went wrong. Default: nothing is logged.
	Log *slog.Logger
}

// A Server is a local AWS endpoint that is up.
type Server struct {
	CloudFormation *cloudformation.Service
	IoT            *iot.Service
	IAM            *iam.Service
	SNS            *sns.Service
	SQS            *sqs.Service
	Lambda         *lambda.Service
	CloudWatch     *cloudwatch.Service
	Logs           *logs.Service
	SSM            *ssm.Service
	ECR            *ecr.Service
	S3             *s3.Service
	// Mailbox is nil when mails go to a server of the user's.
	Mailbox *mail.Mailbox

	log  *slog.Logger
	keys *api.Keys
	// credentials is the file of the user's.
	credentials string
	api         *api.Handler
	listener    net.Listener
	mailer      *mail.Mailer
	http        *http.Server
	closing     chan struct{} // closed when Close is called
	closed      sync.Once
	state       state
	answers     *resources.Answers
	rootCA      caFile
}

// Start returns a Server whose ports are open.
func Start(o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{IAM: iam.New(Account), Logs: logs.New(Account), SSM: ssm.New(), ECR: ecr.New(Account), keys: api.NewKeysOf(Account, o.User), credentials: o.CredentialsFile, log: o.Log, closing: make(chan struct{})}
	if err := s.start(o); err != nil {
		return nil, errors.Join(err, s.Close(context.Background()))
	}
	return s, nil
}

func (s *Server) start(o Options) (err error) {
	if err := s.openState(o.DataDir); err != nil {
		return err
	}
	if s.listener, err = loopback.Listen(o.HTTPAddress); err != nil {
		return err
	}
	if err := s.openMail(o); err != nil {
		return err
	}
	if s.S3, err = s3.New(below(o.DataDir, "objects")); err != nil {
		return err
	}
	s.Lambda = s.newLambda()
	s.SQS = sqs.New(Account, s.URL())
	s.SNS = sns.New(Account, s.mailer, s.SQS, s.URL())
	s.CloudWatch = cloudwatch.New(Account, s.SNS, time.Now, o.Log)
	s.SNS.CountWith(s.countSNS)
	s.IoT, err = iot.New(iot.Options{
		Account: Account, IAM: s.IAM, SNS: s.SNS, Logs: s.Logs,
		VerifyWebSocket: func(r *http.Request) (iot.Signer, error) {
			caller, err := s.keys.VerifyWebSocket(r)
			signer := iot.Signer{UserID: caller.UserID}
			if caller.Role != "" {
				signer.Role = s.IAM.Session(caller.Role, caller.ARN)
			}
			return signer, err
		},
		MQTTAddress: o.MQTTAddress, ConnectInterval: o.ConnectInterval, AuthorityDir: o.DataDir, Log: o.Log,
		Observe: func(e iot.Event) {
			if o.ObserveIoT != nil {
				o.ObserveIoT(e)
			}
			s.countIoT(e)
			if e.Message != nil && e.Message.Retain || e.Kind == iot.ActionFailed { // its error action writes a log event
				s.state.wake()
			}
		},
	})
	if err != nil {
		return err
	}
	s.answers = resources.NewAnswers(s.URL())
	types := resources.Types(resources.Services{
		Account: Account, IoT: s.IoT, IAM: s.IAM, SNS: s.SNS, Lambda: s.Lambda, CloudWatch: s.CloudWatch, Logs: s.Logs, SSM: s.SSM, ECR: s.ECR, S3: s.S3,
		Answers: s.answers,
	})
	s.CloudFormation = cloudformation.New(cloudformation.Options{
		Account: Account, Types: types, Parameter: s.SSM.Get, Atomically: s.state.atomically,
		OnEvent: func(e cloudformation.Event) {
			s.state.wake()
			if o.ObserveStacks != nil {
				o.ObserveStacks(e)
			}
		},
	})
	if err := s.load(); err != nil {
		return err
	}
	if err := s.IoT.Start(); err != nil {
		return err
	}
	go s.keepSaving()
	go s.evaluateAlarms()
	s.serve(o.Page)
	return s.CloudFormation.Resume()
}

func (s *Server) openMail(o Options) (err error) {
	address := o.SMTPAddress
	if address == "" {
		if s.Mailbox, err = mail.NewMailbox("127.0.0.1:0", below(o.DataDir, "mail"), o.Log); err != nil {
			return err
		}
		address = s.Mailbox.Addr()
	}
	s.mailer = mail.NewMailer(address, o.Log)
	return nil
}

// below names a folder in the data folder, if there is one.
func below(dir, name string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, name)
}

// maxConnections bounds the memory that idle clients take.
const maxConnections = 1000

func (s *Server) serve(page func(*Server) http.Handler) {
	own := http.NewServeMux()
	own.Handle(sns.LinkPath, s.SNS.Handler())
	own.HandleFunc("GET "+StatusPath, s.serveStatus)
	own.Handle("PUT "+resources.ResponsePath, s.answers)
	if page != nil {
		own.Handle("/_lwt/", page(s))
	}
	s.api = api.New(api.Services{
		Account: Account, Keys: s.keys,
		IAM: s.IAM, SSM: s.SSM, S3: s.S3, CloudFormation: s.CloudFormation, IoT: s.IoT, Lambda: s.Lambda, Logs: s.Logs, SNS: s.SNS, SQS: s.SQS, CloudWatch: s.CloudWatch,
	})
	s.http = &http.Server{
		Handler: s.durable(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/_lwt/") {
				own.ServeHTTP(w, r)
				return
			}
			s.api.ServeHTTP(w, r)
		})),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: time.Minute,
		MaxHeaderBytes: 64 << 10,
	}
	go func() { _ = s.http.Serve(loopback.Limit(s.listener, maxConnections)) }() // it ends with ErrServerClosed at Close
}

// URL is the address of the endpoint.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() }

// Closing is closed when Close is called: who answers a request for as long as it
// is wanted ends it then.
func (s *Server) Closing() <-chan struct{} { return s.closing }

// Flush returns when every e-mail under way is delivered.
func (s *Server) Flush(ctx context.Context) error { return s.mailer.Flush(ctx) }

// Close takes no more requests, lets deployments, functions and mails under way end,
// closes all ports and saves the state. What has not ended with ctx is ended then: a
// deployment goes on after a restart with the same data folder. Further calls do nothing.
func (s *Server) Close(ctx context.Context) error {
	s.closed.Do(func() { close(s.closing) })
	var errs []error
	if s.http != nil {
		if err := s.CloudFormation.Wait(ctx); err != nil { // a function of a custom resource needs the endpoint
			errs = append(errs, err, s.save())
			s.state.freeze() // the deployment goes on from here
		}
	}
	if s.Lambda != nil {
		s.Lambda.Stop()
	}
	if s.SQS != nil {
		s.SQS.Stop() // who waits for messages would keep the server up
	}
	if s.http != nil {
		errs = append(errs, s.http.Shutdown(ctx))
	} else if s.listener != nil {
		errs = append(errs, s.listener.Close())
	}
	if s.CloudFormation != nil && ctx.Err() == nil {
		errs = append(errs, s.CloudFormation.Wait(ctx)) // of a request under way
	}
	if s.IoT != nil {
		errs = append(errs, s.IoT.Close())
	}
	if s.mailer != nil {
		errs = append(errs, s.mailer.Close(ctx))
	}
	if s.Mailbox != nil {
		errs = append(errs, s.Mailbox.Close())
	}
	errs = append(errs, s.rootCA.remove())
	if s.http != nil { // it was up: there is a state to keep
		s.state.stop()
		errs = append(errs, s.save())
	}
	if s.state.lock != nil {
		_ = s.state.lock.Close() // gives the folder free; it is closed already the second time
	}
	return errors.Join(errs...)
}
