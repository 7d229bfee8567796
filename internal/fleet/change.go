package fleet

// Change is everything that happens at once. A store writes the whole of it in
// one transaction, or nothing. Rows that carry a Revision are compared and
// swapped: if one was changed since it was read, the Change fails with
// ErrConflict. A Revision of 0 means that the row must not exist yet.
type Change struct {
	Answers       string // id of the Enrollment that this answers: it is forgotten, or the Change fails
	Devices       []Device
	Posture       *Posture      // replaces the device's latest
	Progress      *Progress     // likewise
	Decisions     []Decision    // appended
	Counted       []Decision    // appended, or only the document of those replaced that have the id and the kind
	Blobs         []Blob        // put if absent
	Certificates  []Certificate // inserted, or moved forward from the state that Transition allows
	Revocations   []Certificate // of these, only how far the CA knows of their end (Authority) is written
	RotateKeys    DeviceID      // has the device replace the key of its certificates
	FirstUse      *Certificate  // it was used, and succeeds the others from now on: goes with RevokeOthers
	RevokeOthers  *Certificate  // revokes every other certificate of this one's device that opens something
	Restrict      DeviceID      // restricts every issued certificate of the device, as its quarantine does
	RevokeAll     DeviceID      // revokes every certificate of the device that opens something
	Alerts        []Alert
	Rollout       *Rollout
	Members       []Member // upserted
	Manufacturers []Manufacturer
	Tokens        []Token // upserted by ID
	Bundles       []Bundle
	Replica       *Replica       // upserted
	ShadowCounts  []ShadowCount  // upserted
	ShadowDevices []ShadowDevice // upserted
	Import        *Import        // of known vulnerabilities
	Events        []Event        // appended
}

// DeviceFilter selects devices. Empty fields select everything.
type DeviceFilter struct {
	Model     string
	Lifecycle Lifecycle
	Name      string   // exact
	IDPrefix  string   // hexadecimal
	Scope     Scope    // devices that have all of these labels
	After     DeviceID // cursor: only ids greater than this
	Limit     int      // at most this many, in the order of ids; 0: all
}

// AlertFilter selects alerts. Empty fields select everything.
type AlertFilter struct {
	Subject string
	Key     string
	Open    bool // only those that are not resolved
	Limit   int  // at most this many, newest first; 0: all
}

// RolloutFilter selects rollouts. Empty fields select everything.
type RolloutFilter struct {
	Model   string
	Version string
	States  []RolloutState
}
