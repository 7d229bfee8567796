package client

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// part is which bytes of a file are asked for. A length of 0 reaches to the file's
// end; the zero part is the whole file, which is asked for without a range.
type part struct{ first, length int64 }

// errRange: the server cannot give the range asked for, or gave another.
var errRange = errors.New("no such range")

// header is as in RFC 9110, section 14.2.
func (p part) header() string {
	if p.length == 0 {
		return fmt.Sprintf("bytes=%d-", p.first)
	}
	return fmt.Sprintf("bytes=%d-%d", p.first, p.first+p.length-1)
}

// met says whether an answer is of the part that was asked for.
func (p part) met(got part) bool {
	return p != part{} && got.first == p.first && (p.length == 0 || got.length == p.length)
}

// parseContentRange reads "bytes 5-9/10" (RFC 9110, section 14.4); a total of
// "*" gives -1.
func parseContentRange(s string) (got part, total int64, err error) {
	bad := fmt.Errorf("content range %q", s)
	rest, ok := strings.CutPrefix(s, "bytes ")
	if !ok {
		return part{}, 0, bad
	}
	span, size, ok := strings.Cut(rest, "/")
	from, to, ok2 := strings.Cut(span, "-")
	if !ok || !ok2 {
		return part{}, 0, bad
	}
	first, err1 := strconv.ParseInt(from, 10, 64)
	last, err2 := strconv.ParseInt(to, 10, 64)
	if err1 != nil || err2 != nil || first < 0 || last < first {
		return part{}, 0, bad
	}
	if size == "*" {
		return part{first, last - first + 1}, -1, nil
	}
	total, err = strconv.ParseInt(size, 10, 64)
	if err != nil || total <= last {
		return part{}, 0, bad
	}
	return part{first, last - first + 1}, total, nil
}
