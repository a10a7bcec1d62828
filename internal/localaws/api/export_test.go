package api

import "time"

// SetClock makes time pass for signatures and sessions.
func (k *Keys) SetClock(now func() time.Time) { k.now = now }

// DecodeCBOR reads a body of RPC v2.
var DecodeCBOR = decodeCBOR
