// Package device provisions devices in AWS IoT Core: for each a thing and an
// active certificate, and for all together one IoT policy that lets a device
// act only as itself.
package device

import (
	"errors"
	"fmt"

	"github.com/aws/aws-cdk-go/awscdk/v2/awsiot"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"lastwill/constructs/policy"
	"lastwill/internal/will"
)

// Resources that a Devices construct adds to its stack.
const (
	// SharedResources are there however many things there are: the IoT policy.
	SharedResources = 1
	// ResourcesPerThing are thing, certificate and the certificate's two attachments.
	ResourcesPerThing = 4
)

// thingVariable stands for the name of the connecting thing in an IoT policy
// (developer guide, "Thing policy variables").
const thingVariable = "${iot:Connection.Thing.ThingName}"

// Props configure Devices.
type Props struct {
	// Things are the devices, with distinct names. Required.
	Things []Thing
	// ConnectedTopic is the topic that a device announces itself on and may
	// subscribe to. Required.
	ConnectedTopic string
	// WillTopic is the topic of the devices' Will Messages. Required.
	WillTopic string
}

// A Thing is one device.
type Thing struct {
	// Name of the thing, and the only client ID that it may connect with. Required.
	Name string
	// CSR is the certificate signing request in PEM, for which AWS IoT issues the
	// certificate. The private key stays with whoever made it. Changing the CSR
	// replaces the certificate. Required, unless Certificate is given.
	CSR string
	// Certificate is one in PEM that somebody else issued, which AWS IoT registers
	// without its CA: clients must send the endpoint's name (SNI). Changing it
	// replaces the certificate. Default: AWS IoT issues one for the CSR.
	Certificate string
}

// Devices are things with their certificates, in the order of the props, and
// the IoT policy that they share.
type Devices struct {
	Props        Props
	Policy       awsiot.CfnPolicy
	Things       []awsiot.CfnThing
	Certificates []awsiot.CfnCertificate
}

// New adds devices to a scope. It panics with the error of Props.Validate.
func New(scope constructs.Construct, id string, props Props) *Devices {
	if err := props.Validate(); err != nil {
		panic(err)
	}
	scope = constructs.NewConstruct(scope, jsii.String(id))
	d := &Devices{Props: props, Policy: awsiot.NewCfnPolicy(scope, jsii.String("Policy"), &awsiot.CfnPolicyProps{
		PolicyDocument: policyDocument(policy.Prefix(scope, "iot"), props),
	})}
	policyName := d.Policy.Ref() // once, since every call into the CDK takes 0.3 ms
	for _, thing := range props.Things {
		d.add(scope, policyName, thing)
	}
	return d
}

// add names constructs with a dot, which no thing's name has: a thing may be
// called Policy or pumpCertificate.
//
// An attachment depends on both of its ends in so many words, beside naming
// them: AWS IoT refuses to delete an end that is still attached (DeleteConflict),
// and a reference that somebody replaces by a name would lose that order.
func (d *Devices) add(scope constructs.Construct, policyName *string, t Thing) {
	thing := awsiot.NewCfnThing(scope, jsii.String(t.Name+".Thing"), &awsiot.CfnThingProps{ThingName: jsii.String(t.Name)})
	certificate := awsiot.NewCfnCertificate(scope, jsii.String(t.Name+".Certificate"), t.certificate())
	principal := certificate.AttrArn()
	toThing := awsiot.NewCfnThingPrincipalAttachment(scope, jsii.String(t.Name+".ThingAttachment"), &awsiot.CfnThingPrincipalAttachmentProps{
		ThingName: thing.Ref(),
		Principal: principal,
	})
	toThing.AddResourceDependency(thing, nil)
	toThing.AddResourceDependency(certificate, nil)
	toPolicy := awsiot.NewCfnPolicyPrincipalAttachment(scope, jsii.String(t.Name+".PolicyAttachment"), &awsiot.CfnPolicyPrincipalAttachmentProps{
		PolicyName: policyName,
		Principal:  principal,
	})
	toPolicy.AddResourceDependency(d.Policy, nil)
	toPolicy.AddResourceDependency(certificate, nil)
	d.Things = append(d.Things, thing)
	d.Certificates = append(d.Certificates, certificate)
}

func (t Thing) certificate() *awsiot.CfnCertificateProps {
	p := &awsiot.CfnCertificateProps{Status: jsii.String("ACTIVE")}
	if t.Certificate == "" {
		p.CertificateSigningRequest = jsii.String(t.CSR)
		return p
	}
	p.CertificatePem = jsii.String(t.Certificate)
	p.CertificateMode = jsii.String("SNI_ONLY")
	return p
}

func policyDocument(prefix string, props Props) map[string]any {
	connected := "/" + props.ConnectedTopic
	return policy.Document(
		map[string]any{
			"Effect":   "Allow",
			"Action":   "iot:Connect",
			"Resource": prefix + "client/" + thingVariable,
			// Without it, a certificate of another thing could take this client ID
			// (developer guide, "Connect policy examples").
			"Condition": map[string]any{"Bool": map[string]any{"iot:Connection.Thing.IsAttached": "true"}},
		},
		map[string]any{
			"Effect":   "Allow",
			"Action":   "iot:Publish",
			"Resource": []any{prefix + "topic" + connected, prefix + "topic/" + props.WillTopic},
		},
		map[string]any{"Effect": "Allow", "Action": "iot:Subscribe", "Resource": prefix + "topicfilter" + connected},
		map[string]any{"Effect": "Allow", "Action": "iot:Receive", "Resource": prefix + "topic" + connected},
	)
}

// CheckNames returns all that is wrong with the names of things.
func CheckNames(names []string) error {
	if len(names) == 0 {
		return errors.New("no thing: name at least one")
	}
	var problems []error
	seen := map[string]bool{}
	for _, name := range names {
		problems = append(problems, will.CheckThingName(name))
		if seen[name] {
			problems = append(problems, fmt.Errorf("thing name %q is given twice: name each thing once", name))
		}
		seen[name] = true
	}
	return errors.Join(problems...)
}

// Validate returns all that is wrong with the props.
func (p Props) Validate() error {
	var names []string
	var problems []error
	for _, t := range p.Things {
		names = append(names, t.Name)
		problems = append(problems, t.check())
	}
	problems = append(problems, CheckNames(names), will.CheckTopicName(p.ConnectedTopic), will.CheckTopicName(p.WillTopic))
	return errors.Join(problems...)
}

func (t Thing) check() error {
	switch {
	case t.CSR == "" && t.Certificate == "":
		return fmt.Errorf("thing %q has no CSR: give its certificate signing request in PEM", t.Name)
	case t.CSR != "" && t.Certificate != "":
		return fmt.Errorf("thing %q has a CSR and a certificate: give one of them", t.Name)
	}
	return nil
}
