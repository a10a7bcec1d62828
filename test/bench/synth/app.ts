// The stack of infra/monitoring as somebody would write it in TypeScript, for
// BenchmarkSynth, which compares its template with ours.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as cdk from 'aws-cdk-lib/core';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as iot from 'aws-cdk-lib/aws-iot';
import * as logs from 'aws-cdk-lib/aws-logs';
import * as assets from 'aws-cdk-lib/aws-s3-assets';
import * as sns from 'aws-cdk-lib/aws-sns';
import { Construct } from 'constructs';

const app = new cdk.App({ analyticsReporting: false });
const setting = (key: string) => app.node.getContext(key) as string;
const things = setting('things').split(',');
const certs = setting('certs');
const email = setting('email');

const rule = 'lastWillRule';
const topicName = 'lwtSNSTopic';
const willTopic = '/last/will/topic';
const connectedTopic = '/lwt/connected/topic';
const executedTopic = '/lwt/executed';

const stack = new cdk.Stack(app, 'Lastwill', { tags: { app: 'lastwill' } });
const arn = (service: string) => `arn:${stack.partition}:${service}:${stack.region}:${stack.account}:`;
const document = (...statements: object[]) => ({ Version: '2012-10-17', Statement: statements });
const allow = (resource: string | string[], ...actions: string[]) => ({ Effect: 'Allow', Action: actions, Resource: resource });

// Devices.
const devices = new Construct(stack, 'Devices');
const prefix = arn('iot');
const policy = new iot.CfnPolicy(devices, 'Policy', {
  policyDocument: document(
    {
      Effect: 'Allow', Action: 'iot:Connect', Resource: prefix + 'client/${iot:Connection.Thing.ThingName}',
      Condition: { Bool: { 'iot:Connection.Thing.IsAttached': 'true' } },
    },
    { Effect: 'Allow', Action: 'iot:Publish', Resource: [`${prefix}topic/${connectedTopic}`, `${prefix}topic/${willTopic}`] },
    { Effect: 'Allow', Action: 'iot:Subscribe', Resource: `${prefix}topicfilter/${connectedTopic}` },
    { Effect: 'Allow', Action: 'iot:Receive', Resource: `${prefix}topic/${connectedTopic}` },
  ),
});
const certificates = things.map(name => {
  const thing = new iot.CfnThing(devices, `${name}.Thing`, { thingName: name });
  const certificate = new iot.CfnCertificate(devices, `${name}.Certificate`, {
    certificateSigningRequest: readFileSync(join(certs, `${name}.csr`), 'utf8'), status: 'ACTIVE',
  });
  const toThing = new iot.CfnThingPrincipalAttachment(devices, `${name}.ThingAttachment`, {
    thingName: thing.ref, principal: certificate.attrArn,
  });
  toThing.addResourceDependency(thing);
  toThing.addResourceDependency(certificate);
  const toPolicy = new iot.CfnPolicyPrincipalAttachment(devices, `${name}.PolicyAttachment`, {
    policyName: policy.ref, principal: certificate.attrArn,
  });
  toPolicy.addResourceDependency(policy);
  toPolicy.addResourceDependency(certificate);
  return certificate;
});

// Alert.
const alert = new Construct(stack, 'Alert');
const topic = new sns.Topic(alert, 'Topic', { topicName, displayName: topicName, enforceSSL: true });
new sns.Subscription(alert, email, { topic, protocol: sns.SubscriptionProtocol.EMAIL, endpoint: email });
const errorLog = new logs.CfnLogGroup(alert, 'ErrorLog', { retentionInDays: 90 });
errorLog.applyRemovalPolicy(cdk.RemovalPolicy.DESTROY);
const role = new iam.CfnRole(alert, 'lwtRuleRole', {
  description: `Actions of the topic rule ${rule}`,
  assumeRolePolicyDocument: document({
    Effect: 'Allow', Action: 'sts:AssumeRole', Principal: { Service: 'iot.amazonaws.com' },
    Condition: {
      StringEquals: { 'aws:SourceAccount': stack.account },
      ArnEquals: { 'aws:SourceArn': `${prefix}rule/${rule}` },
    },
  }),
  policies: [{
    policyName: 'RuleActions',
    policyDocument: document(
      allow(topic.topicArn, 'sns:Publish'),
      allow(`${prefix}topic/${executedTopic}`, 'iot:Publish'),
      allow(errorLog.attrArn, 'logs:CreateLogStream', 'logs:DescribeLogStreams', 'logs:PutLogEvents'),
    ),
  }],
});
const topicRule = new iot.CfnTopicRule(alert, 'Rule', {
  ruleName: rule,
  topicRulePayload: {
    sql: `SELECT * FROM '${willTopic}' WHERE state.reported.last_will = 'yes' AND state.reported.trigger_action = 'on'`,
    awsIotSqlVersion: '2016-03-23',
    description: 'My first LWT rule',
    actions: [
      { sns: { targetArn: topic.topicArn, roleArn: role.attrArn, messageFormat: 'RAW' } },
      { republish: { topic: executedTopic, roleArn: role.attrArn, qos: 0 } },
    ],
    errorAction: { cloudwatchLogs: { logGroupName: errorLog.ref, roleArn: role.attrArn } },
  },
});
topicRule.addResourceDependency(role);

