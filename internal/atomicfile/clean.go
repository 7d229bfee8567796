package atomicfile

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// mark is in the names of temporary files: ".NAME.troth-DIGITS", beside the file
// NAME that they are to become.
const mark = ".troth-"

// Bounds of one sweep.
const (
	maxLooked  = 16384 // names in the directory
	maxRemoved = 256   // leftovers
)

// Clean removes from a directory the temporary files of writers that were killed,
// at most a few hundred of them: the rest at the next call. It knows its own by name,
// takes nothing but regular files, and leaves those whose writer lives, in any
// process: a writer holds a lock that ends with it. It does not descend into other
// directories. What cannot be removed stays; that is no reason not to start.
func Clean(dir string) { sweep(dir, "") }

// sweep is Clean for the temporary files of one file, or of all.
func sweep(dir, base string) {
	d, err := os.Open(dir)
	if err != nil {
		return
	}
	defer func() { _ = d.Close() }() // only read
	removed := 0
	for looked := 0; looked < maxLooked && removed < maxRemoved; {
		names, err := d.Readdirnames(512)
		for _, name := range names {
			if temporary(name, base) && removed < maxRemoved && abandoned(filepath.Join(dir, name)) {
				removed++
			}
		}
		looked += len(names)
		if err != nil {
			return
		}
	}
}

// temporary says whether the name is one that create gives for base, or for any
// file where base is empty.
func temporary(name, base string) bool {
	i := strings.LastIndex(name, mark)
	if i < 2 || name[0] != '.' || base != "" && name[1:i] != base {
		return false
	}
	digits := name[i+len(mark):]
	return digits != "" && strings.Trim(digits, "0123456789") == ""
}

// abandoned removes the file if it is one and nobody has it locked.
func abandoned(path string) bool {
	// Neither a link nor a pipe of that name is followed or waited for.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // only locked
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return false
	}
	return linked(f) && os.Remove(path) == nil
}
