package cloud

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"

	"lastwill/internal/page"
)

const (
	// lookBack is how long before the page began failed actions are shown.
	lookBack = time.Hour
	// late is how long after its time an event may still appear in the log.
	late = time.Minute
)

// seen remembers which events of the log were told.
type seen struct {
	from   time.Time
	told   map[string]time.Time // by event ID
	failed bool                 // to be read the last time
}

// failures returns the actions that failed, and the error action that told of
// them (developer guide, "Error handling (error action)", message format). What
// keeps the log from being read is told once.
func (p *Page) failures(ctx context.Context) (out []page.Event) {
	since := &p.logged
	pages := cloudwatchlogs.NewFilterLogEventsPaginator(p.logs, &cloudwatchlogs.FilterLogEventsInput{
		LogGroupName: &p.target.ErrorLog, StartTime: aws.Int64(since.from.UnixMilli()),
	})
	latest := since.from
	for pages.HasMorePages() {
		found, err := pages.NextPage(ctx)
		if err != nil {
			if ctx.Err() == nil && !since.failed {
				p.Log(fmt.Errorf("failed actions are not shown: %w", err))
			}
			since.failed = true
			return out
		}
		for _, event := range found.Events {
			id, at := aws.ToString(event.EventId), time.UnixMilli(aws.ToInt64(event.Timestamp))
			if _, ok := since.told[id]; ok {
				continue
			}
			since.told[id] = at
			if at.After(latest) {
				latest = at
			}
			out = append(out, failuresOf(aws.ToString(event.Message), at)...)
		}
	}
	since.failed = false
	if from := latest.Add(-late); from.After(since.from) {
		since.from = from
	}
	for id, at := range since.told {
		if at.Before(since.from) {
			delete(since.told, id)
		}
	}
	return out
}

// failuresOf reads a message of the error action.
func failuresOf(text string, at time.Time) (out []page.Event) {
	var logged struct {
		RuleName, Topic, ClientID string
		Base64OriginalPayload     []byte
		Failures                  []struct{ FailedAction, FailedResource, ErrorMessage string }
	}
	told := page.Event{Kind: page.ErrorAction, Time: at, Detail: "CloudwatchLogsAction"}
	if json.Unmarshal([]byte(text), &logged) != nil {
		told.Payload, told.Detail = []byte(text), "in the log is what no error action writes"
		return []page.Event{told}
	}
	told.Client, told.Rule, told.Topic, told.Payload, told.Output = logged.ClientID, logged.RuleName, logged.Topic, logged.Base64OriginalPayload, []byte(text)
	for _, f := range logged.Failures {
		e := told
		e.Kind, e.Detail, e.Output = page.Failed, fmt.Sprintf("%s on %s: %s", f.FailedAction, f.FailedResource, f.ErrorMessage), nil
		out = append(out, e)
	}
	return append(out, told)
}
