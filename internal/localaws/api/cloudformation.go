package api

import (
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/s3"
)

// eventsPage is how many events or resources an answer has (API reference,
// DescribeStackEvents, up to 1 MB; ListStackResources, 100).
const eventsPage = 100

func cloudformationFront(s Services) front {
	a := cloudformationAPI{s.CloudFormation, s.S3}
	return queryFront{
		service: "cloudformation", namespace: "http://cloudformation.amazonaws.com/doc/2010-05-15/",
		operations: map[string]operation{
			"CreateStack":            op(a.createStack),
			"UpdateStack":            op(a.updateStack),
			"DeleteStack":            op(a.deleteStack),
			"DescribeStacks":         op(a.describeStacks),
			"DescribeStackEvents":    op(a.describeStackEvents),
			"DescribeStackResources": op(a.describeStackResources),
			"ListStacks":             op(a.listStacks),
			"ListStackResources":     op(a.listStackResources),
			"GetTemplate":            op(a.getTemplate),
			"GetTemplateSummary":     op(a.getTemplateSummary),
			"CreateChangeSet":        op(a.createChangeSet),
			"DescribeChangeSet":      op(a.describeChangeSet),
			"ExecuteChangeSet":       op(a.executeChangeSet),
			"DeleteChangeSet": do(func(in struct{ ChangeSetName, StackName string }) error {
				return a.stacks.DeleteChangeSet(in.ChangeSetName, in.StackName)
			}),
			"ListChangeSets":              op(a.listChangeSets),
			"UpdateTerminationProtection": op(a.updateTerminationProtection),
		},
	}
}

type cloudformationAPI struct {
	stacks  *cloudformation.Service
	objects *s3.Service
}

// stackInput is what CreateStack, UpdateStack and CreateChangeSet have in common.
type stackInput struct {
	StackName, TemplateBody, TemplateURL, RoleARN string
	UsePreviousTemplate                           bool
	Parameters                                    []parameterInput
	Capabilities                                  []string
	Tags                                          []tag
	// What follows is taken and has no effect here.
	NotificationARNs []string
	ClientToken      string
	DeploymentConfig deploymentConfig
}

// deploymentConfig has a mode; this endpoint has the standard one.
type deploymentConfig struct{ Mode string }

func (c deploymentConfig) check() error {
	if c.Mode != "" && c.Mode != "STANDARD" {
		return awsapi.Errorf("ValidationError", "deployment mode %s is not supported by this local endpoint", c.Mode)
	}
	return nil
}

type parameterInput struct {
	ParameterKey, ParameterValue string
	UsePreviousValue             bool
}

type tag struct{ Key, Value string }

// input resolves what a request takes from elsewhere: the template in a bucket,
// the template and parameters of the stack as it is.
func (a cloudformationAPI) input(in stackInput) (out cloudformation.Input, err error) {
	out = cloudformation.Input{Name: in.StackName, RoleARN: in.RoleARN, Parameters: map[string]string{}, Tags: awsapi.Tags{}}
	if err := in.DeploymentConfig.check(); err != nil {
		return out, err
	}
	var body []byte
	var previous map[string]string
	if in.UsePreviousTemplate || slices.ContainsFunc(in.Parameters, func(p parameterInput) bool { return p.UsePreviousValue }) {
		if body, previous, err = a.stacks.Previous(in.StackName); err != nil {
			return out, err
		}
	}
	for _, p := range in.Parameters {
		out.Parameters[p.ParameterKey] = p.ParameterValue
		if p.UsePreviousValue {
			out.Parameters[p.ParameterKey] = previous[p.ParameterKey]
		}
	}
	for _, t := range in.Tags {
		out.Tags[t.Key] = t.Value
	}
	out.TemplateBody, out.Capabilities = body, append([]string{}, in.Capabilities...)
	if !in.UsePreviousTemplate {
		out.TemplateBody, err = a.template(in.TemplateBody, in.TemplateURL)
	}
	return out, err
}

