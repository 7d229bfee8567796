package ima

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
)

// AllowList is a set of file digests of one algorithm: what a release may run.
// It is built once, never changes, and may be shared by any number of devices
// and goroutines; it holds each digest once, and 256 KiB of index.
type AllowList struct {
	algorithm string
	size      int
	table     []byte            // digests, ascending, without gaps
	first     [1<<16 + 1]uint32 // by a digest's first two bytes, its place in table
}

// MaxAllowed bounds the digests of an AllowList.
const MaxAllowed = 1 << 26

// NewAllowList sorts digests of an algorithm ("sha256", …) that stand one after
// another in packed, in any order, repeated or not. It copies packed.
func NewAllowList(algorithm string, packed []byte) (*AllowList, error) {
	size := digestSize(algorithm)
	switch {
	case size == 0:
		return nil, fmt.Errorf("build allow-list: unknown algorithm %.32q", algorithm)
	case len(packed)%size != 0:
		return nil, fmt.Errorf("build allow-list: %d bytes are no whole number of %s digests", len(packed), algorithm)
	case len(packed)/size > MaxAllowed:
		return nil, errors.New("build allow-list: too many digests")
	}
	l := &AllowList{algorithm: algorithm, size: size, table: bytes.Clone(packed)}
	sort.Sort(l.sorter())
	l.compact()
	l.index()
	return l, nil
}

// Len counts the digests.
func (l *AllowList) Len() int { return len(l.table) / l.size }

// Contains says whether the list has a digest of an algorithm. It allocates
// nothing. Other algorithms' digests are not contained: they would need another
// list.
func (l *AllowList) Contains(algorithm string, digest []byte) bool {
	if algorithm != l.algorithm || len(digest) != l.size {
		return false
	}
	bucket := binary.BigEndian.Uint16(digest)
	low, high := int(l.first[bucket]), int(l.first[int(bucket)+1])
	for low < high {
		middle := (low + high) / 2
		switch bytes.Compare(l.at(middle), digest) {
		case 0:
			return true
		case -1:
			low = middle + 1
		default:
			high = middle
		}
	}
	return false
}

// Allows says whether an entry is one that the list is of: no violation, and of
// a digest that it contains.
func (l *AllowList) Allows(e *Entry) bool {
	return !e.Violation && l.Contains(e.Algorithm, e.Digest)
}

func (l *AllowList) at(i int) []byte { return l.table[i*l.size : (i+1)*l.size] }

// compact drops repeated digests.
func (l *AllowList) compact() {
	kept := 0
	for i := range l.Len() {
		if kept == 0 || !bytes.Equal(l.at(i), l.at(kept-1)) {
			copy(l.at(kept), l.at(i))
			kept++
		}
	}
	l.table = l.table[:kept*l.size]
}

func (l *AllowList) index() {
	bucket := 0
	for i := range l.Len() {
		for ; bucket <= int(binary.BigEndian.Uint16(l.at(i))); bucket++ {
			l.first[bucket] = uint32(i)
		}
	}
	for ; bucket < len(l.first); bucket++ {
		l.first[bucket] = uint32(l.Len())
	}
}

type digestSorter struct {
	*AllowList
	spare []byte
}

func (l *AllowList) sorter() digestSorter { return digestSorter{l, make([]byte, l.size)} }

func (s digestSorter) Less(i, j int) bool { return bytes.Compare(s.at(i), s.at(j)) < 0 }

func (s digestSorter) Swap(i, j int) {
	copy(s.spare, s.at(i))
	copy(s.at(i), s.at(j))
	copy(s.at(j), s.spare)
}
