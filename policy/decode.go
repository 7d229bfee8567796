package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// object is a Rego object on its way into a Go type. It is taken apart key by
// key: each key is exactly as spelled, of exactly its type, and none is left
// over. (encoding/json would take "Allow" for "allow" and a missing key for
// false.)
type object map[string]any

// reader takes an object apart and remembers the first thing wrong with it.
type reader struct {
	where string
	from  object
	taken int
	err   error
}

func (o object) read(where string) *reader { return &reader{where: where, from: o} }

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s: %s", ErrMalformed, r.where, fmt.Sprintf(format, args...))
	}
}

func (r *reader) take(key string) (any, bool) {
	v, ok := r.from[key]
	if ok {
		r.taken++
	}
	return v, ok
}

func take[T any](r *reader, key string) T {
	v, ok := r.take(key)
	if !ok {
		r.fail("%s is missing", key)
	}
	t, ok := v.(T)
	if !ok {
		r.fail("%s is a %T", key, v)
	}
	return t
}

// text takes a string that is not empty.
func (r *reader) text(key string) string {
	s := take[string](r, key)
	if s == "" {
		r.fail("%s is empty", key)
	}
	return s
}

// word takes a string that is one of those given.
func (r *reader) word(key string, of ...string) string {
	s := take[string](r, key)
	if !slices.Contains(of, s) {
		r.fail("%s is %q, which means nothing", key, s)
	}
	return s
}

// instant takes an RFC 3339 time that may be missing.
func (r *reader) instant(key string) *time.Time {
	v, ok := r.take(key)
	if !ok {
		return nil
	}
	s, _ := v.(string)
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		r.fail("%s is %v, not a time", key, v)
		return nil
	}
	return inUTC(&t)
}

// flag takes a boolean that may be missing (false).
func (r *reader) flag(key string) bool {
	if _, ok := r.from[key]; !ok {
		return false
	}
	return take[bool](r, key)
}

// seconds takes a duration in whole seconds, more than zero, that may be missing
// (zero).
func (r *reader) seconds(key string) int64 {
	v, ok := r.take(key)
	if !ok {
		return 0
	}
	number, _ := v.(json.Number)
	n, err := number.Int64()
	if err != nil || n <= 0 {
		r.fail("%s is %v, not a number of seconds", key, v)
		return 0
	}
	return n
}

// objects takes an array (or a set) of objects.
func (r *reader) objects(key string) []object {
	values := take[[]any](r, key)
	list := make([]object, 0, len(values))
	for _, v := range values {
		o, ok := v.(map[string]any)
		if !ok {
			r.fail("%s holds a %T", key, v)
			return nil
		}
		list = append(list, o)
	}
	return list
}

// done is the first thing that was wrong, or that something is left over.
func (r *reader) done() error {
	if r.err == nil && r.taken != len(r.from) {
		r.fail("it has fields that mean nothing here")
	}
	return r.err
}