// template is the body, or what the URL leads to in this endpoint's buckets.
func (a cloudformationAPI) template(body, address string) ([]byte, error) {
	switch {
	case (body == "") == (address == ""):
		return nil, awsapi.Errorf("ValidationError", "Either Template URL or Template Body must be specified.")
	case body != "":
		return []byte(body), nil
	}
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, awsapi.Errorf("ValidationError", "TemplateURL must be a supported URL.")
	case u.Scheme == "s3":
		return nil, awsapi.Errorf("ValidationError", "S3 error: Domain name specified in %s is not a valid S3 domain", u.Host)
	}
	key := strings.TrimPrefix(u.Path, "/")
	bucket, _, isVirtualHost := strings.Cut(u.Hostname(), ".s3")
	if !isVirtualHost {
		bucket, key, _ = strings.Cut(key, "/")
	}
	content, err := a.objects.Object(bucket, key)
	local := net.ParseIP(u.Hostname()).IsLoopback() || strings.HasSuffix(u.Hostname(), "localhost") || strings.HasPrefix(u.Hostname(), "s3.") || strings.Contains(u.Hostname(), ".s3.")
	switch {
	case !local:
		return nil, awsapi.Errorf("ValidationError", "TemplateURL must be a supported URL.")
	case err != nil:
		return nil, awsapi.Errorf("ValidationError", "S3 error: %v", err)
	}
	return content, nil
}

type stackID struct {
	StackID string `xml:"StackId"`
}

func (a cloudformationAPI) createStack(_ *call, in struct {
	stackInput
	ClientRequestToken          string
	DisableRollback             bool
	EnableTerminationProtection bool
},
) (out stackID, err error) {
	input, err := a.input(in.stackInput)
	if err != nil {
		return out, err
	}
	input.DisableRollback, input.TerminationProtection = in.DisableRollback, in.EnableTerminationProtection
	out.StackID, err = a.stacks.Create(input)
	return out, err
}

func (a cloudformationAPI) updateStack(_ *call, in struct {
	stackInput
	ClientRequestToken string
	DisableRollback    bool
},
) (out stackID, err error) {
	input, err := a.input(in.stackInput)
	if err != nil {
		return out, err
	}
	input.DisableRollback = in.DisableRollback
	out.StackID, err = a.stacks.Update(input)
	return out, err
}

func (a cloudformationAPI) deleteStack(_ *call, in struct {
	StackName, RoleARN, ClientRequestToken string
	DeploymentConfig                       deploymentConfig
},
) (nothing, error) {
	if err := in.DeploymentConfig.check(); err != nil {
		return nothing{}, err
	}
	return nothing{}, a.stacks.Delete(in.StackName)
}

func (a cloudformationAPI) updateTerminationProtection(_ *call, in struct {
	StackName                   string
	EnableTerminationProtection bool
},
) (out stackID, err error) {
	out.StackID, err = a.stacks.SetTerminationProtection(in.StackName, in.EnableTerminationProtection)
	return out, err
}

type parameterOutput struct{ ParameterKey, ParameterValue string }

type stackOutput struct {
	StackID                     string            `xml:"StackId"`
	StackName                   string            `xml:",omitempty"`
	Description                 string            `xml:",omitempty"`
	Parameters                  []parameterOutput `xml:"Parameters>member"`
	CreationTime                xmlTime
	LastUpdatedTime             *xmlTime `xml:",omitempty"`
	DeletionTime                *xmlTime `xml:",omitempty"`
	StackStatus                 string
	StackStatusReason           string `xml:",omitempty"`
	DisableRollback             bool
	RoleARN                     string         `xml:",omitempty"`
	Outputs                     []outputOutput `xml:"Outputs>member"`
	Tags                        []tag          `xml:"Tags>member"`
	EnableTerminationProtection bool
}

type outputOutput struct {
	OutputKey, OutputValue string
	Description            string `xml:",omitempty"`
	ExportName             string `xml:",omitempty"`
}

// xmlTime is a time as the Query protocol writes it.
type xmlTime time.Time

// MarshalText writes the time in UTC with milliseconds.
func (t xmlTime) MarshalText() ([]byte, error) {
	return time.Time(t).UTC().AppendFormat(nil, "2006-01-02T15:04:05.000Z"), nil
}

