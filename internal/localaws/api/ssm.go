package api

import (
	"strings"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/ssm"
)

func ssmFront(s Services) front {
	a := ssmAPI{s.Account, s.SSM}
	return jsonFront{service: "ssm", operations: map[string]operation{
		"GetParameter": op(a.getParameter),
	}}
}

type ssmAPI struct {
	account awsapi.Account
	service *ssm.Service
}

// A parameter without its version and date, which are not kept.
type parameter struct{ ARN, Name, Type, Value, DataType string }

func (a ssmAPI) parameter(name string) (parameter, error) {
	value, err := a.service.Get(name)
	if err != nil {
		return parameter{}, err
	}
	return parameter{
		ARN: a.account.ARN("ssm", "parameter/"+strings.TrimPrefix(name, "/")), Name: name, Type: "String", Value: value, DataType: "text",
	}, nil
}

func (a ssmAPI) getParameter(_ *call, in struct {
	Name           string
	WithDecryption bool // there is nothing encrypted
},
) (out struct{ Parameter parameter }, err error) {
	out.Parameter, err = a.parameter(in.Name)
	return out, err
}
