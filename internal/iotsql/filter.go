package iotsql

import (
	"iter"
	"slices"
	"strings"
)

// MatchFilter reports whether a topic filter matches a topic as AWS IoT Core
// does it: + is exactly one level, # one level or more at the end. Unlike in
// MQTT, "sensor/#" does not match "sensor" (developer guide, "MQTT topics",
// topic filters). Topics that begin with $ are not matched by a filter that
// begins with a wildcard [MQTT-4.7.2-1].
func MatchFilter(filter, topic string) bool {
	if hiddenFrom(filter, topic) {
		return false
	}
	for {
		f, filterRest, filterMore := strings.Cut(filter, "/")
		t, topicRest, topicMore := strings.Cut(topic, "/")
		if f == "#" {
			return !filterMore
		}
		if f != "+" && f != t || filterMore != topicMore {
			return false
		}
		if !filterMore {
			return true
		}
		filter, topic = filterRest, topicRest
	}
}

func hiddenFrom(filter, topic string) bool {
	return strings.HasPrefix(topic, "$") && (strings.HasPrefix(filter, "#") || strings.HasPrefix(filter, "+"))
}

// checkFilter says what is wrong with the wildcards of a topic filter, or "".
func checkFilter(filter string) string {
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		switch {
		case strings.Contains(level, "#") && (level != "#" || i != len(levels)-1):
			return "# must be the whole last level of a topic filter"
		case strings.Contains(level, "+") && level != "+":
			return "+ must be a whole level of a topic filter"
		}
	}
	if filter == "" {
		return "the topic filter is empty"
	}
	if strings.ContainsRune(filter, 0) {
		return "a topic filter has no NUL character"
	}
	return ""
}

// An Index finds the entries whose topic filter matches a topic. What a Match
// costs grows with the levels of the topic and the entries that match, not
// with all entries. The zero Index is empty and ready for use. Concurrent
// calls of Match are safe; calls of Add and Remove need a lock.
type Index[T comparable] struct{ root indexNode[T] }

type indexNode[T comparable] struct {
	children map[string]*indexNode[T]
	here     []T // filters that end at this level
	below    []T // filters that end in # after this level
}

// Add enters v under a topic filter. The same v may be entered several times.
func (x *Index[T]) Add(filter string, v T) {
	n := &x.root
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		if level == "#" && i == len(levels)-1 {
			n.below = append(n.below, v)
			return
		}
		child := n.children[level]
		if child == nil {
			child = &indexNode[T]{}
			if n.children == nil {
				n.children = map[string]*indexNode[T]{}
			}
			n.children[level] = child
		}
		n = child
	}
	n.here = append(n.here, v)
}

// Remove takes one entry of v under this topic filter out and reports whether
// there was one.
func (x *Index[T]) Remove(filter string, v T) bool {
	return x.root.remove(strings.Split(filter, "/"), v)
}

func (n *indexNode[T]) remove(levels []string, v T) bool {
	if len(levels) == 0 {
		return take(&n.here, v)
	}
	if len(levels) == 1 && levels[0] == "#" {
		return take(&n.below, v)
	}
	child := n.children[levels[0]]
	if child == nil || !child.remove(levels[1:], v) {
		return false
	}
	if len(child.children) == 0 && len(child.here) == 0 && len(child.below) == 0 {
		delete(n.children, levels[0])
	}
	return true
}

func take[T comparable](list *[]T, v T) bool {
	i := slices.Index(*list, v)
	if i < 0 {
		return false
	}
	*list = slices.Delete(*list, i, i+1)
	return true
}

// Match yields the entries whose filter matches the topic, as MatchFilter does.
func (x *Index[T]) Match(topic string) iter.Seq[T] {
	return func(yield func(T) bool) {
		x.root.match(topic, true, strings.HasPrefix(topic, "$"), yield)
	}
}

// match walks the levels of what is left of a topic; more is false after the
// last one. In the first level of a $ topic wildcards do not count.
func (n *indexNode[T]) match(rest string, more, reserved bool, yield func(T) bool) bool {
	if !more {
		return each(n.here, yield)
	}
	if !reserved && !each(n.below, yield) {
		return false
	}
	level, tail, tailMore := strings.Cut(rest, "/")
	if child := n.children[level]; child != nil && level != "+" {
		if !child.match(tail, tailMore, false, yield) {
			return false
		}
	}
	if child := n.children["+"]; child != nil && !reserved {
		return child.match(tail, tailMore, false, yield)
	}
	return true
}

func each[T any](list []T, yield func(T) bool) bool {
	for _, v := range list {
		if !yield(v) {
			return false
		}
	}
	return true
}
