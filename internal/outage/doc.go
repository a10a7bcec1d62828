// Package outage decides which lost connections a person is told about. It turns
// Will Messages into few mails that are true when they are read.
//
// A Will Message only hints that a device is lost: it may be late, doubled or
// forged, and most devices are back within seconds. So a Sweeper keeps an item for
// each device that a will names, waits for the grace time, and then asks AWS IoT
// Core about the connection (GetConnection). Only that answer counts.
//
//	                   will
//	                    │
//	                    v     connected, left properly,
//	                 waiting ─────────────────────────────> gone
//	                    │     or no such connection          ^
//	offline for the     │                                    │ marked after
//	grace time          v     back                           │ the mail
//	        ┌───────> saying ──────────────┐                 │
//	        │           │ marked after     v                 │
//	offline │           v the mail      closing ─────────────┘
//	again   │          told ────────────>  │
//	        │               back           │
//	        └──────────────────────────────┘
//
// Back means connected without a break for the grace time, or disconnected
// properly (CLIENT_INITIATED_DISCONNECT) after the loss. Reasons for what is not obvious:
//
//   - Saying and closing are stored before the mail is published. A sweep that finds
//     one of them knows that another sweep died, and that nobody knows what was said.
//     It says again what is true now.
//   - While there is an item, another will of the device is only acknowledged: the
//     item's next look sees whatever happened.
//   - One sweep at a time: the table's lease outlasts the longest run. Two that cross
//     would take each other for dead.
//   - All changes of a sweep go into one mail, and mails take tokens from a Bucket. Without a
//     token, changes wait for the next one. Nothing is dropped.
//   - Ten losses within ten minutes, and never offline for the grace time: two devices
//     probably share a client ID. One mail says so.
//
// The package knows neither AWS nor the time. Its caller hands in the clock, the
// queue of events, the table, a way to ask about connections, and a way to tell people.
package outage
