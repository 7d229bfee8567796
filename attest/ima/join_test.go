package ima_test

import (
	"bytes"
	"crypto"
	"reflect"
	"strings"
	"testing"

	"troth/attest/ima"
)

// forms are all in which a kernel gives a list.
func forms() map[ima.Form]func(measurement) []byte {
	return map[ima.Form]func(measurement) []byte{
		ima.FormASCII:        func(m measurement) []byte { return m.ascii(crypto.SHA1) },
		ima.FormBinarySHA1:   func(m measurement) []byte { return m.binary(crypto.SHA1) },
		ima.FormBinarySHA256: func(m measurement) []byte { return m.binary(crypto.SHA256) },
		ima.FormBinarySHA384: func(m measurement) []byte { return m.binary(crypto.SHA384) },
		ima.FormBinarySHA512: func(m measurement) []byte { return m.binary(crypto.SHA512) },
	}
}

// A list that is cut where an entry begins is two lists of its form, and joined
// again the same.
func TestListsJoin(t *testing.T) {
	entries := sample()
	entries[1].name = "/tmp/a\n10 " + strings.Repeat("0", 40) + "_ima-ng"
	for form, write := range forms() {
		t.Run(string(form), func(t *testing.T) {
			raw := list(write, entries...)
			whole, err := ima.Parse(raw)
			if err != nil || whole.Form != form {
				t.Fatalf("form %s, %v", whole.Form, err)
			}
			for n := range len(entries) + 1 {
				at, err := ima.Offset(raw, n)
				if err != nil || at != len(list(write, entries[:n]...)) || at != whole.Size(n) {
					t.Fatalf("entry %d at %d, %v", n, at, err)
				}
				joined(t, whole, raw[:at], raw[at:])
			}
			for _, n := range []int{len(entries) + 1, 1 << 30} {
				if at, err := ima.Offset(raw, n); err == nil {
					t.Errorf("entry %d at %d", n, at)
				}
			}
		})
	}
	if at, err := ima.Offset(nil, 0); at != 0 || err != nil {
		t.Errorf("of an empty list: %d, %v", at, err)
	}
}

func joined(t *testing.T, whole *ima.List, parts ...[]byte) {
	t.Helper()
	var entries []ima.Entry
	for _, part := range parts {
		l, err := ima.Parse(part)
		if err != nil || l.Form != whole.Form && len(part) > 0 {
			t.Fatalf("form %s, %v", l.Form, err)
		}
		entries = append(entries, l.Entries...)
	}
	if len(entries) != len(whole.Entries) {
		t.Fatalf("%d entries, not %d", len(entries), len(whole.Entries))
	}
	for i, e := range entries {
		w := whole.Entries[i]
		if e.Name != w.Name || e.Template != w.Template || !bytes.Equal(e.Digest, w.Digest) || !reflect.DeepEqual(e.Inode, w.Inode) {
			t.Errorf("entry %d is %+v, not %+v", i, e, w)
		}
	}
}

// TestAttack_L5_ListThatCannotBeJoined: what begins with no entry's beginning
// would end the entry before it elsewhere.
func TestAttack_L5_ListThatCannotBeJoined(t *testing.T) {
	line := sample()[0].ascii(crypto.SHA1)
	for name, raw := range map[string][]byte{
		"a space before":   append([]byte(" "), line...),
		"two spaces":       append([]byte("  "), line...),
		"a zero before":    append([]byte("0"), line...),
		"two-column PCR":   append([]byte("010"), line[2:]...),
		"the PCR missing":  line[2:],
		"the end of a log": line[len(line)-20:],
	} {
		if l, err := ima.Parse(raw); err == nil {
			t.Errorf("%s: %+v", name, l.Entries)
		}
	}
}

// FuzzOffset: what is cut between entries reads as the same entries.
func FuzzOffset(f *testing.F) {
	for _, write := range forms() {
		f.Add(list(write, sample()...), 2)
	}
	f.Fuzz(func(t *testing.T, raw []byte, n int) {
		whole, err := ima.Parse(raw)
		at, offsetErr := ima.Offset(raw, n)
		if err != nil || offsetErr != nil {
			return
		}
		if n < 0 {
			n = 0
		}
		head, errHead := ima.Parse(raw[:at])
		tail, errTail := ima.Parse(raw[at:])
		if at != whole.Size(n) || errHead != nil || len(head.Entries) != n {
			t.Fatalf("%d bytes of %d entries: %v", at, n, errHead)
		}
		if at > 0 && at < len(raw) && errTail == nil && tail.Form == whole.Form && len(tail.Entries) != len(whole.Entries)-n {
			t.Errorf("%d and %d entries, not %d", n, len(tail.Entries), len(whole.Entries))
		}
	})
}
