package cloud

import "time"

// How often AWS is asked.
const (
	// every is how often rule, subscriptions and the log of failed actions are read,
	// and whether the stack has changed.
	every = 5 * time.Second
	// countEvery is after how many rounds SNS's counters are read, which are kept by
	// the minute.
	countEvery = 12
	// readEvery is how often all of the stack is read.
	readEvery = time.Minute
	// roundTime bounds the requests of one round, which nothing else does.
	roundTime = 30 * time.Second
)

// What AWS documents no time for, or none that is sure: how late something may come.
const (
	// countLate is how long a minute's count of SNS may still grow.
	countLate = 15 * time.Minute
	// lookBack is how long before the page began failed actions are shown.
	lookBack = time.Hour
	// late is how long after its time an event may still appear in the log.
	late = time.Minute
	// unordered is the time after which a lifecycle event is a later one whatever its
	// version says: the version of a client is reset when it was away for an hour.
	unordered = 20 * time.Minute
	// connectedWithin is how long after a connection its connected message may come.
	connectedWithin = 10 * time.Second
	// claimedWithin is how long it may come before.
	claimedWithin = time.Second
	// overtakes is by how much a copy may come before its will, on another connection.
	overtakes = 300 * time.Millisecond
	// whileAway is when a client that has left a will is looked for: AWS says itself
	// that a device may be back by the time that its will arrives (developer guide,
	// "Lifecycle events", handling client disconnections).
	whileAway = 2 * time.Second
)
