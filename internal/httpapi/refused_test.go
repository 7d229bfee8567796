package httpapi_test

import "troth/internal/fleet"

// Refused: the fixture's catalogue takes in whatever it has.
func (c *catalog) Refused() []fleet.RefusedRelease { return nil }
