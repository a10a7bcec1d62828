package cloud

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"

	"lastwill/internal/deployed"
	"lastwill/internal/page"
)

// maxLogPages bounds what is read of the log at once: a page may have 10,000 events
// (API reference, FilterLogEvents).
const maxLogPages = 3

// logged is how far the log was read.
type logged struct {
	from, latest time.Time
	told         map[string]time.Time // by event ID
	// pages are those that are not read yet, nil for none.
	pages *cloudwatchlogs.FilterLogEventsPaginator
}

// failures tells the actions that failed, and the error action that told of them.
func (p *Page) failures(ctx context.Context) {
	l := &p.logged
	if l.pages == nil {
		l.pages = cloudwatchlogs.NewFilterLogEventsPaginator(p.logs, &cloudwatchlogs.FilterLogEventsInput{
			LogGroupName: &p.target.ErrorLog, StartTime: aws.Int64(l.from.UnixMilli()),
		})
	}
	var found []page.Event
	for range maxLogPages {
		got, err := l.pages.NextPage(ctx)
		p.trouble("log", "failed actions are not shown", err)
		if err != nil {
			l.pages = nil
			break
		}
		for _, event := range got.Events {
			id, at := aws.ToString(event.EventId), time.UnixMilli(aws.ToInt64(event.Timestamp))
			if _, ok := l.told[id]; ok {
				continue
			}
			l.told[id] = at
			if at.After(l.latest) {
				l.latest = at
			}
			found = append(found, failuresOf(aws.ToString(event.Message), at)...)
		}
		if !l.pages.HasMorePages() {
			l.pages = nil
			break
		}
	}
	if from := l.latest.Add(-late); l.pages == nil && from.After(l.from) {
		l.from = from
		for id, at := range l.told {
			if at.Before(from) {
				delete(l.told, id)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b page.Event) int { return a.Time.Compare(b.Time) })
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range found {
		p.tell(e)
	}
}

// failuresOf reads a message of the error action.
func failuresOf(text string, at time.Time) (out []page.Event) {
	var logged deployed.ErrorActionMessage
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
