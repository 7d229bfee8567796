package slot

import (
	"errors"
	"fmt"
	"os"
)

// OpenRunning opens the image of the slot that booted last to be read, and says how
// long it is. It need not be what was installed: nothing is verified here, and a
// file system on it that is mounted for writing changes under the reader.
func (p Pair) OpenRunning() (image *os.File, length int64, err error) {
	s, err := p.load()
	if err != nil {
		return nil, 0, err
	}
	f, err := os.Open(p.image(s.Running))
	if err != nil {
		return nil, 0, fmt.Errorf("open slot %s: %w", s.Running, err)
	}
	length = s.Slots[s.Running].Length
	if length == 0 && !p.device {
		info, err := f.Stat()
		if err != nil {
			return nil, 0, errors.Join(fmt.Errorf("read slot %s: %w", s.Running, err), f.Close())
		}
		length = info.Size()
	}
	if length == 0 {
		return nil, 0, errors.Join(fmt.Errorf("read slot %s: how long its image is was not kept", s.Running), f.Close())
	}
	return f, length, nil
}
