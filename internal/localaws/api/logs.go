package api

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/logs"
)

func logsFront(s Services) front {
	a := logsAPI{s.Account, s.Logs}
	return jsonFront{service: "logs", operations: map[string]operation{
		"DescribeLogGroups":   op(a.describeLogGroups),
		"FilterLogEvents":     op(a.filterLogEvents),
		"ListTagsForResource": op(a.listTagsForResource),
		"DeleteLogGroup":      do(func(in struct{ LogGroupName string }) error { return a.service.Delete(in.LogGroupName) }),
	}}
}

type logsAPI struct {
	account awsapi.Account
	service *logs.Service
}

// Largest pages (API reference, limit of each operation).
const (
	maxLogGroups = 50
	maxLogEvents = 10_000
)

type logGroup struct {
	LogGroupName    string `json:"logGroupName"`
	ARN             string `json:"arn"`
	LogGroupARN     string `json:"logGroupArn"`
	CreationTime    int64  `json:"creationTime"`
	RetentionInDays int    `json:"retentionInDays,omitempty"`
	StoredBytes     int    `json:"storedBytes"`
	LogGroupClass   string `json:"logGroupClass"`
}

func (a logsAPI) describeLogGroups(_ *call, in struct {
	LogGroupNamePrefix, LogGroupNamePattern, NextToken string
	Limit                                              int
},
) (out struct {
	LogGroups []logGroup `json:"logGroups"`
	NextToken string     `json:"nextToken,omitempty"`
}, err error,
) {
	groups := slices.DeleteFunc(a.service.Groups(), func(g logs.Group) bool {
		return !strings.HasPrefix(g.Name, in.LogGroupNamePrefix) || !strings.Contains(g.Name, in.LogGroupNamePattern)
	})
	found, err := paginate(groups, func(g logs.Group) string { return g.Name }, in.NextToken, in.Limit, maxLogGroups)
	if err != nil {
		return out, err
	}
	out.NextToken = found.next
	out.LogGroups = transform(found.items, func(g logs.Group) logGroup {
		return logGroup{
			LogGroupName: g.Name, ARN: g.ARN + ":*", LogGroupARN: g.ARN, CreationTime: g.Created.UnixMilli(),
			RetentionInDays: g.RetentionInDays, LogGroupClass: "STANDARD",
		}
	})
	return out, nil
}

// group is how requests name a log group: by name, or by name or ARN.
type group struct{ LogGroupName, LogGroupIdentifier string }

func (a logsAPI) events(g group) ([]logs.Event, error) {
	name := cmp.Or(g.LogGroupName, strings.TrimPrefix(g.LogGroupIdentifier, a.account.ARN("logs", "log-group:")))
	return a.service.Events(name)
}

type logEvent struct {
	EventID       string `json:"eventId,omitempty"`
	LogStreamName string `json:"logStreamName,omitempty"`
	Timestamp     int64  `json:"timestamp"`
	IngestionTime int64  `json:"ingestionTime"`
	Message       string `json:"message"`
}

// span is a time span in milliseconds: from StartTime on, before EndTime.
type span struct{ StartTime, EndTime int64 }

func (s span) has(at time.Time) bool {
	ms := at.UnixMilli()
	return ms >= s.StartTime && (s.EndTime == 0 || ms < s.EndTime)
}

func (a logsAPI) filterLogEvents(_ *call, in struct {
	group
	span
	LogStreamNamePrefix, FilterPattern, NextToken string
	LogStreamNames                                []string
	Limit                                         int
	Interleaved, Unmask                           bool
},
) (out struct {
	Events             []logEvent `json:"events"`
	NextToken          string     `json:"nextToken,omitempty"`
	SearchedLogStreams []struct{} `json:"searchedLogStreams"`
}, err error,
) {
	events, err := a.events(in.group)
	if err != nil {
		return out, err
	}
	terms, err := filterTerms(in.FilterPattern)
	if err != nil {
		return out, err
	}
	events = slices.DeleteFunc(events, func(e logs.Event) bool {
		return !in.has(e.Time) || !strings.HasPrefix(e.Stream, in.LogStreamNamePrefix) ||
			len(in.LogStreamNames) > 0 && !slices.Contains(in.LogStreamNames, e.Stream) ||
			slices.ContainsFunc(terms, func(term string) bool { return !strings.Contains(e.Message, term) })
	})
	key := func(e logs.Event) string { return fmt.Sprintf("%020d", e.Time.UnixNano()) }
	found, err := paginate(events, key, in.NextToken, in.Limit, maxLogEvents)
	out.SearchedLogStreams, out.NextToken = []struct{}{}, found.next
	out.Events = transform(found.items, func(e logs.Event) logEvent {
		return logEvent{
			EventID: key(e), LogStreamName: e.Stream, Timestamp: e.Time.UnixMilli(), IngestionTime: e.Time.UnixMilli(), Message: e.Message,
		}
	})
	return out, err
}

// filterTerms reads the part of the filter pattern syntax that is words, or text
// in double quotes, which must all be there (user guide, "Filter pattern syntax").
func filterTerms(pattern string) ([]string, error) {
	var terms []string
	for rest := strings.TrimSpace(pattern); rest != ""; rest = strings.TrimSpace(rest) {
		var term string
		if quoted, ok := strings.CutPrefix(rest, `"`); ok {
			term, rest, ok = strings.Cut(quoted, `"`)
			if !ok {
				return nil, awsapi.Errorf("InvalidParameterException", "filter pattern %.200q has a quotation mark without its end", pattern)
			}
		} else {
			term, rest, _ = strings.Cut(rest, " ")
			if strings.ContainsAny(term[:1], "{[?-%") {
				return nil, awsapi.Errorf("InvalidParameterException", "filter pattern %.200q is not supported by this local endpoint: it takes words and text in quotation marks", pattern)
			}
		}
		terms = append(terms, term)
	}
	return terms, nil
}

func (a logsAPI) listTagsForResource(_ *call, in struct{ ResourceArn string }) (out struct {
	Tags awsapi.Tags `json:"tags"`
}, err error,
) {
	arn := strings.TrimSuffix(in.ResourceArn, ":*")
	for _, g := range a.service.Groups() {
		if g.ARN == arn {
			out.Tags = g.Tags
			return out, nil
		}
	}
	return out, awsapi.Errorf("ResourceNotFoundException", "The specified resource does not exist: %s", in.ResourceArn)
}