func optionalTime(t time.Time) *xmlTime {
	if t.IsZero() {
		return nil
	}
	return (*xmlTime)(&t)
}

func describeStack(s *cloudformation.Stack) stackOutput {
	out := stackOutput{
		StackID: s.ID, StackName: s.Name, Description: s.Description, RoleARN: s.RoleARN,
		CreationTime: xmlTime(s.Created), LastUpdatedTime: optionalTime(s.Updated), DeletionTime: optionalTime(s.Deleted),
		StackStatus: s.Status, StackStatusReason: s.StatusReason, DisableRollback: s.DisableRollback,
		EnableTerminationProtection: s.TerminationProtection, Tags: tagList(s.Tags), Parameters: parameterList(s.Parameters),
	}
	for _, o := range s.Outputs {
		out.Outputs = append(out.Outputs, outputOutput{o.Key, o.Value, o.Description, o.ExportName})
	}
	return out
}

func tagList(tags awsapi.Tags) []tag {
	var out []tag
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, tag{key, tags[key]})
	}
	return out
}

func parameterList(parameters map[string]string) []parameterOutput {
	var out []parameterOutput
	for _, key := range slices.Sorted(maps.Keys(parameters)) {
		out = append(out, parameterOutput{key, parameters[key]})
	}
	return out
}

func (a cloudformationAPI) describeStacks(_ *call, in struct{ StackName, NextToken string }) (out struct {
	Stacks []stackOutput `xml:"Stacks>member"`
}, err error,
) {
	if in.StackName != "" {
		stack, err := a.stacks.Describe(in.StackName)
		if err != nil {
			return out, err
		}
		out.Stacks = []stackOutput{describeStack(stack)}
		return out, nil
	}
	for _, stack := range a.stacks.List() {
		if stack.Status != "DELETE_COMPLETE" {
			out.Stacks = append(out.Stacks, describeStack(stack))
		}
	}
	return out, nil
}

type eventOutput struct {
	EventID              string `xml:"EventId"`
	StackID              string `xml:"StackId"`
	StackName            string
	LogicalResourceID    string `xml:"LogicalResourceId"`
	PhysicalResourceID   string `xml:"PhysicalResourceId"`
	ResourceType         string
	Timestamp            xmlTime
	ResourceStatus       string
	ResourceStatusReason string `xml:",omitempty"`
}

// describeStackEvents returns the newest events first.
func (a cloudformationAPI) describeStackEvents(_ *call, in struct{ StackName, NextToken string }) (out struct {
	StackEvents []eventOutput `xml:"StackEvents>member"`
	NextToken   string        `xml:",omitempty"`
}, err error,
) {
	stack, err := a.stacks.Describe(in.StackName)
	if err != nil {
		return out, awsapi.Errorf("ValidationError", "Stack [%s] does not exist", in.StackName)
	}
	// A token is the number of events below the page, so that new events do not move it.
	below := len(stack.Events)
	if in.NextToken != "" {
		if below, err = strconv.Atoi(in.NextToken); err != nil || below < 0 || below > len(stack.Events) {
			return out, awsapi.Errorf("ValidationError", "NextToken %q is not one of this stack's", in.NextToken)
		}
	}
	first := max(below-eventsPage, 0)
	for _, e := range slices.Backward(stack.Events[first:below]) {
		out.StackEvents = append(out.StackEvents, eventOutput{
			e.ID, e.StackID, e.StackName, e.LogicalID, e.PhysicalID, e.Type, xmlTime(e.Time), e.Status, e.StatusReason,
		})
	}
	if first > 0 {
		out.NextToken = strconv.Itoa(first)
	}
	return out, nil
}

type resourceOutput struct {
	StackID              string `xml:"StackId,omitempty"`
	StackName            string `xml:",omitempty"`
	LogicalResourceID    string `xml:"LogicalResourceId"`
	PhysicalResourceID   string `xml:"PhysicalResourceId"`
	ResourceType         string
	Timestamp            *xmlTime `xml:",omitempty"`
	LastUpdatedTimestamp *xmlTime `xml:",omitempty"`
	ResourceStatus       string
	ResourceStatusReason string `xml:",omitempty"`
}

