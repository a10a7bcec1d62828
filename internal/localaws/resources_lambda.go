package localaws

import (
	"time"

	"lastwill/internal/localaws/lambda"
)

type functionProperties struct {
	FunctionName, Description, Role, Runtime, Handler string
	Architectures                                     []string
	Code                                              struct{ S3Bucket, S3Key string }
	Timeout, MemorySize                               int
	Environment                                       struct{ Variables map[string]string }
	LoggingConfig                                     struct{ LogGroup string }
	Tags                                              tagList
}

func (p functionProperties) function(name string, r request) lambda.Function {
	f := lambda.Function{
		Name: name, Description: p.Description, Role: p.Role, Runtime: p.Runtime, Handler: p.Handler,
		Bucket: p.Code.S3Bucket, Key: p.Code.S3Key,
		Timeout: time.Duration(p.Timeout) * time.Second, MemoryMB: p.MemorySize,
		Environment: p.Environment.Variables, LogGroup: p.LoggingConfig.LogGroup, Tags: p.Tags.with(r.Tags),
	}
	if len(p.Architectures) > 0 {
		f.Architecture = p.Architectures[0]
	}
	return f
}

func (s *Server) createFunction(r request) (result, error) {
	p, err := decode[functionProperties](r.Properties)
	if err != nil {
		return result{}, err
	}
	f, err := s.Lambda.Create(p.function(named(p.FunctionName, r, 64), r))
	return functionResult(f), err
}

func (s *Server) updateFunction(r request) (result, error) {
	p, err := decode[functionProperties](r.Properties)
	if err != nil {
		return result{}, err
	}
	f, err := s.Lambda.Update(p.function(r.PhysicalID, r))
	return functionResult(f), err
}

func functionResult(f lambda.Function) result {
	return result{PhysicalID: f.Name, Attributes: map[string]any{"Arn": f.ARN}}
}
