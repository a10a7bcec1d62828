package localaws

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"lastwill/internal/localaws/api"
	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/lambda"
	"lastwill/internal/localaws/policy"
)

const lambdaService = "lambda.amazonaws.com"

func (s *Server) newLambda() *lambda.Service {
	return lambda.New(lambda.Options{
		Account: Account, Object: s.S3.Object, Assume: s.assumeForFunction,
		Environment: s.functionEnvironment, Log: s.logOfFunction,
	})
}

// assumeForFunction gives out credentials that are good for the longest invocation.
func (s *Server) assumeForFunction(role, function string) (lambda.Credentials, error) {
	arn, id, err := s.IAM.AssumeAs(role, policy.Principal{Service: lambdaService}, function, nil)
	if err != nil {
		return lambda.Credentials{}, err
	}
	c, err := s.keys.Issue(api.Caller{ARN: arn, UserID: id, Role: roleName(role)}, 2*lambda.MaxTimeout)
	return lambda.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}, err
}

func roleName(arn string) string { return arn[strings.LastIndex(arn, "/")+1:] }

// functionEnvironment says where the APIs are, and which authority to trust: the
// one of the broker in the place of the system's.
func (s *Server) functionEnvironment() ([]string, error) {
	file, err := s.rootCA.path(s.IoT.RootCA)
	return []string{"AWS_ENDPOINT_URL=" + s.URL(), "SSL_CERT_FILE=" + file, "SSL_CERT_DIR=" + os.DevNull}, err
}

// logOfFunction writes what a function's role may write. As on AWS, a role that
// may create log groups gets one that no stack knows.
func (s *Server) logOfFunction(role, group, stream, line string) {
	identity := s.IAM.Session(roleName(role), "")
	may := func(action, resource string) bool {
		return identity.Decide(policy.Request{Action: action, Resource: Account.ARN("logs", resource)}) == policy.Allow
	}
	streamARN := "log-group:" + group + ":log-stream:" + stream
	if !may("logs:CreateLogStream", streamARN) || !may("logs:PutLogEvents", streamARN) {
		return
	}
	err := s.Logs.Put(group, stream, line)
	if errors.As(err, new(*awsapi.Error)) && may("logs:CreateLogGroup", "log-group:"+group) {
		if _, err = s.Logs.Create(group, 0, nil); err == nil {
			err = s.Logs.Put(group, stream, line)
		}
	}
	if err != nil {
		s.log.Warn("a line of a function is lost", "group", group, "error", err)
	}
	s.state.wake()
}

// A caFile is the authority's certificate as a file, made when first asked for.
type caFile struct {
	once sync.Once
	dir  string
	err  error
}

func (f *caFile) path(pem func() []byte) (string, error) {
	f.once.Do(func() {
		if f.dir, f.err = os.MkdirTemp("", "lastwill-ca-*"); f.err == nil {
			f.err = os.WriteFile(filepath.Join(f.dir, "ca.pem"), pem(), 0o600)
		}
	})
	return filepath.Join(f.dir, "ca.pem"), f.err
}

// remove ends with the file gone, whether there was one or not.
func (f *caFile) remove() error {
	f.once.Do(func() {})
	if f.dir == "" {
		return nil
	}
	return os.RemoveAll(f.dir)
}