func describeResource(r *cloudformation.Resource) resourceOutput {
	return resourceOutput{
		LogicalResourceID: r.LogicalID, PhysicalResourceID: r.PhysicalID, ResourceType: r.Type,
		ResourceStatus: r.Status, ResourceStatusReason: r.StatusReason,
	}
}

func (a cloudformationAPI) describeStackResources(_ *call, in struct {
	StackName         string
	LogicalResourceId string // as AWS spells it
},
) (out struct {
	StackResources []resourceOutput `xml:"StackResources>member"`
}, err error,
) {
	stack, err := a.stacks.Describe(in.StackName)
	if err != nil {
		return out, err
	}
	if id := in.LogicalResourceId; id != "" && stack.Resources[id] == nil {
		return out, awsapi.Errorf("ValidationError", "Resource %s does not exist for stack %s", id, stack.Name)
	}
	for _, id := range slices.Sorted(maps.Keys(stack.Resources)) {
		if in.LogicalResourceId != "" && in.LogicalResourceId != id {
			continue
		}
		r := describeResource(stack.Resources[id])
		r.StackID, r.StackName, r.Timestamp = stack.ID, stack.Name, optionalTime(stack.Resources[id].Updated)
		out.StackResources = append(out.StackResources, r)
	}
	return out, nil
}

func (a cloudformationAPI) listStackResources(_ *call, in struct{ StackName, NextToken string }) (out struct {
	StackResourceSummaries []resourceOutput `xml:"StackResourceSummaries>member"`
	NextToken              string           `xml:",omitempty"`
}, err error,
) {
	stack, err := a.stacks.Describe(in.StackName)
	if err != nil {
		return out, err
	}
	// A token is the last logical id of the page before.
	for _, id := range slices.Sorted(maps.Keys(stack.Resources)) {
		if id <= in.NextToken {
			continue
		}
		if len(out.StackResourceSummaries) == eventsPage {
			out.NextToken = out.StackResourceSummaries[eventsPage-1].LogicalResourceID
			break
		}
		r := describeResource(stack.Resources[id])
		r.LastUpdatedTimestamp = optionalTime(stack.Resources[id].Updated)
		out.StackResourceSummaries = append(out.StackResourceSummaries, r)
	}
	return out, nil
}

type stackSummary struct {
	StackID             string `xml:"StackId"`
	StackName           string
	TemplateDescription string `xml:",omitempty"`
	CreationTime        xmlTime
	LastUpdatedTime     *xmlTime `xml:",omitempty"`
	DeletionTime        *xmlTime `xml:",omitempty"`
	StackStatus         string
	StackStatusReason   string `xml:",omitempty"`
}

func (a cloudformationAPI) listStacks(_ *call, in struct {
	StackStatusFilter []string
	NextToken         string
},
) (out struct {
	StackSummaries []stackSummary `xml:"StackSummaries>member"`
}, err error,
) {
	for _, s := range slices.Backward(a.stacks.List()) {
		if len(in.StackStatusFilter) > 0 && !slices.Contains(in.StackStatusFilter, s.Status) {
			continue
		}
		out.StackSummaries = append(out.StackSummaries, stackSummary{
			s.ID, s.Name, s.Description, xmlTime(s.Created), optionalTime(s.Updated), optionalTime(s.Deleted), s.Status, s.StatusReason,
		})
	}
	return out, nil
}

func (a cloudformationAPI) getTemplate(_ *call, in struct{ StackName, ChangeSetName, TemplateStage string }) (out struct {
	TemplateBody    string
	StagesAvailable []string `xml:"StagesAvailable>member"`
}, err error,
) {
	out.StagesAvailable = []string{"Original", "Processed"}
	if in.ChangeSetName == "" && in.StackName == "" {
		return out, awsapi.Errorf("ValidationError", "StackName is required if ChangeSetName is not specified.")
	}
	if in.ChangeSetName != "" && in.StackName == "" && !strings.HasPrefix(in.ChangeSetName, "arn:") {
		return out, awsapi.Errorf("ValidationError", "StackName is a required parameter.")
	}
	if in.ChangeSetName != "" {
		c, err := a.stacks.DescribeChangeSet(in.ChangeSetName, in.StackName)
		if err != nil {
			return out, err
		}
		out.TemplateBody = string(c.Input.TemplateBody)
		return out, nil
	}
	stack, err := a.stacks.Describe(in.StackName)
	if err != nil {
		return out, err
	}
	out.TemplateBody = stack.TemplateBody
	return out, nil
}

