package ima_test

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"troth/attest/ima"
)

var le = binary.LittleEndian

func hashed(h crypto.Hash, parts ...[]byte) []byte {
	d := h.New()
	for _, p := range parts {
		d.Write(p)
	}
	return d.Sum(nil)
}

// measurement is one entry, in the parts from which both forms are written.
type measurement struct {
	template  string
	algorithm string
	digest    []byte
	name      string
	signature []byte
	violation bool
	more      []extra // further fields
}

// extra is a field in both forms.
type extra struct {
	data []byte
	text string
}

// data is what the template hash covers.
func (m measurement) data() []byte {
	if m.template == "ima" {
		return append(append(bytes.Clone(m.digest), m.name...), make([]byte, 256-len(m.name))...)
	}
	digest := append([]byte(m.algorithm+":\x00"), m.digest...)
	out := append(le.AppendUint32(nil, uint32(len(digest))), digest...)
	out = append(le.AppendUint32(out, uint32(len(m.name)+1)), m.name...)
	out = append(out, 0)
	if m.signed() {
		out = append(le.AppendUint32(out, uint32(len(m.signature))), m.signature...)
	}
	for _, f := range m.more {
		out = append(le.AppendUint32(out, uint32(len(f.data))), f.data...)
	}
	return out
}

func (m measurement) signed() bool {
	return m.template != "ima" && m.template != "ima-ng" && m.template != "ima-ngv2"
}

func (m measurement) hash(h crypto.Hash) []byte {
	if m.violation {
		return make([]byte, h.Size())
	}
	return hashed(h, m.data())
}

func (m measurement) extension(h crypto.Hash) []byte {
	if m.violation {
		return bytes.Repeat([]byte{0xff}, h.Size())
	}
	return hashed(h, m.data())
}

func (m measurement) ascii(h crypto.Hash) []byte {
	line := fmt.Appendf(nil, "10 %x %s ", m.hash(h), m.template)
	if m.template == "ima" {
		return fmt.Appendf(line, "%x %s\n", m.digest, m.name)
	}
	line = fmt.Appendf(line, "%s:%x %s", m.algorithm, m.digest, m.name)
	if m.signed() {
		line = fmt.Appendf(line, " %x", m.signature)
	}
	for _, f := range m.more {
		line = append(append(line, ' '), f.text...)
	}
	return append(line, '\n')
}

func (m measurement) binary(h crypto.Hash) []byte {
	out := append(le.AppendUint32(nil, 10), m.hash(h)...)
	out = append(le.AppendUint32(out, uint32(len(m.template))), m.template...)
	if m.template == "ima" {
		out = append(out, m.digest...)
		return append(le.AppendUint32(out, uint32(len(m.name))), m.name...)
	}
	return append(le.AppendUint32(out, uint32(len(m.data()))), m.data()...)
}

func digestOf(h crypto.Hash, content string) []byte { return hashed(h, []byte(content)) }

