package resources

import (
	"time"

	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/lambda"
)

type functionProperties struct {
	Architectures []string
	Code          struct{ S3Bucket, S3Key string } `cfn:"required"`
	Description   string
	Environment   struct{ Variables map[string]string }
	FunctionName  string `cfn:"immutable"`
	Handler       string
	LoggingConfig struct{ LogGroup string }
	MemorySize    int
	Role          string `cfn:"required"`
	Runtime       string
	Tags          tagList
	Timeout       int
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

type function struct{ lambda *lambda.Service }

func (h function) create(r request, p functionProperties) (result, error) {
	f, err := h.lambda.Create(p.function(named(p.FunctionName, r, 64), r))
	return h.result(f), err
}

func (h function) update(r request, p, _ functionProperties) (result, error) {
	f, err := h.lambda.Update(p.function(r.PhysicalID, r))
	return h.result(f), err
}

func (h function) remove(r request, _ functionProperties) error {
	return gone(h.lambda.Delete(r.PhysicalID))
}

func (function) result(f lambda.Function) result {
	return result{PhysicalID: f.Name, Attributes: map[string]any{"Arn": f.ARN}}
}

func (h function) drift(r request, _ functionProperties) (cloudformation.Drift, error) {
	_, err := h.lambda.Get(r.PhysicalID)
	return driftOf(err, true)
}
