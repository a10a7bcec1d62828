package api

import "time"

// SetClock makes time pass for signatures and sessions.
func (k *Keys) SetClock(now func() time.Time) { k.now = now }