func sample() []measurement {
	return []measurement{
		{template: "ima-ng", algorithm: "sha256", digest: digestOf(crypto.SHA256, "aggregate"), name: "boot_aggregate"},
		{template: "ima-ng", algorithm: "sha256", digest: digestOf(crypto.SHA256, "init"), name: "/usr/bin/init"},
		{template: "ima", algorithm: "sha1", digest: digestOf(crypto.SHA1, "old"), name: "/usr/bin/old"},
		{template: "ima-sig", algorithm: "sha512", digest: digestOf(crypto.SHA512, "signed"), name: "/usr/bin/signed", signature: []byte{3, 2, 4}},
		{template: "ima-sig", algorithm: "sha256", digest: digestOf(crypto.SHA256, "unsigned"), name: "/usr/bin/unsigned"},
		{template: "ima-ng", algorithm: "sha1", digest: make([]byte, 20), name: "/var/log/open", violation: true},
		{template: "ima-buf", algorithm: "sha256", digest: digestOf(crypto.SHA256, "k"), name: "kexec-cmdline", signature: []byte("k")},
		{template: "ima-ngv2", algorithm: "verity:sha256", digest: digestOf(crypto.SHA256, "v"), name: "/usr/bin/verity"},
		{template: "ima-modsig", algorithm: "sha256", digest: digestOf(crypto.SHA256, "m"), name: "/lib/modules/x.ko", more: []extra{
			{append([]byte("sha512:\x00"), digestOf(crypto.SHA512, "m")...), fmt.Sprintf("sha512:%x", digestOf(crypto.SHA512, "m"))}, {[]byte("PKCS #7"), fmt.Sprintf("%x", "PKCS #7")}}},
		{template: "ima-modsig", algorithm: "sha256", digest: digestOf(crypto.SHA256, "n"), name: "/usr/bin/without", more: []extra{{nil, ""}, {nil, ""}}},
		{template: "evm-sig", algorithm: "sha256", digest: digestOf(crypto.SHA256, "e"), name: "/usr/bin/evm with spaces", signature: []byte{5, 2, 4}, more: []extra{
			{[]byte("security.selinux|security.ima\x00"), "security.selinux|security.ima"}, {[]byte{1, 0, 0, 0, 2, 0, 0, 0}, "0100000002000000"}, {[]byte{9, 8, 7}, "090807"},
			{[]byte{0xe8, 3, 0, 0}, "1000"}, {[]byte{0, 0, 0, 0}, "0"}, {[]byte{0xed, 0x81}, "33261"}}},
		{template: "evm-sig", algorithm: "sha256", digest: digestOf(crypto.SHA256, "f"), name: "/usr/bin/bare", more: make([]extra, 6)},
	}
}

func list(form func(measurement) []byte, entries ...measurement) []byte {
	var out []byte
	for _, m := range entries {
		out = append(out, form(m)...)
	}
	return out
}

func TestFormsAgree(t *testing.T) {
	for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384} {
		forms := map[string][]byte{
			"ascii":  list(func(m measurement) []byte { return m.ascii(h) }, sample()...),
			"binary": list(func(m measurement) []byte { return m.binary(h) }, sample()...),
		}
		for name, raw := range forms {
			t.Run(fmt.Sprint(name, h), func(t *testing.T) {
				l, err := ima.Parse(raw)
				if err != nil {
					t.Fatal(err)
				}
				checkEntries(t, l)
				checkReplay(t, l)
			})
		}
	}
}

func checkEntries(t *testing.T, l *ima.List) {
	t.Helper()
	if len(l.Entries) != len(sample()) {
		t.Fatalf("%d entries", len(l.Entries))
	}
	for i, m := range sample() {
		e := l.Entries[i]
		algorithm := m.algorithm[strings.LastIndex(m.algorithm, ":")+1:]
		if e.Template != m.template || e.Name != m.name || e.Algorithm != algorithm || e.Violation != m.violation ||
			!bytes.Equal(e.Digest, m.digest) || !bytes.Equal(e.Signature, m.signature) {
			t.Errorf("entry %d is %+v, want %+v", i, e, m)
		}
	}
}

func checkReplay(t *testing.T, l *ima.List) {
	t.Helper()
	for bank, h := range map[string]crypto.Hash{"sha1": crypto.SHA1, "sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512} {
		value := make([]byte, h.Size())
		for i, m := range sample() {
			value = hashed(h, value, m.extension(h))
			r, err := l.Replay(bank, value)
			want := ima.Replayed{Entries: i + 1, Ahead: len(sample()) - i - 1}
			if i >= 5 {
				want.Violations = 1
			}
			if err != nil || r != want {
				t.Errorf("%s after %d entries: %+v, %v", bank, i+1, r, err)
			}
		}
		if _, err := l.Replay(bank, make([]byte, h.Size())); !errors.Is(err, ima.ErrMismatch) {
			t.Errorf("%s: a PCR that covers nothing: %v", bank, err)
		}
		if _, err := l.Replay(bank, value[1:]); err == nil {
			t.Errorf("%s: a short PCR", bank)
		}
	}
}

