package monitoring

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"lastwill/internal/nearest"
)

// A layer is one place where settings are: JSON values in a file, strings on the
// command line.
type layer struct {
	values map[string]any
	// file is the environments file and which environment in it. Default: the layer
	// is the CDK context.
	file  string
	known map[string]bool // the keys that mean something here
}

func newLayer(values map[string]any, file string) layer {
	return layer{values, file, map[string]bool{}}
}

func (l layer) isContext() bool { return l.file == "" }

// origin is where one of the layer's values stands.
func (l layer) origin(key string) string {
	if l.isContext() {
		return ContextFile(key, l.values[key])
	}
	return l.file
}

// reader takes settings out of its layers; the first that has one decides.
type reader struct {
	layers   []layer
	problems Problems
}

func (r *reader) lookup(key string) any {
	var found any
	for _, l := range r.layers {
		l.known[key] = true
		if found == nil {
			found = l.values[key]
		}
	}
	return found
}

// origin is that of the layer which decides about a key.
func (r *reader) origin(key string) string {
	for _, l := range r.layers {
		if l.values[key] != nil {
			return l.origin(key)
		}
	}
	return ""
}

func (r *reader) problem(key, format string, args ...any) {
	r.problems.addOf(r.origin(key), key, fmt.Errorf(format, args...))
}

// refuseUnknown reports the keys that nothing has asked for. The context is not ours
// alone: the CDK CLI keeps its own keys there, and ~/.cdk.json is for all of a user's
// apps. So there only what is nearly one of ours is a mistake.
func (r *reader) refuseUnknown() {
	for _, l := range r.layers {
		known := slices.Sorted(maps.Keys(l.known))
		for _, key := range slices.Sorted(maps.Keys(l.values)) {
			meant := nearest.Of(key, known)
			switch {
			case l.known[key] || meant == "" && l.isContext():
			case meant == "":
				r.problems.addOf(l.origin(key), key, errors.New("is no setting: the README lists them under Options"))
			default:
				r.problems.addOf(l.origin(key), key, fmt.Errorf("is no setting: did you mean %s?", meant))
			}
		}
	}
}

// shown is a value as its user wrote it: a string of the command line, or JSON.
func shown(value any) string {
	if s, ok := value.(string); ok {
		return s
	}
	b, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(b)
}

func (r *reader) text(key string, into *string) {
	switch v := r.lookup(key).(type) {
	case nil:
	case string:
		*into = v
	default:
		r.problem(key, "%s is not a text: put it in quotes", shown(v))
	}
}

func (r *reader) flag(key string, into *bool) {
	value := r.lookup(key)
	if value == nil {
		return
	}
	b, err := strconv.ParseBool(fmt.Sprint(value))
	if err != nil {
		r.problem(key, "%s is neither true nor false", shown(value))
		return
	}
	*into = b
}

func (r *reader) list(key string, into *[]string) {
	value := r.lookup(key)
	if value == nil {
		return
	}
	list, ok := texts(value)
	if !ok {
		r.problem(key, "%s is not a list: give one value, several with commas between, or a JSON list of strings", shown(value))
		return
	}
	*into = list
}

// texts reads "a", "a,b", `["a","b"]` and a list of strings.
func texts(value any) ([]string, bool) {
	var list []string
	switch v := value.(type) {
	case string:
		if strings.HasPrefix(strings.TrimSpace(v), "[") {
			return list, json.Unmarshal([]byte(v), &list) == nil
		}
		if strings.TrimSpace(v) == "" {
			return nil, true
		}
		for _, item := range strings.Split(v, ",") {
			list = append(list, strings.TrimSpace(item))
		}
		return list, true
	case []any:
		for _, item := range v {
			s, ok := item.(string)
			if !ok {
				return nil, false
			}
			list = append(list, s)
		}
		return list, true
	}
	return nil, false
}

// pairs reads "a=1", "a=1,b=2", `{"a":"1"}` and an object of strings.
func (r *reader) pairs(key string, into *map[string]string) {
	value := r.lookup(key)
	if value == nil {
		return
	}
	found, ok := pairs(value)
	if !ok {
		r.problem(key, "%v are no tags: give KEY=VALUE, several with commas between, or a JSON object of strings", value)
		return
	}
	*into = found
}

func pairs(value any) (map[string]string, bool) {
	found := map[string]string{}
	switch v := value.(type) {
	case string:
		if strings.HasPrefix(strings.TrimSpace(v), "{") {
			return found, json.Unmarshal([]byte(v), &found) == nil
		}
		for _, item := range strings.Split(v, ",") {
			name, text, ok := strings.Cut(item, "=")
			if _, twice := found[strings.TrimSpace(name)]; twice || !ok {
				return nil, false
			}
			found[strings.TrimSpace(name)] = strings.TrimSpace(text)
		}
		return found, true
	case map[string]any:
		for name, item := range v {
			text, ok := item.(string)
			if !ok {
				return nil, false
			}
			found[name] = text
		}
		return found, true
	}
	return nil, false
}

func (r *reader) seconds(key string, into *time.Duration) {
	value := r.lookup(key)
	if value == nil {
		return
	}
	n, err := strconv.ParseInt(shown(value), 10, 32)
	if err != nil {
		r.problem(key, "%s is no number of seconds: give a whole number, such as 30", shown(value))
		return
	}
	*into = time.Duration(n) * time.Second
}

// duration takes one with its unit: a bare number would be read as minutes by one
// person and as seconds by another.
func (r *reader) duration(key string, into *time.Duration) {
	value := r.lookup(key)
	if value == nil {
		return
	}
	d, err := time.ParseDuration(shown(value))
	if _, isText := value.(string); !isText || err != nil || d == 0 {
		r.problem(key, "%q: give a duration with its unit, 60s to 15m, such as 3m", shown(value))
		return
	}
	*into = d
}
