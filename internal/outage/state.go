package outage

import "time"

// A State is how far an outage has got. The package comment has the diagram.
type State string

// States of an item. A device without an item has no outage.
const (
	Waiting State = "waiting" // a will came; nobody was told
	Saying  State = "saying"  // a mail about the loss is being published
	Told    State = "told"    // people know about the loss
	Closing State = "closing" // a mail about the recovery is being published
)

// An Item is the outage of one device, as the table keeps it.
type Item struct {
	Device string
	State  State
	// Since is when the connection ended: at first the will's time, then what
	// GetConnection says.
	Since time.Time
	// Reason is GetConnection's disconnectReason, empty while it is unknown.
	Reason string
	// Due is when to look at the connection.
	Due time.Time
	// First and Losses count the wills within SharedWindow.
	First  time.Time
	Losses int
	// Shared marks that people know about the shared client ID.
	Shared bool
	// Unchecked marks a loss that was told although GetConnection did not answer.
	Unchecked bool
	// Rev counts the writes. The table refuses a write of another revision.
	Rev int64
}

// A Connection is what GetConnection answers about a client.
type Connection int

// Answers about a client.
const (
	// Unasked: the time of the sweep was over.
	Unasked Connection = iota
	// Connected since Answer.Since.
	Connected
	// Disconnected since Answer.Since, with Answer.Reason.
	Disconnected
	// NotFound: no connection of this name within the last half hour.
	NotFound
	// Throttled: too many questions. The next sweep asks again.
	Throttled
	// Unavailable: denied or broken.
	Unavailable
)

// An Answer is what is known about one client's connection.
type Answer struct {
	Connection Connection
	Since      time.Time
	Reason     string
}

// LeftProperly is the reason after a DISCONNECT packet (developer guide, "Lifecycle events").
const LeftProperly = "CLIENT_INITIATED_DISCONNECT"

// NoConnection is the reason of a recovery that turned out to be no loss.
const NoConnection = "NO_SUCH_CONNECTION"

// Times that follow from how long AWS IoT Core remembers a connection: for 30
// minutes after its end (iot-data API reference, GetConnection).
const (
	// remembered is less than that by what clocks and sweeps may be late.
	remembered = 25 * time.Minute
	// MaxLook is the longest time between two looks at a device.
	MaxLook = 15 * time.Minute
	minLook = time.Minute
)

// patience is how long a throttled question is asked again before people are told
// that the loss could not be checked.
const patience = 10 * time.Minute

// Shared client IDs: this many losses within this time.
const (
	SharedLosses = 10
	SharedWindow = 10 * time.Minute
)

// A Verdict is what a look at a device leads to.
type Verdict string

// Verdicts. Say, Back and Share go into a mail.
const (
	Keep  Verdict = "keep"  // look again later
	Drop  Verdict = "drop"  // nobody needs to know
	Say   Verdict = "say"   // tell people about the loss
	Back  Verdict = "back"  // tell people about the recovery
	Share Verdict = "share" // tell people about a shared client ID
)

// judge decides about an item after a look, and returns the item as it then is.
// Its last result is the reason in words, for the log.
func judge(i Item, a Answer, now time.Time, grace time.Duration) (Item, Verdict, string) {
	switch a.Connection {
	case Connected:
		return judgeConnected(i, a.Since.Add(grace), now)
	case Disconnected:
		if a.Reason == LeftProperly {
			return i, recovered(i), "disconnected properly"
		}
		return judgeDisconnected(i, a, now, grace)
	case NotFound:
		young := now.Sub(i.Since) < remembered
		if young && (i.State == Waiting || i.Unchecked) {
			return i, recovered(i), "no such connection: the will names a client that was not there"
		}
		return offline(i, now, "not connected within the last half hour")
	case Throttled:
		if i.State == Waiting && now.Sub(i.Due) >= patience {
			i.Unchecked = true
			return i, Say, "not checked: too many questions for too long"
		}
		return i, Keep, "not asked: too many questions"
	case Unavailable:
		if i.State == Waiting {
			i.Unchecked = true
			return i, Say, "not checked: GetConnection does not answer"
		}
		i.Due = now.Add(minLook)
		return i, Keep, "GetConnection does not answer"
	}
	return i, Keep, "not asked: the time of the sweep was over"
}

func judgeConnected(i Item, settled, now time.Time) (Item, Verdict, string) {
	if !settled.After(now) {
		return i, recovered(i), "connected for the grace time"
	}
	if i.State == Waiting && i.Losses < 2 && !i.Shared {
		return i, Drop, "connected again"
	}
	return unsettled(i, settled, "connected, but not yet for the grace time")
}

// unsettled waits until a connection, or its absence, has lasted for the grace time.
func unsettled(i Item, until time.Time, why string) (Item, Verdict, string) {
	i.Due = until
	if i.State == Waiting && i.Losses >= SharedLosses && !i.Shared {
		return i, Share, "lost many times, and back each time"
	}
	return i, Keep, why
}

func judgeDisconnected(i Item, a Answer, now time.Time, grace time.Duration) (Item, Verdict, string) {
	i.Reason = a.Reason
	if i.State == Told {
		return offline(i, now, "")
	}
	i.Since = a.Since
	if over := a.Since.Add(grace); over.After(now) {
		return unsettled(i, over, "offline, but not yet for the grace time")
	}
	return offline(i, now, "offline for the grace time")
}

func offline(i Item, now time.Time, why string) (Item, Verdict, string) {
	if i.State == Told {
		i.Due = nextLook(i, now)
		return i, Keep, "still offline"
	}
	return i, Say, why
}

// recovered says whether people must hear of it: only if they know about the loss,
// or may know.
func recovered(i Item) Verdict {
	if i.State == Waiting {
		return Drop
	}
	return Back
}

// nextLook is sooner for a young outage: most are short.
func nextLook(i Item, now time.Time) time.Time {
	return now.Add(min(max(now.Sub(i.Since)/8, minLook), MaxLook))
}

// A Bucket holds tokens for mails. It gains one in each interval.
type Bucket struct {
	Tokens int
	// Gained is when the last token was gained.
	Gained time.Time
}

// Limits of mails: three at once, one more every five minutes.
const (
	MaxTokens  = 3
	TokenEvery = 5 * time.Minute
)

// fill adds the tokens gained until now. A bucket that was never used is full.
func (b Bucket) fill(now time.Time) Bucket {
	if b.Gained.IsZero() {
		return Bucket{MaxTokens, now}
	}
	for b.Tokens < MaxTokens && !b.Gained.Add(TokenEvery).After(now) {
		b.Tokens++
		b.Gained = b.Gained.Add(TokenEvery)
	}
	if b.Tokens == MaxTokens {
		b.Gained = now
	}
	return b
}