func TestReplayFromContinues(t *testing.T) {
	entries := sample()
	form := func(m measurement) []byte { return m.binary(crypto.SHA1) }
	half := hashed(crypto.SHA256, hashed(crypto.SHA256, make([]byte, 32), entries[0].extension(crypto.SHA256)), entries[1].extension(crypto.SHA256))
	end := half
	for _, m := range entries[2:] {
		end = hashed(crypto.SHA256, end, m.extension(crypto.SHA256))
	}
	rest, err := ima.Parse(list(form, entries[2:]...))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := rest.ReplayFrom("sha256", half, end); err != nil || r.Entries != len(entries)-2 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := rest.Replay("sha256", end); !errors.Is(err, ima.ErrMismatch) {
		t.Errorf("from zeros: %v", err)
	}
	none, err := ima.Parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := none.ReplayFrom("sha256", half, half); err != nil || r.Entries != 0 {
		t.Errorf("nothing new: %+v, %v", r, err)
	}
}

func TestAttack_L5_MalformedLists(t *testing.T) {
	good := sample()[0]
	ascii, bin := good.ascii(crypto.SHA1), good.binary(crypto.SHA1)
	legacy := sample()[2]
	long := legacy
	long.name = strings.Repeat("n", 255)
	patch := func(b []byte, at int, v uint32) []byte {
		out := bytes.Clone(b)
		le.PutUint32(out[at:], v)
		return out
	}
	templateEnd := 4 + 20 + 4 + len(good.template)
	for name, raw := range map[string][]byte{
		"binary cut":              bin[:len(bin)-1],
		"binary PCR 11":           patch(bin, 0, 11),
		"template name of 4 GiB":  patch(bin, 24, 0xffffffff),
		"template name empty":     patch(bin, 24, 0),
		"template data of 4 GiB":  patch(bin, templateEnd, 0xffffffff),
		"template data of 65 KiB": patch(bin, templateEnd, 65<<10),
		"digest field of 4 GiB":   patch(bin, templateEnd+4, 0xffffffff),
		"binary trailing":         append(bytes.Clone(bin), 0),
		"legacy name of 4 GiB":    patch(legacy.binary(crypto.SHA1), 4+20+4+3+20, 0xffffffff),
		"legacy name of 256":      append(legacy.binary(crypto.SHA1)[:4+20+4+3+20], append(le.AppendUint32(nil, 256), make([]byte, 256)...)...),
		"ascii cut":               ascii[:len(ascii)-2],
		"ascii PCR -1":            append([]byte("-1"), ascii[2:]...),
		"ascii PCR 10x":           append([]byte("1x"), ascii[2:]...),
		"ascii hash of 3 bytes":   []byte("10 aabbcc ima-ng sha256:00 /x\n"),
		"ascii odd hex":           bytes.Replace(ascii, []byte("10 "), []byte("10 0"), 1),
		"ascii without algorithm": bytes.Replace(ascii, []byte("sha256:"), nil, 1),
		"ascii only spaces":       bytes.Repeat([]byte{' '}, 1<<10),
		"ascii only newlines":     append([]byte("1"), bytes.Repeat([]byte{'\n'}, 1<<20)...),
		"ascii appended garbage":  append(bytes.Clone(ascii), "\n"...),
		"legacy without name":     []byte("10 " + strings.Repeat("00", 20) + " ima " + strings.Repeat("00", 20) + "\n"),
		"wrong template hash":     bytes.Replace(ascii, []byte("boot_aggregate"), []byte("boot_aggregat_"), 1),
	} {
		t.Run(name, func(t *testing.T) {
			if l, err := ima.Parse(raw); err == nil {
				t.Errorf("parsed: %+v", l.Entries)
			}
		})
	}
	if _, err := ima.Parse(long.binary(crypto.SHA1)); err != nil {
		t.Errorf("legacy name of 255 bytes: %v", err)
	}
	if _, err := ima.Parse(make([]byte, ima.MaxSize+1)); err == nil {
		t.Error("a list beyond the limit was read")
	}
}