type templateSummary struct {
	Description   string              `xml:",omitempty"`
	Parameters    []templateParameter `xml:"Parameters>member"`
	Capabilities  []string            `xml:"Capabilities>member"`
	ResourceTypes []string            `xml:"ResourceTypes>member"`
}

type templateParameter struct {
	ParameterKey  string
	DefaultValue  *string `xml:",omitempty"`
	ParameterType string
	NoEcho        bool
	Description   string `xml:",omitempty"`
}

func (a cloudformationAPI) getTemplateSummary(_ *call, in struct{ StackName, TemplateBody, TemplateURL string }) (out templateSummary, err error) {
	body := []byte(nil)
	if in.StackName != "" {
		stack, err := a.stacks.Describe(in.StackName)
		if err != nil {
			return out, err
		}
		if stack.Status == "REVIEW_IN_PROGRESS" {
			return out, awsapi.Errorf("ValidationError", "GetTemplateSummary cannot be called on REVIEW_IN_PROGRESS stacks.")
		}
		body = []byte(stack.TemplateBody)
	} else if body, err = a.template(in.TemplateBody, in.TemplateURL); err != nil {
		return out, err
	}
	return summarize(body)
}

func summarize(body []byte) (out templateSummary, err error) {
	t, err := cloudformation.ParseTemplate(body)
	if err != nil {
		return out, awsapi.Errorf("ValidationError", "%v", err)
	}
	out.Description = t.Description
	if needed := t.Capability(); needed != "" {
		out.Capabilities = []string{needed}
	}
	for _, name := range slices.Sorted(maps.Keys(t.Parameters)) {
		p := t.Parameters[name]
		out.Parameters = append(out.Parameters, templateParameter{name, (*string)(p.Default), p.Type, bool(p.NoEcho), p.Description})
	}
	types := map[string]bool{}
	for _, r := range t.Resources {
		types[r.Type] = true
	}
	out.ResourceTypes = slices.Sorted(maps.Keys(types))
	return out, nil
}

func (a cloudformationAPI) createChangeSet(_ *call, in struct {
	stackInput
	ChangeSetName, ChangeSetType, Description string
	IncludeNestedStacks                       bool
	// ImportExistingResources is what cdk bootstrap always asks for. A resource that
	// exists outside of the stack fails the deployment here all the same.
	ImportExistingResources bool
	DeploymentMode          string
},
) (out struct {
	ID      string `xml:"Id"`
	StackID string `xml:"StackId"`
}, err error,
) {
	if kind := in.ChangeSetType; kind != "" && kind != "CREATE" && kind != "UPDATE" {
		return out, awsapi.Errorf("ValidationError", "change set type %s is not supported by this local endpoint", kind)
	}
	if mode := in.DeploymentMode; mode != "" && (mode != "REVERT_DRIFT" || in.ChangeSetType == "CREATE") {
		return out, awsapi.Errorf("ValidationError", "deployment mode %s is not supported by this local endpoint: it has REVERT_DRIFT, for updates", mode)
	}
	input, err := a.input(in.stackInput)
	if err != nil {
		return out, err
	}
	input.RevertDrift = in.DeploymentMode == "REVERT_DRIFT"
	c, err := a.stacks.CreateChangeSet(in.ChangeSetName, in.Description, in.ChangeSetType == "CREATE", input)
	if err != nil {
		return out, err
	}
	out.ID, out.StackID = c.ID, c.StackID
	return out, nil
}

