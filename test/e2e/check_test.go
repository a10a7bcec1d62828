package e2e

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
)

// cdk deploy succeeds because the alert arrived; when it no longer does, the next
// deployment says which link is broken, and the stack is as it was.
func TestADeploymentWithCheckIsProvedOrRolledBack(t *testing.T) {
	t.Parallel()
	c := startCloud(t, filepath.Join(t.TempDir(), "data"))
	assembly := c.synth("first", "email=ops@example.com", "check=true", "checkLimit=100")
	c.cdk("bootstrap", "--app", assembly, "aws://"+c.status.Account+"/"+c.status.Region)
	out := c.cdk("deploy", "--app", assembly, "--require-approval", "never", "--progress", "events")
	if !regexp.MustCompile(`CREATE_COMPLETE +\| Custom::EndToEndCheck`).MatchString(out) {
		t.Errorf("the check was not made:\n%s", out)
	}
	status, outputs := c.stack("Lastwill")
	if status != "CREATE_COMPLETE" {
		t.Errorf("stack is %s", status)
	}
	c.confirm("ops@example.com")

	// Somebody takes the will topic out of the policy, behind CloudFormation's back.
	things := iot.NewFromConfig(c.config())
	_, err := things.CreatePolicyVersion(t.Context(), &iot.CreatePolicyVersionInput{
		PolicyName: aws.String(outputs["PolicyName"]), SetAsDefault: true,
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}]}`),
	})
	check(t, err)
	changed := c.synth("second", "email=ops@example.com", "check=true", "checkLimit=15", "executedTopic=/lwt/other")
	failed, err := c.cdkCommand(t.Context(), "deploy", "--app", changed, "--require-approval", "never").CombinedOutput()
	if err == nil || !strings.Contains(string(failed), "end-to-end check: connect is broken") {
		t.Errorf("the deployment ended with %v:\n%s", err, failed)
	}
	status, outputs = c.stack("Lastwill")
	if status != "UPDATE_ROLLBACK_COMPLETE" || outputs["ExecutedTopic"] != "/lwt/executed" {
		t.Errorf("stack is %s with %v", status, outputs)
	}
	c.cdk("destroy", "--app", assembly, "--force")
	c.nothingLeft("Lastwill")
}
