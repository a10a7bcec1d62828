// Package dynamo keeps outages in a DynamoDB table: the function's state, which lwt reads too.
//
// The table's key is pk (partition, a string) and sk (sort, a string):
//
//	pk                sk           attributes
//	sweep             lease        holder, leased, tokens, gained
//	device0...device3 HASH         device, state, since, reason, due, first, losses, shared, unchecked, rev
//	                  client ID
//	mute              client ID    until, reason, expires
//	                  or PREFIX*
//
// HASH is one of the client ID, of 16 hexadecimal digits: it spreads the devices evenly over partitions
// and their order, so that a sweep can begin anywhere. Times are numbers of milliseconds since 1970; expires is one of seconds, for the
// table's time to live. There are four partitions, because one takes 1,000 writes a second (DynamoDB developer guide, "Designing partition keys").
// All reads are consistent.
package dynamo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"lastwill/internal/outage"
)

// Names of the table's key, and of the attribute of its time to live.
const (
	PartitionKey = "pk"
	SortKey      = "sk"
	Expires      = "expires"
)

const (
	partitions = 4
	sweepPart  = "sweep"
	leaseKey   = "lease"
	mutePart   = "mute"
)

// maxDue is how many items of a partition a sweep reads: together some times what it has
// time to look at. When more are due, each sweep reads those from another place on.
const maxDue = 12_500

// writers is how many writes run at a time.
const writers = 64

// Table is an outage.Table.
type Table struct {
	client *dynamodb.Client
	name   string
	holder string
}

// New returns the table of that name. Each sweep needs one of its own, because the
// lease belongs to it.
func New(c aws.Config, name string) *Table {
	return &Table{client: dynamodb.NewFromConfig(c), name: name, holder: rand.Text()}
}

type attributes = map[string]types.AttributeValue

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func integer(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

func moment(t time.Time) types.AttributeValue { return integer(t.UnixMilli()) }

func key(pk, sk string) attributes { return attributes{PartitionKey: text(pk), SortKey: text(sk)} }

// deviceKey is the key of a device's item.
func deviceKey(device string) attributes {
	h := fnv.New64a()
	h.Write([]byte(device))
	sum := h.Sum64()
	return key(partition(int(sum%partitions)), fmt.Sprintf("%016x %s", sum, device))
}

func partition(n int) string { return "device" + strconv.Itoa(n) }

// place is where the sweep of a minute begins to read: each far from those before it, so that
// some sweeps together come to all items (the golden ratio's multiples are spread evenly).
func place(now time.Time) string {
	const golden = 0x9e3779b97f4a7c15
	return fmt.Sprintf("%016x", uint64(now.Unix()/60)*golden)
}

// reader reads attributes and keeps the first problem.
type reader struct {
	from attributes
	err  error
}

func (r *reader) text(name string) string {
	s, ok := r.from[name].(*types.AttributeValueMemberS)
	if !ok {
		return ""
	}
	return s.Value
}

func (r *reader) integer(name string) int64 {
	n, ok := r.from[name].(*types.AttributeValueMemberN)
	if !ok {
		return 0
	}
	i, err := strconv.ParseInt(n.Value, 10, 64)
	if err != nil {
		r.err = errors.Join(r.err, fmt.Errorf("attribute %s of %q: %w", name, r.text(SortKey), err))
	}
	return i
}

func (r *reader) moment(name string) time.Time {
	if n := r.integer(name); n != 0 {
		return time.UnixMilli(n).UTC()
	}
	return time.Time{}
}

func (r *reader) flag(name string) bool {
	b, ok := r.from[name].(*types.AttributeValueMemberBOOL)
	return ok && b.Value
}

func fromItem(i outage.Item) attributes {
	a := deviceKey(i.Device)
	a["device"] = text(i.Device)
	a["state"], a["since"], a["due"], a["first"] = text(string(i.State)), moment(i.Since), moment(i.Due), moment(i.First)
	a["losses"], a["rev"] = integer(int64(i.Losses)), integer(i.Rev)
	if i.Reason != "" {
		a["reason"] = text(i.Reason)
	}
	if i.Shared {
		a["shared"] = &types.AttributeValueMemberBOOL{Value: true}
	}
	if i.Unchecked {
		a["unchecked"] = &types.AttributeValueMemberBOOL{Value: true}
	}
	return a
}

func toItem(a attributes) (outage.Item, error) {
	r := reader{from: a}
	i := outage.Item{
		Device: r.text("device"), State: outage.State(r.text("state")), Since: r.moment("since"), Reason: r.text("reason"),
		Due: r.moment("due"), First: r.moment("first"), Losses: int(r.integer("losses")),
		Shared: r.flag("shared"), Unchecked: r.flag("unchecked"), Rev: r.integer("rev"),
	}
	return i, r.err
}

// Lock takes the lease.
func (t *Table) Lock(ctx context.Context, now, until time.Time) (outage.Bucket, error) {
	found, err := t.client.GetItem(ctx, &dynamodb.GetItemInput{TableName: &t.name, Key: key(sweepPart, leaseKey), ConsistentRead: aws.Bool(true)})
	if err != nil {
		return outage.Bucket{}, err
	}
	r := reader{from: found.Item}
	b := outage.Bucket{Tokens: int(r.integer("tokens")), Gained: r.moment("gained")}
	if r.err != nil {
		return b, r.err
	}
	_, err = t.client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &t.name, Item: t.lease(b, until),
		ConditionExpression:       aws.String("attribute_not_exists(pk) OR leased < :now"),
		ExpressionAttributeValues: attributes{":now": moment(now)},
	})
	return b, conditional(err, outage.ErrLocked)
}