type changeSetOutput struct {
	ChangeSetName   string
	ChangeSetID     string `xml:"ChangeSetId"`
	StackID         string `xml:"StackId"`
	StackName       string
	Description     string            `xml:",omitempty"`
	Parameters      []parameterOutput `xml:"Parameters>member"`
	CreationTime    xmlTime
	ExecutionStatus string
	Status          string
	StatusReason    string         `xml:",omitempty"`
	DeploymentMode  string         `xml:",omitempty"`
	Tags            []tag          `xml:"Tags>member"`
	Changes         []changeOutput `xml:"Changes>member"`
}

type changeOutput struct {
	Type           string
	ResourceChange struct {
		Action             string
		LogicalResourceID  string `xml:"LogicalResourceId"`
		PhysicalResourceID string `xml:"PhysicalResourceId,omitempty"`
		ResourceType       string
		Replacement        string         `xml:",omitempty"`
		DriftStatus        string         `xml:"ResourceDriftStatus,omitempty"`
		Scope              []string       `xml:"Scope>member"`
		Details            []changeDetail `xml:"Details>member"`
	}
}

type changeDetail struct {
	Target struct {
		Attribute, Name, RequiresRecreation string
	}
	Evaluation   string
	ChangeSource string
}

func describeChange(c cloudformation.Change) changeOutput {
	out := changeOutput{Type: "Resource"}
	r := &out.ResourceChange
	r.Action, r.LogicalResourceID, r.PhysicalResourceID = c.Action, c.LogicalID, c.PhysicalID
	r.ResourceType, r.Replacement, r.DriftStatus = c.Type, c.Replacement, string(c.Drift)
	for _, name := range c.Properties {
		r.Scope = []string{"Properties"}
		d := changeDetail{Evaluation: "Static", ChangeSource: "DirectModification"}
		d.Target.Attribute, d.Target.Name, d.Target.RequiresRecreation = "Properties", name, "Never"
		if c.Replacement == "True" {
			d.Target.RequiresRecreation = "Always"
		}
		r.Details = append(r.Details, d)
	}
	return out
}

func (a cloudformationAPI) describeChangeSet(_ *call, in struct {
	ChangeSetName, StackName, NextToken string
	IncludePropertyValues               bool
},
) (out changeSetOutput, err error) {
	c, err := a.stacks.DescribeChangeSet(in.ChangeSetName, in.StackName)
	if err != nil {
		return out, err
	}
	out = changeSetOutput{
		ChangeSetName: c.Name, ChangeSetID: c.ID, StackID: c.StackID, StackName: c.StackName, Description: c.Description,
		Parameters: parameterList(c.Input.Parameters), CreationTime: xmlTime(c.Created), ExecutionStatus: c.ExecutionStatus,
		Status: c.Status, StatusReason: c.StatusReason, Tags: tagList(c.Input.Tags),
	}
	if c.Input.RevertDrift {
		out.DeploymentMode = "REVERT_DRIFT"
	}
	for _, change := range c.Changes {
		out.Changes = append(out.Changes, describeChange(change))
	}
	return out, nil
}

func (a cloudformationAPI) executeChangeSet(_ *call, in struct {
	ChangeSetName, StackName, ClientRequestToken string
	DisableRollback                              bool
},
) (nothing, error) {
	_, err := a.stacks.ExecuteChangeSet(in.ChangeSetName, in.StackName, in.DisableRollback)
	return nothing{}, err
}

type changeSetSummary struct {
	ChangeSetName   string
	ChangeSetID     string `xml:"ChangeSetId"`
	StackID         string `xml:"StackId"`
	StackName       string
	CreationTime    xmlTime
	ExecutionStatus string
	Status          string
	StatusReason    string `xml:",omitempty"`
}

func (a cloudformationAPI) listChangeSets(_ *call, in struct{ StackName, NextToken string }) (out struct {
	Summaries []changeSetSummary `xml:"Summaries>member"`
}, err error,
) {
	sets, err := a.stacks.ListChangeSets(in.StackName)
	for _, c := range sets {
		out.Summaries = append(out.Summaries, changeSetSummary{
			c.Name, c.ID, c.StackID, c.StackName, xmlTime(c.Created), c.ExecutionStatus, c.Status, c.StatusReason,
		})
	}
	return out, err
}
