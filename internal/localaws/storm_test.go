package localaws_test

import (
	"encoding/json"
	"sync"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"lastwill/internal/localaws/iot"
	"lastwill/internal/will"
)

// Devices come and go while certificate, policy and rule change under them;
// when it is over, the scenario holds.
func TestChangesUnderLoad(t *testing.T) {
	t.Parallel()
	const times = 40
	cloud := start(t)
	stack := cloud.deploy(t)
	cloud.confirm(t)
	id := cloud.thing(t, stack)
	certificate, err := cloud.IoT.DescribeCertificate(stack.Output("CertificateId"))
	check(t, err)
	rule, err := cloud.IoT.GetTopicRule(names.Rule)
	check(t, err)
	policy, err := cloud.IoT.GetPolicy(stack.Output("PolicyName"))
	check(t, err)
	narrow, err := json.Marshal(document(allow("iot:Connect", "*")))
	check(t, err)

	var busy sync.WaitGroup
	for range 4 {
		busy.Go(func() {
			for range times {
				w, err := cloud.tryDial(id)
				if err != nil {
					continue // the certificate is not active
				}
				if connectPacket(id.name, func(p *packets.ConnectPacket) { p.WillTopic = names.ConnectedTopic }).Write(w) == nil {
					_, _ = packets.ReadPacket(w) // CONNACK or end
					_ = publishPacket(names.ConnectedTopic, []byte("x"), 0).Write(w)
				}
				_ = w.NetConn().Close()
			}
		})
	}
	for _, change := range []func() error{
		func() error { return cloud.IoT.UpdateCertificate(certificate.ID, "INACTIVE") },
		func() error { return cloud.IoT.UpdateCertificate(certificate.ID, "ACTIVE") },
		func() error { return cloud.IoT.DetachThingPrincipal(id.name, certificate.ARN) },
		func() error { return cloud.IoT.AttachThingPrincipal(id.name, certificate.ARN) },
		func() error { return cloud.IoT.ReplaceTopicRule(names.Rule, rule.Payload) },
		func() error {
			v, err := cloud.IoT.CreatePolicyVersion(policy.Name, string(narrow), false)
			if err != nil {
				return err
			}
			return cloud.IoT.DeletePolicyVersion(policy.Name, v.ID)
		},
	} {
		busy.Go(func() {
			for range times {
				_ = change() // attaching twice and the like is refused
			}
		})
	}
	busy.Wait()

	check(t, cloud.IoT.UpdateCertificate(certificate.ID, "ACTIVE"))
	check(t, cloud.IoT.AttachThingPrincipal(id.name, certificate.ARN))
	d := connect(t, cloud.device(id))
	check(t, d.Announce(deadline(t)))
	_, err = d.Drop()
	check(t, err)
	cloud.events.await(t, 1, publishedOn(names.ExecutedTopic))
	if m := cloud.nextMail(t); m.Subject == "" {
		t.Errorf("the mail is %+v", m)
	}
	cloud.noMoreMails(t)
	if n := cloud.events.Count(func(e iot.Event) bool {
		return isWill(e) && string(e.Message.Payload) == string(will.Payload(id.name)) && e.Message.Topic == names.WillTopic
	}); n != 1 {
		t.Errorf("%d wills", n)
	}
}
