package install

import "os"

// Holder is an Installer that has the image of the release that runs, byte for byte
// as it was published, so that a new one need not be fetched whole.
type Holder interface {
	// OpenRunning opens that image to be read, and says its length in bytes. What
	// is read is trusted with nothing.
	OpenRunning() (image *os.File, length int64, err error)
}

// Slots holds what runs. RAUC, SWUpdate and an integrator's program do not: what
// they write into a slot is made from the image, and is not the image.
var _ Holder = Slots{}
