package fleet

import "time"

// DecisionFilter selects recorded decisions. Empty fields select everything.
type DecisionFilter struct {
	Kind   string
	Device DeviceID
	Answer string
	Policy string         // SHA-256, hexadecimal
	Since  time.Time      // only decisions at this time or later
	Until  time.Time      // only decisions before this time
	Before DecisionCursor // only decisions that come after this one, newest first
	Limit  int            // at most this many, newest first; 0: all
}

// DecisionCursor is a place in the decision log: that of the last decision of a
// page. The next page begins behind it, whatever is recorded meanwhile.
type DecisionCursor struct {
	At time.Time
	ID string // empty: before the newest
}

// Ruling is one answer of a kind that is given too often to be recorded one by
// one: may a device have access, may an operator do something. Equal ones are
// counted in one Decision.
type Ruling struct {
	Kind     string // access, operator
	Device   DeviceID
	Operator string // who asked, of the kind operator
	Role     string // likewise
	Action   string
	Resource string
	Allow    bool
	Code     string // stable, of a denial
	At       time.Time
	Policy   string // SHA-256, hexadecimal; empty where no policy was asked
	Input    string // likewise; the digest of what policy was given
	Evidence string // likewise; behind the device's posture
}
