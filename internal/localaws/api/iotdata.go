package api

import (
	"maps"
	"slices"
	"strings"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/iot"
)

func iotDataFront(s Services) front {
	a := iotDataAPI{s.IoT}
	return restFront{service: "iotdata", routes: []route{
		{method: "POST", path: "/topics/{topic}", name: "Publish", run: op(a.publish), payload: true},
		{method: "GET", path: "/connections/{clientId}", name: "GetConnection", run: op(a.getConnection)},
		{method: "DELETE", path: "/connections/{clientId}", name: "DeleteConnection", run: op(a.deleteConnection)},
		{method: "GET", path: "/retainedMessage", name: "ListRetainedMessages", run: op(a.listRetainedMessages)},
	}}
}

type iotDataAPI struct{ service *iot.Service }

func (a iotDataAPI) publish(c *call, in struct {
	Topic  string
	QoS    number
	Retain flag
},
) (nothing, error) {
	for _, name := range slices.Sorted(maps.Keys(c.Header)) {
		if strings.HasPrefix(name, "X-Amz-Mqtt5-") {
			return nothing{}, awsapi.Errorf("InvalidRequestException", "header %s is not supported by this local endpoint", name)
		}
	}
	if in.QoS < 0 || in.QoS > 1 {
		return nothing{}, awsapi.Errorf("InvalidRequestException", "qos %d must be 0 or 1", in.QoS)
	}
	return nothing{}, a.service.Publish(c.Context(), in.Topic, c.payload, byte(in.QoS), bool(in.Retain))
}

// A connection has its times in milliseconds, its intervals in seconds.
type connection struct {
	ClientID          string `json:"clientId"`
	ThingName         string `json:"thingName,omitempty"`
	Connected         bool   `json:"connected"`
	ConnectedSince    int64  `json:"connectedSince,omitempty"`
	DisconnectedSince int64  `json:"disconnectedSince,omitempty"`
	DisconnectReason  string `json:"disconnectReason,omitempty"`
	KeepAliveDuration int    `json:"keepAliveDuration"`
	CleanSession      bool   `json:"cleanSession"`
	SessionExpiry     int    `json:"sessionExpiry"`
	SourceIP          string `json:"sourceIp,omitempty"`
	SourcePort        int    `json:"sourcePort,omitempty"`
	TargetIP          string `json:"targetIp,omitempty"`
	TargetPort        int    `json:"targetPort,omitempty"`
}

func (a iotDataAPI) getConnection(_ *call, in struct {
	ClientID                 string
	IncludeSocketInformation flag
},
) (connection, error) {
	state, err := a.service.GetConnection(in.ClientID)
	if err != nil {
		return connection{}, err
	}
	out := connection{
		ClientID: state.ClientID, ThingName: state.ThingName, Connected: state.Connected, DisconnectReason: state.DisconnectReason,
		KeepAliveDuration: state.KeepAlive, CleanSession: state.CleanSession, SessionExpiry: state.SessionExpiry,
	}
	if state.Connected {
		out.ConnectedSince = state.Since.UnixMilli()
	} else {
		out.DisconnectedSince = state.Since.UnixMilli()
	}
	if in.IncludeSocketInformation {
		out.SourceIP, out.SourcePort, out.TargetIP, out.TargetPort = state.SourceIP, state.SourcePort, state.TargetIP, state.TargetPort
	}
	return out, nil
}

func (a iotDataAPI) deleteConnection(_ *call, in struct {
	ClientID                         string
	CleanSession, PreventWillMessage flag
},
) (nothing, error) {
	return nothing{}, a.service.DeleteConnection(in.ClientID, bool(in.CleanSession), bool(in.PreventWillMessage))
}

// maxRetainedPage is the largest page (API reference, ListRetainedMessages, maxResults).
const maxRetainedPage = 200

type retainedTopic struct {
	Topic            string `json:"topic"`
	PayloadSize      int    `json:"payloadSize"`
	QoS              byte   `json:"qos"`
	LastModifiedTime int64  `json:"lastModifiedTime"`
}

func (a iotDataAPI) listRetainedMessages(_ *call, in struct {
	NextToken  string
	MaxResults number
},
) (out struct {
	RetainedTopics []retainedTopic `json:"retainedTopics"`
	NextToken      string          `json:"nextToken,omitempty"`
}, err error,
) {
	key := func(m iot.RetainedMessage) string { return m.Topic }
	found, err := paginate(a.service.ListRetainedMessages(), key, in.NextToken, int(in.MaxResults), maxRetainedPage)
	out.NextToken = found.next
	out.RetainedTopics = transform(found.items, func(m iot.RetainedMessage) retainedTopic {
		return retainedTopic{m.Topic, len(m.Payload), m.QoS, m.LastModified.UnixMilli()}
	})
	return out, err
}