func (t *Table) lease(b outage.Bucket, until time.Time) attributes {
	a := key(sweepPart, leaseKey)
	a["holder"], a["leased"], a["tokens"] = text(t.holder), moment(until), integer(int64(b.Tokens))
	if !b.Gained.IsZero() {
		a["gained"] = moment(b.Gained)
	}
	return a
}

// hold stores lease and bucket if the lease is this sweep's.
func (t *Table) hold(ctx context.Context, b outage.Bucket, until time.Time) error {
	_, err := t.client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &t.name, Item: t.lease(b, until),
		ConditionExpression:       aws.String("holder = :me"),
		ExpressionAttributeValues: attributes{":me": text(t.holder)},
	})
	return conditional(err, outage.ErrLocked)
}

// Spend stores the bucket, and keeps the lease.
func (t *Table) Spend(ctx context.Context, b outage.Bucket, until time.Time) error {
	return t.hold(ctx, b, until)
}

// Unlock stores the bucket, and ends the lease.
func (t *Table) Unlock(ctx context.Context, b outage.Bucket) error {
	return t.hold(ctx, b, time.UnixMilli(0))
}

func conditional(err, otherwise error) error {
	var failed *types.ConditionalCheckFailedException
	if errors.As(err, &failed) {
		return otherwise
	}
	return err
}

// Due returns the items that must be looked at, or if there are more than a sweep has time for,
// some of them.
func (t *Table) Due(ctx context.Context, now time.Time) ([]outage.Item, error) {
	filter, values := aws.String("due <= :now"), attributes{":now": moment(now)}
	return t.items(func(pk string) ([]outage.Item, error) {
		items, more, err := t.part(ctx, pk, "", maxDue, filter, values)
		if err == nil && more {
			items, _, err = t.part(ctx, pk, place(now), maxDue, filter, values)
		}
		return items, err
	})
}

// Items returns all items.
func (t *Table) Items(ctx context.Context) ([]outage.Item, error) {
	return t.items(func(pk string) ([]outage.Item, error) {
		items, _, err := t.part(ctx, pk, "", math.MaxInt, nil, nil)
		return items, err
	})
}

// items reads the partitions at the same time.
func (t *Table) items(read func(pk string) ([]outage.Item, error)) ([]outage.Item, error) {
	var parts [partitions][]outage.Item
	var errs [partitions]error
	var wait sync.WaitGroup
	for n := range partitions {
		wait.Go(func() { parts[n], errs[n] = read(partition(n)) })
	}
	wait.Wait()
	return slices.Concat(parts[:]...), errors.Join(errs[:]...)
}

// part reads a partition from a sort key on, up to a limit. It reports whether there may be more.
func (t *Table) part(ctx context.Context, pk, from string, limit int, filter *string, values attributes) (items []outage.Item, more bool, err error) {
	err = t.query(ctx, pk, from, filter, values, func(a attributes) error {
		if len(items) == limit {
			return errEnough
		}
		i, err := toItem(a)
		items = append(items, i)
		return err
	})
	if errors.Is(err, errEnough) {
		return items, true, nil
	}
	return items, false, err
}