// Alarms.
const alarms = new Construct(stack, 'Alarms');
const alarm = (metric: string, perAction: boolean, meaning: string) => {
  const watched: Partial<cloudwatch.CfnAlarmProps> = perAction ? {
    metrics: [{
      id: 'all', label: metric, period: 300, returnData: true,
      expression: `SELECT SUM(${metric}) FROM SCHEMA("AWS/IoT", ActionType, RuleName) WHERE RuleName = '${rule}'`,
    }],
  } : {
    namespace: 'AWS/IoT', metricName: metric, dimensions: [{ name: 'RuleName', value: rule }], statistic: 'Sum', period: 300,
  };
  new cloudwatch.CfnAlarm(alarms, metric, {
    alarmName: `${rule}-${metric}`,
    alarmDescription: `${meaning} What to do: docs/runbook.md, ${metric}.`,
    alarmActions: [topic.topicArn],
    comparisonOperator: 'GreaterThanThreshold', threshold: 0, evaluationPeriods: 1, treatMissingData: 'notBreaching',
    ...watched,
  });
  return `${arn('cloudwatch')}alarm:${rule}-${metric}`;
};
const alarmArns = [
  alarm('Failure', true, 'An action of the topic rule failed: e-mails or copies are missing. The log of failed actions says why.'),
  alarm('ErrorActionFailure', true, 'An action of the topic rule failed, and so did the log that should say why.'),
  alarm('ParseError', false, 'A message on the Will Topic is no JSON: whatever its sender wanted to tell, no e-mail was sent.'),
  alarm('RuleMessageThrottled', false, 'AWS IoT dropped messages of the topic rule, because there were too many: e-mails are missing.'),
];
topic.addToResourcePolicy(new iam.PolicyStatement({
  sid: 'AllowAlarms',
  principals: [new iam.ServicePrincipal('cloudwatch.amazonaws.com')],
  actions: ['sns:Publish'],
  resources: [topic.topicArn],
  conditions: { StringEquals: { 'aws:SourceAccount': stack.account }, ArnEquals: { 'aws:SourceArn': alarmArns } },
}));

// Dashboard.
const ofRule = (metric: string) => ['AWS/IoT', metric, 'RuleName', rule];
const ofTopic = (metric: string) => ['AWS/SNS', metric, 'TopicName', topicName];
const search = (metric: string) => [{
  expression: `SEARCH('{AWS/IoT,ActionType,RuleName} RuleName="${rule}" MetricName="${metric}"', 'Sum')`, label: metric,
}];
const query = (metric: string) => [{
  expression: `SELECT SUM(${metric}) FROM SCHEMA("AWS/IoT", ActionType, RuleName) WHERE RuleName = '${rule}' GROUP BY ActionType`, label: metric,
}];
const widgets: [string, unknown[]][] = [
  ['Connects, of all devices of the account', ['Success', 'AuthError'].map(m => ['AWS/IoT', `Connect.${m}`, 'Protocol', 'MQTT'])],
  ['Wills: messages on the Will Topic', ['TopicMatch', 'ParseError', 'RuleMessageThrottled'].map(ofRule)],
  ['Rule matches: each runs every action once', ['Success', 'Failure'].map(query)],
  ['Rule actions that succeeded', ['Success', 'ErrorActionSuccess'].map(search)],
  ['Rule actions that failed', ['Failure', 'ErrorActionFailure'].map(search)],
  ['E-mails', ['Published', 'Delivered', 'Failed'].map(m => ofTopic(m === 'Published' ? 'NumberOfMessagesPublished' : `NumberOfNotifications${m}`))],
];
// In the order of keys in which Go writes a map.
new cloudwatch.CfnDashboard(stack, 'Dashboard', {
  dashboardName: 'Lastwill',
  dashboardBody: stack.toJsonString({
    widgets: widgets.map(([title, metrics], i) => ({
      height: 6,
      properties: { metrics, period: 300, region: stack.region, stat: 'Sum', title, view: 'timeSeries' },
      type: 'metric', width: 8, x: i % 3 * 8, y: Math.floor(i / 3) * 6,
    })),
  }),
});

// Simulator and outputs.
const program = new assets.Asset(stack, 'Simulator', { path: process.env.SIMULATOR! });
const first = join(certs, things[0]);
const outputs: [string, string, string][] = [
  ['ThingName', things.join(','), "Things; each one's client ID is its name"],
  ['CertificateId', certificates.map(c => c.ref).join(','), 'Certificates, in the order of the things'],
  ['PolicyName', policy.ref, 'IoT policy of the things'],
  ['RuleName', topicRule.ref, 'Topic rule that selects the Will Messages'],
  ['SNSTopicArn', topic.topicArn, 'SNS topic of the e-mails'],
  ['ErrorLogGroup', errorLog.ref, "Log group of the rule's failed actions"],
  ['WillTopic', willTopic, 'MQTT topic of the Will Messages'],
  ['ConnectedTopic', connectedTopic, 'MQTT topic of the connected messages'],
  ['ExecutedTopic', executedTopic, "MQTT topic of the rule's copies"],
  ['SimulatorAsset', program.s3ObjectUrl, 'Zip of the simulator program for Linux, which is named bootstrap'],
  ['CertificateCommand', `aws iot describe-certificate --certificate-id ${certificates[0].ref}`
    + ` --query certificateDescription.certificatePem --output text > ${first}.pem.crt`, "Fetches the first thing's certificate"],
  ['SimulatorCommand', 'go run ./cmd/simulator -e $(aws iot describe-endpoint --endpoint-type iot:Data-ATS --query endpointAddress --output text)'
    + ` -c ${first}.pem.crt -k ${first}.key -id ${things[0]} -t ${connectedTopic} -m publish`, 'Plays the first thing, once its certificate is there'],
];
for (const [id, value, description] of outputs) {
  new cdk.CfnOutput(stack, id, { value, description });
}
app.synth();
