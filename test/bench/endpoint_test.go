package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"lastwill/internal/keypair"
	"lastwill/internal/localaws"
	"lastwill/internal/localaws/cloudformation"
)

// BenchmarkEndpointStart is the time until the local endpoint takes requests.
func BenchmarkEndpointStart(b *testing.B) {
	for b.Loop() {
		server, err := localaws.Start(localaws.Options{})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := server.Close(context.Background()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkDeployThings deploys and deletes stacks of things with a certificate
// and both attachments each, at most 100 a stack: the time for each thing must not
// grow with their number.
func BenchmarkDeployThings(b *testing.B) {
	csr, err := keypair.Ensure(b.TempDir(), "thing", true)
	if err != nil {
		b.Fatal(err)
	}
	for _, things := range []int{1, 25, 50, 100, 200} {
		var bodies [][]byte
		for first := 0; first < things; first += 100 {
			bodies = append(bodies, fleetTemplate(b, first, min(first+100, things), csr))
		}
		b.Run(fmt.Sprint(things), func(b *testing.B) {
			server, err := localaws.Start(localaws.Options{})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = server.Close(context.Background()) })
			for b.Loop() {
				deployAndDelete(b, server.CloudFormation, bodies)
			}
			if left := server.Leftovers(); len(left) > 0 {
				b.Fatalf("left behind: %v", left)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*things), "µs/thing")
		})
	}
}

// deployAndDelete has all stacks under way at the same time.
func deployAndDelete(b *testing.B, stacks *cloudformation.Service, bodies [][]byte) {
	b.Helper()
	var ids []string
	for i, body := range bodies {
		id, err := stacks.Create(cloudformation.Input{Name: fmt.Sprint("Fleet", i), TemplateBody: body})
		if err != nil {
			b.Fatal(err)
		}
		ids = append(ids, id)
	}
	await(b, stacks, ids)
	for _, id := range ids {
		if err := stacks.Delete(id); err != nil {
			b.Fatal(err)
		}
	}
	await(b, stacks, ids)
}

func await(b *testing.B, stacks *cloudformation.Service, ids []string) {
	b.Helper()
	for _, id := range ids {
		if _, err := stacks.Await(b.Context(), id); err != nil {
			b.Fatal(err)
		}
	}
}

func fleetTemplate(b *testing.B, first, end int, csr string) []byte {
	b.Helper()
	type object = map[string]any
	resource := func(kind string, properties object) object { return object{"Type": kind, "Properties": properties} }
	resources := object{"Policy": resource("AWS::IoT::Policy", object{"PolicyDocument": object{
		"Version": "2012-10-17", "Statement": object{"Effect": "Allow", "Action": "iot:Connect", "Resource": "arn:aws:iot:us-east-1:123456789012:client/x"},
	}})}
	for i := first; i < end; i++ {
		id := fmt.Sprintf("T%d", i)
		arn := object{"Fn::GetAtt": []string{id + "Certificate", "Arn"}}
		resources[id] = resource("AWS::IoT::Thing", object{"ThingName": id})
		resources[id+"Certificate"] = resource("AWS::IoT::Certificate", object{"CertificateSigningRequest": csr, "Status": "ACTIVE"})
		resources[id+"Policy"] = resource("AWS::IoT::PolicyPrincipalAttachment", object{"PolicyName": object{"Ref": "Policy"}, "Principal": arn})
		resources[id+"Thing"] = resource("AWS::IoT::ThingPrincipalAttachment", object{"ThingName": object{"Ref": id}, "Principal": arn})
	}
	body, err := json.Marshal(object{"Resources": resources})
	if err != nil {
		b.Fatal(err)
	}
	return body
}