var errEnough = errors.New("enough")

func (t *Table) query(ctx context.Context, pk, from string, filter *string, values attributes, each func(attributes) error) error {
	all := attributes{":pk": text(pk)}
	maps.Copy(all, values)
	input := &dynamodb.QueryInput{
		TableName: &t.name, ConsistentRead: aws.Bool(true),
		KeyConditionExpression: aws.String("pk = :pk"), FilterExpression: filter, ExpressionAttributeValues: all,
	}
	if from != "" {
		input.ExclusiveStartKey = key(pk, from)
	}
	pages := dynamodb.NewQueryPaginator(t.client, input)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx) // one at a time: all may be more than there is memory for
		if err != nil {
			return err
		}
		for _, a := range page.Items {
			if err := each(a); err != nil {
				return err
			}
		}
	}
	return nil
}

// Get returns the item of a device.
func (t *Table) Get(ctx context.Context, device string) (i outage.Item, found bool, err error) {
	got, err := t.client.GetItem(ctx, &dynamodb.GetItemInput{TableName: &t.name, Key: deviceKey(device), ConsistentRead: aws.Bool(true)})
	if err != nil || len(got.Item) == 0 {
		return i, false, err
	}
	i, err = toItem(got.Item)
	return i, err == nil, err
}

// Write stores and deletes items, several at a time.
func (t *Table) Write(ctx context.Context, writes []outage.Write) []error {
	errs := make([]error, len(writes))
	next := make(chan int)
	var wait sync.WaitGroup
	for range min(writers, len(writes)) {
		wait.Go(func() {
			for n := range next {
				errs[n] = t.write(ctx, writes[n])
			}
		})
	}
	for n := range writes {
		next <- n
	}
	close(next)
	wait.Wait()
	return errs
}

func (t *Table) write(ctx context.Context, w outage.Write) error {
	condition, values := "attribute_not_exists(pk)", attributes(nil)
	if w.Item.Rev > 0 {
		condition, values = "rev = :rev", attributes{":rev": integer(w.Item.Rev)}
	}
	var err error
	if w.Delete {
		_, err = t.client.DeleteItem(ctx, &dynamodb.DeleteItemInput{
			TableName: &t.name, Key: deviceKey(w.Item.Device),
			ConditionExpression: &condition, ExpressionAttributeValues: values,
		})
	} else {
		w.Item.Rev++
		_, err = t.client.PutItem(ctx, &dynamodb.PutItemInput{
			TableName: &t.name, Item: fromItem(w.Item),
			ConditionExpression: &condition, ExpressionAttributeValues: values,
		})
	}
	return conditional(err, outage.ErrChanged)
}

// Mutes returns all mutes, also those that are over: DynamoDB deletes them late.
func (t *Table) Mutes(ctx context.Context) ([]outage.Mute, error) {
	var mutes []outage.Mute
	err := t.query(ctx, mutePart, "", nil, nil, func(a attributes) error {
		r := reader{from: a}
		mutes = append(mutes, outage.Mute{Devices: r.text(SortKey), Until: r.moment("until"), Reason: r.text("reason")})
		return r.err
	})
	return mutes, err
}

// Mute stores a mute, in the place of one for the same devices.
func (t *Table) Mute(ctx context.Context, m outage.Mute) error {
	a := key(mutePart, m.Devices)
	a["until"], a[Expires] = moment(m.Until), integer(m.Until.Unix())
	if m.Reason != "" {
		a["reason"] = text(m.Reason)
	}
	_, err := t.client.PutItem(ctx, &dynamodb.PutItemInput{TableName: &t.name, Item: a})
	return err
}

// Unmute deletes a mute. It reports whether there was one.
func (t *Table) Unmute(ctx context.Context, devices string) (found bool, err error) {
	_, err = t.client.DeleteItem(ctx, &dynamodb.DeleteItemInput{
		TableName: &t.name, Key: key(mutePart, devices), ConditionExpression: aws.String("attribute_exists(pk)"),
	})
	if err = conditional(err, outage.ErrChanged); errors.Is(err, outage.ErrChanged) {
		return false, nil
	}
	return err == nil, err
}
