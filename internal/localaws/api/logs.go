package api

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/logs"
)

func logsFront(s Services) front {
	a := logsAPI{s.Account, s.Logs}
	return jsonFront{service: "logs", operations: map[string]operation{
		"DescribeLogGroups":   op(a.describeLogGroups),
		"DescribeLogStreams":  op(a.describeLogStreams),
		"GetLogEvents":        op(a.getLogEvents),
		"FilterLogEvents":     op(a.filterLogEvents),
		"ListTagsForResource": op(a.listTagsForResource),
		"DeleteLogGroup":      op(a.deleteLogGroup),
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

type logStream struct {
	LogStreamName       string `json:"logStreamName"`
	ARN                 string `json:"arn"`
	CreationTime        int64  `json:"creationTime"`
	FirstEventTimestamp int64  `json:"firstEventTimestamp"`
	LastEventTimestamp  int64  `json:"lastEventTimestamp"`
	LastIngestionTime   int64  `json:"lastIngestionTime"`
	UploadSequenceToken string `json:"uploadSequenceToken"`
}

func (a logsAPI) describeLogStreams(_ *call, in struct {
	group
	LogStreamNamePrefix, OrderBy, NextToken string
	Descending                              bool
	Limit                                   int
},
) (out struct {
	LogStreams []*logStream `json:"logStreams"`
	NextToken  string       `json:"nextToken,omitempty"`
}, err error,
) {
	events, err := a.events(in.group)
	if err != nil {
		return out, err
	}
	byName := map[string]*logStream{}
	for _, e := range events {
		at := e.Time.UnixMilli()
		s, ok := byName[e.Stream]
		if !ok {
			s = &logStream{
				LogStreamName: e.Stream, ARN: a.account.ARN("logs", "log-group:"+in.LogGroupName+":log-stream:"+e.Stream),
				CreationTime: at, FirstEventTimestamp: at, UploadSequenceToken: "1",
			}
			byName[e.Stream] = s
		}
		s.LastEventTimestamp, s.LastIngestionTime = at, at
	}
	streams := slices.DeleteFunc(slices.Collect(maps.Values(byName)), func(s *logStream) bool {
		return !strings.HasPrefix(s.LogStreamName, in.LogStreamNamePrefix)
	})
	// A page's token is the key of its last stream, so the order is that of the keys.
	key := func(s *logStream) string { return s.LogStreamName }
	if in.OrderBy == "LastEventTime" {
		key = func(s *logStream) string {
			at := s.LastEventTimestamp
			if in.Descending {
				at = 1<<62 - at
			}
			return fmt.Sprintf("%020d %s", at, s.LogStreamName)
		}
	}
	slices.SortFunc(streams, func(a, b *logStream) int { return strings.Compare(key(a), key(b)) })
	found, err := paginate(streams, key, in.NextToken, in.Limit, maxLogGroups)
	out.LogStreams, out.NextToken = transform(found.items, func(s *logStream) *logStream { return s }), found.next
	return out, err
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

func (a logsAPI) getLogEvents(_ *call, in struct {
	group
	span
	LogStreamName, NextToken string
	StartFromHead            bool
	Limit                    int
	Unmask                   bool
},
) (out struct {
	Events            []logEvent `json:"events"`
	NextForwardToken  string     `json:"nextForwardToken"`
	NextBackwardToken string     `json:"nextBackwardToken"`
}, err error,
) {
	all, err := a.events(in.group)
	if err != nil {
		return out, err
	}
	events := slices.DeleteFunc(slices.Clone(all), func(e logs.Event) bool { return e.Stream != in.LogStreamName })
	if len(events) == 0 {
		return out, awsapi.Errorf("ResourceNotFoundException", "The specified log stream does not exist.")
	}
	events = slices.DeleteFunc(events, func(e logs.Event) bool { return !in.has(e.Time) })
	// A token has its direction and the time of the event where its page ended.
	direction, at, _ := strings.Cut(in.NextToken, "/")
	from, err := strconv.ParseInt(cmp.Or(at, "0"), 10, 64)
	if err != nil || !slices.Contains([]string{"", "f", "b"}, direction) {
		return out, awsapi.Errorf("InvalidParameterException", "The specified nextToken is invalid.")
	}
	switch direction {
	case "f":
		events = slices.DeleteFunc(events, func(e logs.Event) bool { return e.Time.UnixNano() <= from })
	case "b":
		events = slices.DeleteFunc(events, func(e logs.Event) bool { return e.Time.UnixNano() >= from })
	}
	limit := min(cmp.Or(in.Limit, maxLogEvents), maxLogEvents, len(events))
	if limit < 0 {
		return out, awsapi.Errorf("InvalidParameterException", "limit %d must be from 1 to %d", in.Limit, maxLogEvents)
	}
	if direction == "f" || direction == "" && in.StartFromHead {
		events = events[:limit]
	} else {
		events = events[len(events)-limit:]
	}
	first, last := from, from
	if len(events) > 0 {
		first, last = events[0].Time.UnixNano(), events[len(events)-1].Time.UnixNano()
	}
	out.NextForwardToken, out.NextBackwardToken = fmt.Sprintf("f/%d", last), fmt.Sprintf("b/%d", first)
	out.Events = transform(events, func(e logs.Event) logEvent {
		return logEvent{Timestamp: e.Time.UnixMilli(), IngestionTime: e.Time.UnixMilli(), Message: e.Message}
	})
	return out, nil
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

func (a logsAPI) deleteLogGroup(_ *call, in struct{ LogGroupName string }) (nothing, error) {
	return nothing{}, a.service.Delete(in.LogGroupName)
}
