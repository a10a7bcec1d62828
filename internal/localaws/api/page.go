package api

import (
	"encoding/base64"
	"slices"
	"strings"

	"lastwill/internal/localaws/awsapi"
)

// A page is a part of a list, and the token that asks for the next one.
type page[T any] struct {
	items []T
	next  string
}

// paginate returns the part of a list that follows a token, at most limit items.
// The list is sorted by key. A token names the last item of its page, so that
// items may come and go between two pages. Default: the limit is most.
func paginate[T any](items []T, key func(T) string, token string, limit, most int) (page[T], error) {
	if limit == 0 {
		limit = most
	}
	if limit < 1 || limit > most {
		return page[T]{}, awsapi.Errorf("InvalidRequestException", "the number of results %d must be from 1 to %d", limit, most)
	}
	if token != "" {
		last, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil {
			return page[T]{}, awsapi.Errorf("InvalidRequestException", "the token %.100q is not one of this list", token)
		}
		after, _ := slices.BinarySearchFunc(items, string(last)+"\x00", func(item T, key2 string) int { return strings.Compare(key(item), key2) })
		items = items[after:]
	}
	if len(items) <= limit {
		return page[T]{items: items}, nil
	}
	items = items[:limit]
	return page[T]{items, base64.RawURLEncoding.EncodeToString([]byte(key(items[limit-1])))}, nil
}

// transform makes a list of another.
func transform[A, B any](list []A, f func(A) B) []B {
	out := make([]B, 0, len(list)) // an empty list, not null
	for _, item := range list {
		out = append(out, f(item))
	}
	return out
}
