package localaws

// Leftovers names everything that exists: after a stack is destroyed, what it
// left behind. Subscriptions that nobody confirmed are among it, although AWS
// leaves them too.
func (s *Server) Leftovers() []string {
	var left []string
	add := func(kind, name string) { left = append(left, kind+" "+name) }
	for _, stack := range s.CloudFormation.List() {
		if stack.Status != "DELETE_COMPLETE" {
			add("stack", stack.Name)
		}
	}
	for _, t := range s.IoT.ListThings() {
		add("thing", t.Name)
	}
	for _, c := range s.IoT.ListCertificates() {
		add("certificate", c.ID)
	}
	for _, p := range s.IoT.ListPolicies() {
		add("IoT policy", p.Name)
	}
	for _, r := range s.IoT.ListTopicRules() {
		add("topic rule", r.Name)
	}
	for _, r := range s.IAM.ListRoles() {
		add("role", r.Name)
	}
	for _, f := range s.Lambda.List() {
		add("function", f.Name)
	}
	for _, g := range s.Logs.Groups() {
		add("log group", g.Name)
	}
	for _, a := range s.CloudWatch.Alarms() {
		add("alarm", a.Name)
	}
	for _, d := range s.CloudWatch.Dashboards() {
		add("dashboard", d.Name)
	}
	for _, arn := range s.SNS.ListTopics() {
		add("SNS topic", arn)
	}
	for _, subscription := range s.SNS.ListSubscriptions() {
		add("subscription", subscription.Endpoint+" of "+subscription.TopicARN)
	}
	for _, url := range s.SQS.ListQueues("") {
		add("queue", url)
	}
	return left
}
