package check

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/iotdataplane"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"

	"lastwill/internal/deployed"
	"lastwill/internal/device"
)

// clients speak with AWS.
type clients struct {
	iot  *iot.Client
	sns  *sns.Client
	sqs  *sqs.Client
	logs *cloudwatchlogs.Client
}

func newClients(config aws.Config) clients {
	return clients{
		iot: iot.NewFromConfig(config), sns: sns.NewFromConfig(config), sqs: sqs.NewFromConfig(config), logs: cloudwatchlogs.NewFromConfig(config),
	}
}

func (c *check) findEndpoint(ctx context.Context) error {
	began := time.Now()
	c.report.Endpoint = c.Endpoint
	if c.Endpoint != "" {
		return nil
	}
	endpoint, err := deployed.Endpoint(ctx, c.AWS)
	if err != nil {
		return err
	}
	c.report.Endpoint = endpoint
	c.step("", "endpoint", endpoint, time.Since(began))
	return nil
}

// identify makes a thing and a certificate of the check's own. The key never
// leaves this process.
func (c *check) identify(ctx context.Context) error {
	began := time.Now()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: c.name}}, key)
	if err != nil {
		return err
	}
	var made *iot.CreateCertificateFromCsrOutput
	err = c.make(ctx, "certificate", func(ctx context.Context) error {
		made, err = c.iot.CreateCertificateFromCsr(ctx, &iot.CreateCertificateFromCsrInput{
			CertificateSigningRequest: aws.String(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))), SetAsActive: true,
		})
		if err == nil {
			c.undone(c.removeCertificate(*made.CertificateId))
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := c.attach(ctx, made.CertificateArn); err != nil {
		return err
	}
	pair, err := certificate(*made.CertificatePem, key)
	if err != nil {
		return err
	}
	c.identified = device.Config{
		Endpoint: c.report.Endpoint, Roots: c.Roots, Certificate: pair, ClientID: c.name, ConnectedTopic: c.Target.ConnectedTopic,
		Will: device.Message{Topic: c.Target.WillTopic, QoS: c.WillQoS}, Kill: c.kill,
	}
	c.step("", "identity", fmt.Sprintf("thing %s, certificate %.8s..., policy %s; the key stays in this process", c.name, *made.CertificateId, c.Target.Policy), time.Since(began))
	return nil
}

func (c *check) kill(ctx context.Context, clientID string) error {
	_, err := deployed.DataPlane(c.AWS, c.report.Endpoint).DeleteConnection(ctx, &iotdataplane.DeleteConnectionInput{ClientId: &clientID})
	if err != nil {
		return fmt.Errorf("delete the connection of %s: %w", clientID, err)
	}
	return nil
}

func certificate(chain string, key *ecdsa.PrivateKey) (tls.Certificate, error) {
	block, _ := pem.Decode([]byte(chain))
	if block == nil {
		return tls.Certificate{}, errors.New("AWS IoT sent a certificate that is not in PEM")
	}
	return tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}, nil
}

