package store

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"troth/internal/fleet"
)

// micros is a time as a column keeps it.
func micros(t time.Time) int64 { return t.UnixMicro() }

// zeroTime is the zero time as a column keeps it.
var zeroTime = micros(time.Time{})

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// bits is an unsigned number as a signed column keeps it: by its bit pattern.
func bits(n uint64) int64 {
	return int64(n) //nolint:gosec // toBits reads it back
}

// asJSON is an argument that is kept as JSON text.
type asJSON struct{ value any }

// arguments prepares what is bound to a statement: JSON is encoded, and text is
// refused that one of the databases would refuse, so that both behave alike.
func arguments(args []any) error {
	for i, a := range args {
		switch v := a.(type) {
		case asJSON:
			text, err := json.Marshal(v.value)
			if err != nil {
				return fleet.Because(err, fleet.Invalid, "invalid_value", "a value cannot be kept as JSON")
			}
			args[i] = string(text)
		case string:
			if !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
				return fleet.Errorf(fleet.Invalid, "invalid_text", "text must be UTF-8 without NUL")
			}
		}
	}
	return nil
}

// The types below scan a column into a field of a domain type.

type toTime struct{ to *time.Time }

func (d toTime) Scan(src any) error {
	n, ok := src.(int64)
	if !ok {
		return fmt.Errorf("scan time: column holds %T", src)
	}
	*d.to = time.UnixMicro(n).UTC()
	return nil
}

type toBits struct{ to *uint64 }

func (d toBits) Scan(src any) error {
	n, ok := src.(int64)
	if !ok {
		return fmt.Errorf("scan number: column holds %T", src)
	}
	*d.to = uint64(n) //nolint:gosec // the bit pattern that bits wrote
	return nil
}

type toBytes struct{ to *[]byte }

func (d toBytes) Scan(src any) error {
	switch b := src.(type) {
	case nil:
		*d.to = nil
	case []byte:
		*d.to = append([]byte(nil), b...)
	default:
		return fmt.Errorf("scan bytes: column holds %T", src)
	}
	return nil
}

type toRaw struct{ to *json.RawMessage }

func (d toRaw) Scan(src any) error {
	text, err := columnText(src)
	if err != nil {
		return err
	}
	*d.to = nil
	if text != "" {
		*d.to = json.RawMessage(text)
	}
	return nil
}

type toJSON struct{ to any }

func (d toJSON) Scan(src any) error {
	text, err := columnText(src)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), d.to)
}

func columnText(src any) (string, error) {
	switch t := src.(type) {
	case string:
		return t, nil
	case []byte:
		return string(t), nil
	default:
		return "", fmt.Errorf("scan text: column holds %T", src)
	}
}
