package api_test

import (
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"lastwill/internal/localaws/awsapi"
)

// failures has what the scenario's error action writes.
const failures = "/lastwill/errors"

func logsOf(t testing.TB) *cloudwatchlogs.Client {
	t.Helper()
	e := start(t)
	_, err := e.Logs.Create(failures, 30, awsapi.Tags{"team": "fleet"})
	check(t, err)
	for i := range 10 {
		check(t, e.Logs.Put(failures, []string{"lwtThing", "other"}[i%2], fmt.Sprintf(`{"n":%d}`, i)))
	}
	return cloudwatchlogs.NewFromConfig(e.config())
}

func TestLogGroupIsDescribed(t *testing.T) {
	t.Parallel()
	client := logsOf(t)
	groups, err := client.DescribeLogGroups(t.Context(), &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: aws.String("/lastwill")})
	check(t, err)
	if len(groups.LogGroups) != 1 || *groups.LogGroups[0].RetentionInDays != 30 || *groups.LogGroups[0].LogGroupName != failures {
		t.Fatalf("the groups are %+v", groups.LogGroups)
	}
	arn := groups.LogGroups[0].LogGroupArn
	tags, err := client.ListTagsForResource(t.Context(), &cloudwatchlogs.ListTagsForResourceInput{ResourceArn: arn})
	check(t, err)
	if tags.Tags["team"] != "fleet" {
		t.Errorf("the tags are %v", tags.Tags)
	}
}

func TestLogEventsAreFiltered(t *testing.T) {
	t.Parallel()
	client := logsOf(t)
	for _, test := range []struct {
		claim   string
		pattern string
		streams []string
		want    int
	}{
		{"by nothing", "", nil, 10},
		{"by stream", "", []string{"other"}, 5},
		{"by a text", `"\"n\":3"`, nil, 0}, // quotation marks end a text
		{"by a word", `n":3`, nil, 1},
		{"by two words that do not meet", `n":3 n":4`, nil, 0},
	} {
		t.Run(test.claim, func(t *testing.T) {
			t.Parallel()
			pages := cloudwatchlogs.NewFilterLogEventsPaginator(client, &cloudwatchlogs.FilterLogEventsInput{
				LogGroupName: aws.String(failures), LogStreamNames: test.streams, FilterPattern: &test.pattern, Limit: aws.Int32(3),
			})
			got := 0
			for pages.HasMorePages() {
				page, err := pages.NextPage(t.Context())
				check(t, err)
				got += len(page.Events)
			}
			if got != test.want {
				t.Errorf("there are %d events, not %d", got, test.want)
			}
		})
	}
}

func TestLogsRefuseWithTheirOwnErrors(t *testing.T) {
	t.Parallel()
	client := logsOf(t)
	_, err := client.FilterLogEvents(t.Context(), &cloudwatchlogs.FilterLogEventsInput{LogGroupName: aws.String("/none")})
	failsAs[*types.ResourceNotFoundException](t, err)
	_, err = client.FilterLogEvents(t.Context(), &cloudwatchlogs.FilterLogEventsInput{LogGroupName: aws.String(failures), FilterPattern: aws.String("{ $.n = 3 }")})
	failsAs[*types.InvalidParameterException](t, err)

	_, err = client.DeleteLogGroup(t.Context(), &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: aws.String(failures)})
	check(t, err)
	_, err = client.DeleteLogGroup(t.Context(), &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: aws.String(failures)})
	failsAs[*types.ResourceNotFoundException](t, err)
	groups, err := client.DescribeLogGroups(t.Context(), nil)
	check(t, err)
	if len(groups.LogGroups) != 0 {
		t.Errorf("there are still %d groups", len(groups.LogGroups))
	}
}
