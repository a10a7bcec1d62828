package sqs

import (
	"context"
	"encoding/hex"
	"slices"
	"time"

	"lastwill/internal/localaws/awsapi"
)

// maxReceive is how many messages one request gets at most (API reference,
// ReceiveMessage, MaxNumberOfMessages).
const maxReceive = 10

const receiptBytes = 16

// A message in a queue.
type message struct {
	ID, Body string
	receipt  string // the last one; the only one that deletes
	sent     time.Time
	visible  time.Time // not before
}

// A Message as receivers see it.
type Message struct {
	ID, Body, Receipt string
}

// ReceiveInput asks for messages.
type ReceiveInput struct {
	QueueURL string
	// Max is how many messages are wanted at most. Default: 1.
	Max *int
	// Wait is for how many seconds to wait for the first. Default: the queue's.
	Wait *int
	// Visibility is for how many seconds others do not get the messages. Default:
	// the queue's.
	Visibility *int
}

// Receive returns messages, or none when none has come in time, when ctx ends or
// when the service stops.
func (s *Service) Receive(ctx context.Context, in ReceiveInput) ([]Message, error) {
	if in.Max == nil {
		in.Max = new(1)
	}
	if *in.Max < 1 || *in.Max > maxReceive {
		return nil, awsapi.Errorf("InvalidParameterValue", "Value %d for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and %d, if provided.", *in.Max, maxReceive)
	}
	for name, value := range map[string]*int{receiveWait: in.Wait, visibility: in.Visibility} {
		if limits := settings[name]; value != nil && (*value < limits.least || *value > limits.most) {
			return nil, awsapi.Errorf("InvalidParameterValue", "Value %d for %s is invalid. Reason: Must be between %d and %d", *value, name, limits.least, limits.most)
		}
	}
	var end time.Time
	for {
		found, next, changed, err := s.take(in, &end)
		wait := next.Sub(s.now())
		if err != nil || len(found) > 0 || wait <= 0 {
			return found, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			end = s.now() // one last look
		case <-s.stopped:
			end = s.now()
		}
		timer.Stop()
	}
}

// take takes what is there. It returns when to look again, at the latest, and
// what is closed when there may be more. It sets the end of the waiting at the
// first call.
func (s *Service) take(in ReceiveInput, end *time.Time) (found []Message, next time.Time, changed <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(in.QueueURL)
	if err != nil {
		return nil, next, nil, err
	}
	now := s.now()
	if end.IsZero() {
		*end = now.Add(seconds(in.Wait, q.seconds(receiveWait)))
	}
	q.expire(now)
	hidden := now.Add(seconds(in.Visibility, q.seconds(visibility)))
	next = *end
	for _, m := range q.messages {
		switch {
		case len(found) == *in.Max:
		case m.visible.After(now):
			if m.visible.Before(next) {
				next = m.visible
			}
		default:
			m.visible, m.receipt = hidden, awsapi.NewHex(receiptBytes)
			found = append(found, Message{m.ID, m.Body, m.receipt})
		}
	}
	return found, next, q.changed, nil
}

func seconds(given *int, otherwise time.Duration) time.Duration {
	if given == nil {
		return otherwise
	}
	return time.Duration(*given) * time.Second
}

// DeleteMessage deletes the message of a receipt. One that is gone already is no
// error (API reference, DeleteMessage).
func (s *Service) DeleteMessage(queueURL, receipt string) error {
	if b, err := hex.DecodeString(receipt); err != nil || len(b) != receiptBytes {
		return awsapi.Errorf("ReceiptHandleIsInvalid", "The input receipt handle %.150q is not a valid receipt handle.", receipt)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(queueURL)
	if err != nil {
		return err
	}
	q.drop(func(m *message) bool { return m.receipt == receipt })
	return nil
}

// expire drops the messages that are older than the queue keeps them.
func (q *queue) expire(now time.Time) {
	oldest := now.Add(-q.seconds(retention))
	q.drop(func(m *message) bool { return m.sent.Before(oldest) })
}

func (q *queue) drop(which func(*message) bool) {
	q.messages = slices.DeleteFunc(q.messages, func(m *message) bool {
		if which(m) {
			q.bytes -= len(m.Body)
			return true
		}
		return false
	})
}
