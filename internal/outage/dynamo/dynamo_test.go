package dynamo_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/go-cmp/cmp"

	"lastwill/internal/outage"
	"lastwill/internal/outage/dynamo"
)

// value is an attribute as DynamoDB's JSON has it.
type value = map[string]any

// fakeDynamo knows the forms of the calls that cmd/alerter documents, and refuses all others.
type fakeDynamo struct {
	t     *testing.T
	mutex sync.Mutex
	items map[string]map[string]value
}

func newTable(t *testing.T) (*dynamo.Table, func() *dynamo.Table) {
	f := &fakeDynamo{t: t, items: map[string]map[string]value{}}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	another := func() *dynamo.Table {
		return dynamo.New(aws.Config{
			Region: "eu-central-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""),
		}, "outages")
	}
	return another(), another
}

func text(v value) string { return fmt.Sprint(v["S"]) }

func number(v value) int64 {
	n, err := strconv.ParseInt(fmt.Sprint(v["N"]), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

func (f *fakeDynamo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	var in struct {
		TableName                                                     string
		Key, Item, ExpressionAttributeValues, ExclusiveStartKey       map[string]value
		ConditionExpression, KeyConditionExpression, FilterExpression string
		ConsistentRead                                                bool
	}
	d := json.NewDecoder(r.Body)
	if err := d.Decode(&in); err != nil || in.TableName != "outages" {
		f.t.Errorf("%v, table %q", err, in.TableName)
	}
	key := func(item map[string]value) string { return text(item["pk"]) + "\x00" + text(item["sk"]) }
	operation := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "DynamoDB_20120810.")
	out := map[string]any{}
	switch operation {
	case "GetItem":
		if item, ok := f.items[key(in.Key)]; ok {
			out["Item"] = item
		}
	case "PutItem", "DeleteItem":
		if in.Item == nil {
			in.Item = in.Key
		}
		if !f.holds(in.ConditionExpression, f.items[key(in.Item)], in.ExpressionAttributeValues) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"The conditional request failed"}`)
			return
		}
		if delete(f.items, key(in.Item)); operation == "PutItem" {
			f.items[key(in.Item)] = in.Item
		}
	case "Query":
		f.query(in.KeyConditionExpression, in.FilterExpression, in.ExpressionAttributeValues, in.ExclusiveStartKey, out)
	default:
		f.t.Errorf("operation %s", operation)
	}
	if (operation == "GetItem" || operation == "Query") && !in.ConsistentRead {
		f.t.Errorf("%s may read what is out of date", operation)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	json.NewEncoder(w).Encode(out)
}

func (f *fakeDynamo) holds(condition string, item map[string]value, values map[string]value) bool {
	switch condition {
	case "":
		return true
	case "attribute_not_exists(pk)":
		return item == nil
	case "attribute_exists(pk)":
		return item != nil
	case "attribute_not_exists(pk) OR leased < :now":
		return item == nil || number(item["leased"]) < number(values[":now"])
	case "holder = :me":
		return item != nil && text(item["holder"]) == text(values[":me"])
	case "rev = :rev":
		return item != nil && number(item["rev"]) == number(values[":rev"])
	}
	f.t.Errorf("condition %q", condition)
	return false
}

// query returns pages of two items.
func (f *fakeDynamo) query(condition, filter string, values, after map[string]value, out map[string]any) {
	if condition != "pk = :pk" || filter != "" && filter != "due <= :now" {
		f.t.Errorf("condition %q, filter %q", condition, filter)
	}
	var found []map[string]value
	for _, item := range f.items {
		if text(item["pk"]) == text(values[":pk"]) && (after == nil || text(item["sk"]) > text(after["sk"])) {
			found = append(found, item)
		}
	}
	slices.SortFunc(found, func(a, b map[string]value) int { return strings.Compare(text(a["sk"]), text(b["sk"])) })
	if len(found) > 2 {
		found = found[:2]
		out["LastEvaluatedKey"] = map[string]value{"pk": found[1]["pk"], "sk": found[1]["sk"]}
	}
	items := []map[string]value{}
	for _, item := range found {
		if filter == "" || number(item["due"]) <= number(values[":now"]) {
			items = append(items, item)
		}
	}
	out["Items"] = items
}

var now = time.Date(2026, 11, 28, 14, 2, 11, 0, time.UTC)

func TestWhatIsStoredIsRead(t *testing.T) {
	t.Parallel()
	table, _ := newTable(t)
	item := outage.Item{
		Device: "wärme/7 \"x\"", State: outage.Saying, Since: now, Reason: "CONNECTION_LOST", Due: now.Add(time.Minute), First: now.Add(-time.Second),
		Losses: 7, Shared: true, Unchecked: true,
	}
	// A field that is not stored would be lost between two sweeps.
	for n := range reflect.TypeFor[outage.Item]().NumField() {
		if reflect.ValueOf(item).Field(n).IsZero() && reflect.TypeFor[outage.Item]().Field(n).Name != "Rev" {
			t.Errorf("the item has no %s", reflect.TypeFor[outage.Item]().Field(n).Name)
		}
	}
	if err := table.Write(t.Context(), []outage.Write{{Item: item}})[0]; err != nil {
		t.Fatal(err)
	}
	item.Rev = 1
	got, found, err := table.Get(t.Context(), item.Device)
	if diff := cmp.Diff(item, got); diff != "" || !found || err != nil {
		t.Errorf("found %t, %v: %s", found, err, diff)
	}
	if _, found, err := table.Get(t.Context(), "another"); found || err != nil {
		t.Errorf("found %t, %v", found, err)
	}
}

func TestAnItemChangesInTheRevisionThatWasRead(t *testing.T) {
	t.Parallel()
	table, _ := newTable(t)
	item := outage.Item{Device: "pump-7", State: outage.Waiting, Since: now, Due: now, First: now, Losses: 1}
	at := func(rev int64) outage.Item { i := item; i.Rev = rev; return i }
	for _, step := range []struct {
		claim string
		write outage.Write
		want  error
	}{
		{"deletes what is not there", outage.Write{Item: at(1), Delete: true}, outage.ErrChanged},
		{"makes it", outage.Write{Item: at(0)}, nil},
		{"makes it again", outage.Write{Item: at(0)}, outage.ErrChanged},
		{"writes it in its revision", outage.Write{Item: at(1)}, nil},
		{"writes it in an old revision", outage.Write{Item: at(1)}, outage.ErrChanged},
		{"deletes it in an old revision", outage.Write{Item: at(1), Delete: true}, outage.ErrChanged},
		{"deletes it", outage.Write{Item: at(2), Delete: true}, nil},
	} {
		if err := table.Write(t.Context(), []outage.Write{step.write})[0]; !errors.Is(err, step.want) {
			t.Errorf("%s: %v, want %v", step.claim, err, step.want)
		}
	}
}

func TestDueIsWhatMustBeLookedAt(t *testing.T) {
	t.Parallel()
	table, _ := newTable(t)
	var writes []outage.Write
	for n := range 40 {
		writes = append(writes, outage.Write{Item: outage.Item{Device: fmt.Sprintf("pump-%02d", n), State: outage.Told, Due: now.Add(time.Duration(n-20) * time.Second)}})
	}
	for _, err := range table.Write(t.Context(), writes) {
		if err != nil {
			t.Fatal(err)
		}
	}
	due, err := table.Due(t.Context(), now)
	if err != nil || len(due) != 21 {
		t.Errorf("%d items are due, %v", len(due), err)
	}
	if all, err := table.Items(t.Context()); err != nil || len(all) != 40 {
		t.Errorf("%d items, %v", len(all), err)
	}
}

func TestOneSweepHasTheLease(t *testing.T) {
	t.Parallel()
	first, another := newTable(t)
	second := another()
	ctx := context.Background()
	until := now.Add(time.Minute)
	if b, err := first.Lock(ctx, now, until); err != nil || b != (outage.Bucket{}) {
		t.Fatalf("%v, %v", b, err)
	}
	if _, err := second.Lock(ctx, now.Add(time.Second), until); !errors.Is(err, outage.ErrLocked) {
		t.Errorf("a second sweep got %v", err)
	}
	spent := outage.Bucket{Tokens: 2, Gained: now}
	if err := second.Spend(ctx, spent, until); !errors.Is(err, outage.ErrLocked) {
		t.Errorf("a sweep without the lease spent a mail: %v", err)
	}
	if err := first.Spend(ctx, spent, until); err != nil {
		t.Error(err)
	}
	if err := first.Unlock(ctx, spent); err != nil {
		t.Error(err)
	}
	if b, err := second.Lock(ctx, now.Add(2*time.Second), until); err != nil || b != spent {
		t.Errorf("after the first: %v, %v", b, err)
	}
	third := another()
	if _, err := third.Lock(ctx, until.Add(time.Second), until.Add(time.Minute)); err != nil {
		t.Errorf("after a sweep that died: %v", err)
	}
	if err := second.Unlock(ctx, spent); !errors.Is(err, outage.ErrLocked) {
		t.Errorf("a sweep that was late ended another's lease: %v", err)
	}
}

func TestMutes(t *testing.T) {
	t.Parallel()
	table, _ := newTable(t)
	ctx := t.Context()
	for _, until := range []time.Time{now, now.Add(time.Hour)} {
		if err := table.Mute(ctx, outage.Mute{Devices: "pump-*", Until: until, Reason: "new pumps"}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := table.Mutes(ctx)
	if diff := cmp.Diff([]outage.Mute{{Devices: "pump-*", Until: now.Add(time.Hour), Reason: "new pumps"}}, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	for _, want := range []bool{true, false} {
		if found, err := table.Unmute(ctx, "pump-*"); found != want || err != nil {
			t.Errorf("found %t, %v", found, err)
		}
	}
}
