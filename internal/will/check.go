package will

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

var thingName = regexp.MustCompile(`^[a-zA-Z0-9:_-]{1,128}$`)

// CheckThingName says what keeps s from being the name of a thing (API reference,
// CreateThing).
func CheckThingName(s string) error {
	if !thingName.MatchString(s) {
		return fmt.Errorf("thing name %q: use 1 to 128 letters, digits, colons, underscores and hyphens", s)
	}
	return nil
}

var ruleName = regexp.MustCompile(`^[a-zA-Z0-9_]{1,128}$`)

// CheckRuleName says what keeps s from being the name of a topic rule (API
// reference, CreateTopicRule).
func CheckRuleName(s string) error {
	if !ruleName.MatchString(s) {
		return fmt.Errorf("rule name %q: use 1 to 128 letters, digits and underscores", s)
	}
	return nil
}

// CheckTopicName says what keeps s from being the name of an MQTT topic that a
// device may publish to on AWS IoT Core. It returns nil if nothing does.
func CheckTopicName(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("topic is empty: give a name such as /last/will/topic")
	case hasControls(s):
		return fmt.Errorf("topic %q has control characters or is not UTF-8: remove them", s)
	case strings.ContainsAny(s, "+#"):
		return fmt.Errorf("topic %q has a wildcard: name one topic, without + and #", s)
	case strings.HasPrefix(s, "$"):
		return fmt.Errorf("topic %q is reserved: topics that begin with $ belong to AWS, choose another beginning", s)
	case strings.Contains(s, "'") || strings.Contains(s, "${"):
		return fmt.Errorf("topic %q has a quote or ${, which the rule's SQL and templates would read as their own: remove them", s)
	case strings.ContainsAny(s, "*?"):
		return fmt.Errorf("topic %q has * or ?, which policies would read as wildcards: remove them", s)
	}
	return checkSize("topic", s, strings.Count(s, "/"))
}

// CheckTopicFilter says what keeps s from being an MQTT topic filter that AWS IoT
// Core takes (MQTT 3.1.1, 4.7.1). It returns nil if nothing does.
func CheckTopicFilter(s string) error {
	switch {
	case s == "":
		return errors.New("topic filter is empty: give one such as /last/will/topic, or # for all topics")
	case hasControls(s):
		return fmt.Errorf("topic filter %q has control characters or is not UTF-8: remove them", s)
	}
	levels := strings.Split(s, "/")
	for i, level := range levels {
		switch {
		case strings.Contains(level, "#") && (level != "#" || i < len(levels)-1):
			return fmt.Errorf("topic filter %q: # stands alone in the last level, as in site/#", s)
		case strings.Contains(level, "+") && level != "+":
			return fmt.Errorf("topic filter %q: + stands alone in its level, as in site/+/pump", s)
		}
	}
	return CheckTopicFilterSize(s)
}

// CheckTopicFilterSize is the part of CheckTopicFilter that goes beyond MQTT: AWS
// IoT Core's limits (general reference, message broker limits).
func CheckTopicFilterSize(s string) error {
	slashes := strings.Count(s, "/")
	if strings.HasPrefix(s, "$share/") {
		slashes -= 2 // the prefix of a shared subscription does not count
	}
	return checkSize("topic filter", s, slashes)
}

func checkSize(what, s string, slashes int) error {
	switch {
	case slashes > MaxTopicSlashes:
		return fmt.Errorf("%s %q has %d slashes, AWS IoT Core takes at most %d: shorten it", what, s, slashes, MaxTopicSlashes)
	case len(s) > MaxTopicBytes:
		return fmt.Errorf("%s %q has %d bytes, AWS IoT Core takes at most %d: shorten it", what, s, len(s), MaxTopicBytes)
	}
	return nil
}

func hasControls(s string) bool {
	return !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl)
}
