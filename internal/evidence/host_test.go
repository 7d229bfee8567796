package evidence_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"troth/internal/api"
	"troth/internal/evidence"
	"troth/policy"
)

// What the agent sends is what policies see, field by field.
func TestHostFactsHaveOneForm(t *testing.T) {
	sent, seen := map[string]string{}, map[string]string{}
	fields("", reflect.TypeFor[api.HostFacts](), sent)
	fields("", reflect.TypeFor[policy.HostInput](), seen)
	delete(seen, "/reported")
	if len(sent) < 50 || !reflect.DeepEqual(sent, seen) {
		t.Errorf("sent %v\nseen %v", sent, seen)
	}
}

// fields are the JSON paths of a type with the kinds of their values.
func fields(path string, t reflect.Type, into map[string]string) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		fields(path+"*", t.Elem(), into)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			fields(path+"/"+name, f.Type, into)
		}
	default:
		into[path] = t.Kind().String()
	}
}

func TestHostFacts(t *testing.T) {
	h, err := evidence.HostFacts([]byte(`{"host":{"kernel":{"kptr_restrict":0},"volumes":{"root":{"mount":"/","backing":"verity"}},"new":{"fact":1}}}`))
	if err != nil || !h.Reported || h.Kernel.KptrRestrict == nil || *h.Kernel.KptrRestrict != 0 || h.Kernel.DmesgRestrict != nil || h.Volumes.Root.Backing != "verity" {
		t.Errorf("%+v, %v", h, err)
	}
	for _, none := range []string{`{}`, `{"host":null}`, `null`} {
		if h, err := evidence.HostFacts([]byte(none)); err != nil || h.Reported {
			t.Errorf("%s: %+v, %v", none, h, err)
		}
	}
	for _, bad := range []string{``, `[]`, `{"host":[]}`, `{"host":{"kernel":{"kptr_restrict":"0"}}}`, `{"host":{"agent":{"root":0}}}`, `{"host":{"kernel":{"tainted":-1}}}`} {
		if h, err := evidence.HostFacts([]byte(bad)); err == nil || h.Reported {
			t.Errorf("%s: %+v", bad, h)
		}
	}
}

// flooded is a report as long as a device likes.
func flooded() []byte {
	long, name := strings.Repeat("é", 4000), `"`+strings.Repeat("x", 4000)+`"`
	names := strings.Repeat(name+",", 99) + name
	socket := fmt.Sprintf(`{"protocol":%q,"port":1,"scope":%q}`, long, long)
	return fmt.Appendf(nil, `{"host":{"agent":{"version":%q},"kernel":{"lsms":[%s],"lockdown":%q},"accounts":{"superusers":[%s],"passwordless":[%s]},
		"consoles":{"serial":[%s]},"volumes":{"data":{"mount":%q,"filesystem":%q}},"ssh":{"permit_root_login":%q},"sockets":{"known":true,"listening":[%s]}}}`,
		long, names, long, names, names, names, long, long, long, strings.Repeat(socket+",", 4000)+socket)
}

func TestHostFactsAreBounded(t *testing.T) {
	h, err := evidence.HostFacts(flooded())
	if err != nil || !h.Sockets.Cut || len(h.Sockets.Listening) != 256 || len(h.Accounts.Superusers) != 16 {
		t.Fatalf("%d sockets, %v", len(h.Sockets.Listening), err)
	}
	document, err := json.Marshal(h)
	if err != nil || len(document) > 128<<10 {
		t.Errorf("policies see %d bytes of it, %v", len(document), err)
	}
}

func FuzzHostFacts(f *testing.F) {
	f.Add([]byte(`{"host":{"kernel":{"kptr_restrict":0},"sockets":{"known":true,"listening":[{"protocol":"tcp","port":22}]}}}`))
	f.Add([]byte(`{"host":{"volumes":{"root":null},"accounts":{"superusers":["root"]}}}`))
	f.Fuzz(func(t *testing.T, report []byte) {
		h, err := evidence.HostFacts(report)
		if err != nil {
			return
		}
		if document, err := json.Marshal(h); err != nil || len(document) > 256<<10 {
			t.Errorf("%d bytes, %v", len(document), err)
		}
	})
}
