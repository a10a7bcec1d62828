package api

import (
	"time"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/lambda"
)

// lambdaFront has what finding a function takes, and removing it. They are made by
// stacks only.
func lambdaFront(s Services) front {
	a := lambdaAPI{s.Lambda}
	return restFront{service: "lambda", routes: []route{
		{method: "GET", path: "/2015-03-31/functions/", name: "ListFunctions", run: op(a.listFunctions)},
		{method: "GET", path: "/2015-03-31/functions", name: "ListFunctions", run: op(a.listFunctions)},
		{method: "DELETE", path: "/2015-03-31/functions/{FunctionName}", name: "DeleteFunction", run: do(func(in struct{ FunctionName string }) error { return a.service.Delete(in.FunctionName) })},
		{method: "GET", path: "/2017-03-31/tags/{Resource}", name: "ListTags", run: op(a.listTags)},
	}}
}

type lambdaAPI struct{ service *lambda.Service }

// Pages of ListFunctions: what may be asked for, and what there is at most in any
// case (API reference, ListFunctions).
const (
	maxLambdaItems = 10_000
	maxLambdaPage  = 50
)

type functionOutput struct {
	FunctionName, FunctionArn, Description, Role, Runtime, Handler, LastModified string
	Timeout, MemorySize                                                          int
	Architectures                                                                []string
	LoggingConfig                                                                struct{ LogGroup string }
}

func describeFunction(f lambda.Function) functionOutput {
	out := functionOutput{
		FunctionName: f.Name, FunctionArn: f.ARN, Description: f.Description, Role: f.Role, Runtime: f.Runtime, Handler: f.Handler,
		LastModified: f.LastModified.Format("2006-01-02T15:04:05.000-0700"),
		Timeout:      int(f.Timeout / time.Second), MemorySize: f.MemoryMB, Architectures: []string{f.Architecture},
	}
	out.LoggingConfig.LogGroup = f.LogGroup
	return out
}

func (a lambdaAPI) listFunctions(_ *call, in struct {
	Marker   string
	MaxItems number
},
) (out struct {
	Functions  []functionOutput
	NextMarker string `json:",omitempty"`
}, err error,
) {
	if in.MaxItems < 0 || in.MaxItems > maxLambdaItems {
		return out, awsapi.Errorf("InvalidParameterValueException", "MaxItems %d must be from 1 to %d", in.MaxItems, maxLambdaItems)
	}
	found, err := paginate(a.service.List(), func(f lambda.Function) string { return f.Name }, in.Marker, min(int(in.MaxItems), maxLambdaPage), maxLambdaPage)
	out.Functions, out.NextMarker = transform(found.items, describeFunction), found.next
	return out, err
}

func (a lambdaAPI) listTags(_ *call, in struct{ Resource string }) (out struct{ Tags awsapi.Tags }, err error) {
	f, err := a.service.Get(in.Resource)
	out.Tags = f.Tags
	return out, err
}