// attach gives the certificate what the stack's devices have: a thing and the
// IoT policy.
func (c *check) attach(ctx context.Context, principal *string) error {
	for _, part := range []struct {
		what string
		make func(context.Context) error
		undo undo
	}{
		{
			"thing " + c.name,
			func(ctx context.Context) error {
				_, err := c.iot.CreateThing(ctx, &iot.CreateThingInput{ThingName: &c.name})
				return err
			},
			undo{"thing " + c.name, "aws iot delete-thing --thing-name " + c.name, func(ctx context.Context) error {
				_, err := c.iot.DeleteThing(ctx, &iot.DeleteThingInput{ThingName: &c.name})
				return err
			}},
		},
		{
			"attachment to the thing",
			func(ctx context.Context) error {
				_, err := c.iot.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: &c.name, Principal: principal})
				return err
			},
			undo{"attachment to the thing", "aws iot detach-thing-principal --thing-name " + c.name + " --principal " + *principal, func(ctx context.Context) error {
				_, err := c.iot.DetachThingPrincipal(ctx, &iot.DetachThingPrincipalInput{ThingName: &c.name, Principal: principal})
				return err
			}},
		},
		{
			"attachment to the policy",
			func(ctx context.Context) error {
				_, err := c.iot.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: &c.Target.Policy, Target: principal})
				if isGone(err) {
					return &Broken{Connect, c.Modes[0], "the devices' IoT policy " + c.Target.Policy + " does not exist", c.revert(ctx)}
				}
				return err
			},
			undo{"attachment to the policy", "aws iot detach-policy --policy-name " + c.Target.Policy + " --target " + *principal, func(ctx context.Context) error {
				_, err := c.iot.DetachPolicy(ctx, &iot.DetachPolicyInput{PolicyName: &c.Target.Policy, Target: principal})
				return err
			}},
		},
	} {
		err := c.make(ctx, part.what, func(ctx context.Context) error {
			err := part.make(ctx)
			if err == nil {
				c.undone(part.undo)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *check) removeCertificate(id string) undo {
	command := "aws iot update-certificate --certificate-id " + id + " --new-status INACTIVE && aws iot delete-certificate --certificate-id " + id
	return undo{fmt.Sprintf("certificate %.8s...", id), command, func(ctx context.Context) error {
		_, err := c.iot.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: &id, NewStatus: types.CertificateStatusInactive})
		if err == nil {
			_, err = c.iot.DeleteCertificate(ctx, &iot.DeleteCertificateInput{CertificateId: &id})
		}
		return err
	}}
}

// An undo removes something that the check made.
type undo struct {
	what, command string
	do            func(context.Context) error
}

func (c *check) undone(u undo) { c.undo = append(c.undo, u) }

// Times of calls that make and remove.
const (
	makeTimeout = 30 * time.Second
	// removePatience is for how long AWS may refuse to delete something because what
	// was attached to it has not gone everywhere (AWS IoT API reference,
	// DetachThingPrincipal).
	removePatience = 30 * time.Second
	removePause    = time.Second
)

// make makes something. It is not interrupted, as what was made could then not be
// known.
func (c *check) make(ctx context.Context, what string, f func(context.Context) error) error {
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	making, cancel := context.WithTimeout(context.WithoutCancel(ctx), makeTimeout)
	defer cancel()
	if err := f(making); err != nil {
		return fmt.Errorf("make the check's %s: %w", what, err)
	}
	return nil
}

// cleanUp removes all that the check made, the last first.
func (c *check) cleanUp(ctx context.Context) error {
	began := time.Now()
	ctx = context.WithoutCancel(ctx)
	for i := len(c.close) - 1; i >= 0; i-- {
		c.close[i]()
	}
	for i := len(c.undo) - 1; i >= 0; i-- {
		u := c.undo[i]
		if err := remove(ctx, u.do); err != nil {
			c.report.Left = append(c.report.Left, Leftover{u.what, err.Error(), u.command})
			continue
		}
		c.report.Removed = append(c.report.Removed, u.what)
	}
	if len(c.report.Removed) > 0 {
		c.step("", "remove", strings.Join(c.report.Removed, ", "), time.Since(began))
	}
	if n := len(c.report.Left); n > 0 {
		return fmt.Errorf("the check could not remove all that it made: %s", c.report.Left[0].What+": "+c.report.Left[0].Reason)
	}
	return nil
}

func remove(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, removePatience)
	defer cancel()
	for {
		err := f(ctx)
		if err == nil || isGone(err) {
			return nil
		}
		if errors.As(err, new(smithy.APIError)) && !isConflict(err) || wait(ctx, removePause) != nil {
			return err
		}
	}
}

func isGone(err error) bool {
	return isCode(err, "ResourceNotFoundException", "NotFound", "AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")
}

// isConflict are refusals that pass: what was attached is not gone everywhere, or
// there were too many calls.
func isConflict(err error) bool {
	return isCode(err, "DeleteConflictException", "InvalidRequestException", "CertificateStateException", "ThrottlingException", "Throttling", "InternalFailureException")
}

func isCode(err error, codes ...string) bool {
	refused, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return false
	}
	for _, code := range codes {
		if refused.ErrorCode() == code {
			return true
		}
	}
	return false
}
