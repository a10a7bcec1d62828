package iotsql

import (
	"fmt"
	"strings"
)

// A function is one of the reference's list (developer guide,
// iot-sql-functions).
type function struct {
	// name as the reference writes it.
	name string
	// min and max are how many arguments it takes; max is -1 for any number.
	min, max int
	// added tells that it came with version 2016-03-23. AWS takes a rule that calls
	// it under 2015-10-08, where it is Null [LIVE].
	added bool
	// fixed are the arguments that may not be variables: modes, schemes and role
	// ARNs, counted from the end if negative (developer guide, iot-sql-set).
	fixed []int
	// returns are the types of its results. Default: any.
	returns kindSet
	// apply computes it from evaluated arguments; special from the call itself,
	// where an argument is more than its value.
	apply   func(e *env, args []value) value
	special func(e *env, c *call) value
}

// functions are all functions by their name in lower case.
var functions = func() map[string]*function {
	byName := map[string]*function{}
	for _, list := range [][]function{messageFunctions, mathFunctions, stringFunctions, dataFunctions, timeFunctions, serviceFunctions} {
		for _, f := range list {
			byName[strings.ToLower(f.name)] = &f
		}
	}
	return byName
}()

func unknownFunction(name string) string {
	return fmt.Sprintf("there is no function %s", name)
}

// messageFunctions tell about the message and its way.
var messageFunctions = []function{
	{name: "topic", max: 1, returns: maybeString, apply: topicOf},
	{name: "clientid", returns: setOf(stringKind), apply: func(e *env, _ []value) value { return orElse(e.m.ClientID, stringValue("n/a")) }},
	{name: "principal", returns: maybeString, apply: func(e *env, _ []value) value { return orElse(e.m.Principal, undefined) }},
	{name: "sourceip", added: true, returns: maybeString, apply: func(e *env, _ []value) value { return orElse(e.m.SourceIP, undefined) }},
	{name: "traceid", returns: maybeString, apply: func(e *env, _ []value) value { return orElse(e.m.TraceID, undefined) }},
	{name: "accountid", returns: setOf(stringKind), apply: func(e *env, _ []value) value { return orElse(e.m.AccountID, stringValue("123456789012")) }},
	{name: "sql_version", returns: setOf(stringKind), apply: func(e *env, _ []value) value { return stringValue(string(e.ver)) }},
}

func orElse(s string, other value) value {
	if s == "" {
		return other
	}
	return stringValue(s)
}

// basicIngest begins the topics that name a rule (developer guide,
// iot-basic-ingest).
const basicIngest = "$aws/rules/"

// topicOf is the topic, or its level n counted from 1. Of a Basic Ingest topic
// $aws/rules/name/rest only the rest is told.
func topicOf(e *env, args []value) value {
	topic := e.m.Topic
	if rest, ok := strings.CutPrefix(topic, basicIngest); ok {
		_, topic, _ = strings.Cut(rest, "/")
	}
	if len(args) == 0 {
		return stringValue(topic)
	}
	n, ok := toIndex(args[0], e.ver)
	levels := strings.Split(topic, "/")
	if !ok || n < 1 || n > int64(len(levels)) {
		return undefined
	}
	return stringValue(levels[n-1])
}