// TestAttack_L5_NewlinesInNames: names full of newlines, and of what looks like
// entries, are found again, and cost the parser no more than others.
func TestAttack_L5_NewlinesInNames(t *testing.T) {
	form := func(m measurement) []byte { return m.ascii(crypto.SHA1) }
	looksLikeEntry := "10_" + strings.Repeat("0", 40) + "_ima-ng_sha256:00_x"
	for _, name := range []string{
		"/tmp/a\n\nb\n" + looksLikeEntry, "\n", "\n10", "/tmp/x\n" + strings.Repeat(looksLikeEntry+"\n", 60),
		"/tmp/x\n10\t" + strings.Repeat("0", 40) + "\tima-ng", strings.Repeat("\n", 4000),
	} {
		m := sample()[1]
		m.name = name
		many := make([]measurement, 200)
		for i := range many {
			many[i] = m
		}
		l, err := ima.Parse(list(form, append(many, sample()[0])...))
		if err != nil || len(l.Entries) != 201 || l.Entries[0].Name != name || l.Entries[199].Name != name {
			t.Errorf("name %.40q: %v", name, err)
		}
	}
}

// TestAttack_L5_JoiningIsBounded: text that no kernel writes, where every line
// begins an entry and none ends one, is given up in linear time.
func TestAttack_L5_JoiningIsBounded(t *testing.T) {
	line := "10 " + strings.Repeat("0a", 20) + " ima-ng sha256:" + strings.Repeat("00", 32) + " /x\n"
	if _, err := ima.Parse([]byte(strings.Repeat(line, 1<<16))); err == nil {
		t.Error("template hashes that do not hold were accepted")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(list(func(m measurement) []byte { return m.ascii(crypto.SHA1) }, sample()...))
	f.Add(list(func(m measurement) []byte { return m.binary(crypto.SHA1) }, sample()...))
	f.Add(list(func(m measurement) []byte { return m.binary(crypto.SHA256) }, sample()...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := ima.Parse(raw)
		if err != nil {
			return
		}
		r, err := l.Replay("sha256", make([]byte, 32))
		if (err == nil) != (len(l.Entries) == 0) {
			t.Errorf("zeros cover %+v, %v", r, err)
		}
		for _, e := range l.Entries {
			if strings.ContainsRune(e.Name, 0) {
				t.Errorf("name %q", e.Name)
			}
		}
	})
}

func TestFurtherFields(t *testing.T) {
	l, err := ima.Parse(list(func(m measurement) []byte { return m.ascii(crypto.SHA1) }, sample()...))
	if err != nil {
		t.Fatal(err)
	}
	if e := l.Entries[8]; string(e.ModSignature) != "PKCS #7" || e.Inode != nil {
		t.Errorf("modsig %+v", e)
	}
	if i := l.Entries[10].Inode; i == nil || i.UID != 1000 || i.GID != 0 || i.Mode != 0o100755 || i.Xattrs != "security.selinux|security.ima" || !bytes.Equal(i.XattrValues, []byte{9, 8, 7}) {
		t.Errorf("inode %+v", i)
	}
	if e := l.Entries[11]; e.Inode != nil {
		t.Errorf("inode %+v", e.Inode)
	}
}

func TestAttack_L5_FurtherFieldsMalformed(t *testing.T) {
	evm := sample()[10]
	for name, change := range map[string]func(m *measurement){
		"owner of 3 bytes":   func(m *measurement) { m.more[3].data = m.more[3].data[:3] },
		"mode of 4 bytes":    func(m *measurement) { m.more[5].data = append(m.more[5].data, 0, 0) },
		"a field too many":   func(m *measurement) { m.more = append(m.more, extra{[]byte{1}, "01"}) },
		"a field missing":    func(m *measurement) { m.more = m.more[:5] },
		"modsig under evm":   func(m *measurement) { m.template = "ima-modsig" },
		"evm fields unnamed": func(m *measurement) { m.template = "ima-sig" },
	} {
		t.Run(name, func(t *testing.T) {
			m := evm
			m.more = append([]extra{}, evm.more...)
			change(&m)
			if l, err := ima.Parse(m.binary(crypto.SHA1)); err == nil {
				t.Errorf("binary: %+v", l.Entries)
			}
		})
	}
	for _, number := range []string{"01000", "-1", "4294967296", "1e3"} {
		m := evm
		m.more = append([]extra{}, evm.more...)
		m.more[3].text = number
		if l, err := ima.Parse(m.ascii(crypto.SHA1)); err == nil {
			t.Errorf("ascii %s: %+v", number, l.Entries)
		}
	}
}
