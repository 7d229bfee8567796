package fleet

import (
	"crypto/rand"
	"encoding/hex"
	"time"
)

// Event is one thing that somebody or something did, for the audit trail.
type Event struct {
	ID      string
	At      time.Time
	Actor   string // operator name, device:<id>, policy, or system
	Action  string // dotted: device.quarantine
	Subject string // device id, rollout:<id>, or another object's id
	Detail  string
}

// NewEvent is an Event with a new id.
func NewEvent(at time.Time, actor, action, subject, detail string) Event {
	return Event{ID: NewID(), At: at, Actor: actor, Action: action, Subject: subject, Detail: detail}
}

// NewID is a random identifier of 128 bits in hexadecimal.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// Subject is the name of a rollout in alerts and events.
func (r Rollout) Subject() string { return "rollout:" + r.ID }
