package eventlog

import (
	"encoding/binary"
	"errors"
	"math"
)

var errShort = errors.New("truncated")

// reader walks little-endian bytes. Its first error sticks, and every length is
// checked against what remains before anything is taken.
type reader struct {
	b   []byte
	err error
}

func (r *reader) len() int { return len(r.b) }

func (r *reader) take(n int) []byte {
	if r.err != nil {
		return nil
	}
	if n < 0 || n > len(r.b) {
		r.err = errShort
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// end reports an error unless all bytes were read.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		return errors.New("trailing bytes")
	}
	return r.err
}

// int64ToInt maps a length that no input can have to one that take refuses,
// also where int has 32 bits.
func int64ToInt(n uint32) int {
	if uint64(n) > math.MaxInt32 {
		return -1
	}
	return int(n)
}
