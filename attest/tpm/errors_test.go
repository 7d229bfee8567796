package tpm_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"troth/attest/attesttest"
	"troth/attest/ek/template"
	"troth/attest/tpm"
)

func platform() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: tpm2.TPMRHPlatform, Auth: tpm2.PasswordAuth(nil)}
}

// sentinels are the errors that a caller tells apart.
var sentinels = map[string]error{
	"busy": tpm.ErrBusy, "lockout": tpm.ErrLockout, "authorization": tpm.ErrAuthorization, "unavailable": tpm.ErrUnavailable,
	"cleared": tpm.ErrCleared, "replaced": tpm.ErrReplaced,
}

// wantOnly fails unless err is the one sentinel and none of the others.
func wantOnly(t *testing.T, what string, err error, want string) {
	t.Helper()
	for name, sentinel := range sentinels {
		if errors.Is(err, sentinel) != (name == want) {
			t.Errorf("%s: is %s: %v, want %s: %v", what, name, errors.Is(err, sentinel), want, err)
		}
	}
}

// K8: a TPM that was cleared is the same device without its keys, and can go on
// with new ones.
func TestAttack_K8_ClearedTPM(t *testing.T) {
	d := newDevice(t, ecc)
	e, err := d.EK()
	if err != nil {
		t.Fatal(err)
	}
	ak, tls := d.ak(t), d.tlsKey(t)
	if err := d.CheckIdentity(e.Public, ak, tls); err != nil {
		t.Errorf("before: %v", err)
	}
	if err := d.swtpm.PowerCycle(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := d.CheckIdentity(e.Public, ak, tls); err != nil {
		t.Errorf("after a reboot: %v", err)
	}
	if _, err := (tpm2.Clear{AuthHandle: platform()}).Execute(d.raw); err != nil {
		t.Fatal(err)
	}
	err = d.CheckIdentity(e.Public, ak, tls)
	wantOnly(t, "cleared", err, "cleared")
	if _, err := d.Quote(ak, []byte("nonce"), map[string][]int{"sha256": {0}}); !errors.Is(err, tpm.ErrForeignKey) {
		t.Errorf("quote: %v", err)
	}
	if err := d.CheckIdentity(e.Public); err != nil {
		t.Errorf("without keys: %v", err)
	}
	ak, tls = d.ak(t), d.tlsKey(t)
	if err := d.CheckIdentity(e.Public, ak, tls); err != nil {
		t.Errorf("with new keys: %v", err)
	}
	again, err := tpm.New(d.raw).EK()
	if err != nil || !bytes.Equal(again.Public, e.Public) || !bytes.Equal(again.Certificate, e.Certificate) {
		t.Errorf("EK changed: %v", err)
	}
	d.wantEmpty(t)
}

// K8: another TPM in the device's place, and the same with another endorsement
// seed, are another device.
func TestAttack_K8_ReplacedTPM(t *testing.T) {
	old, other := newDevice(t, ecc), newDevice(t, ecc)
	e, err := old.EK()
	if err != nil {
		t.Fatal(err)
	}
	ak := old.ak(t)
	err = other.CheckIdentity(e.Public, ak)
	wantOnly(t, "another TPM", err, "replaced")
	if !errors.Is(err, tpm.ErrForeignKey) {
		t.Error("a replaced TPM's keys are not foreign")
	}
	changeEPS := []byte{0x80, 0x02, 0, 0, 0, 27, 0, 0, 0x01, 0x24, 0x40, 0, 0, 0x0c, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0}
	if rsp, err := old.raw.Send(changeEPS); err != nil || !bytes.Equal(rsp[6:10], make([]byte, 4)) {
		t.Fatalf("change EPS: %x, %v", rsp, err)
	}
	wantOnly(t, "another seed", old.CheckIdentity(e.Public, ak), "replaced")
	for _, public := range [][]byte{nil, []byte("rubbish"), ak.Public} {
		if err := old.CheckIdentity(public); err == nil {
			t.Errorf("%x is the EK", public)
		} else {
			wantOnly(t, "no EK", err, "")
		}
	}
}

// What passes does not make a TPM another device: it is not asked for another EK
// because one could not be made just now. Once recognized, an EK stays.
func TestEKIsNotAnotherForAWhile(t *testing.T) {
	d := newDevice(t, ecc)
	e, err := d.EK()
	if err != nil {
		t.Fatal(err)
	}
	for code, want := range map[tpm2.TPMRC]string{tpm2.TPMRCLockout: "lockout", tpm2.TPMRCTesting: "busy", tpm2.TPMRCFailure: "unavailable"} {
		once := &failingOnce{TPM: d.raw, command: tpm2.TPMCCCreatePrimary, code: code}
		_, err := tpm.New(once).EK()
		wantOnly(t, code.Error(), err, want)
	}
	if err := maker.Install(context.Background(), d.raw, attesttest.FactoryEK{Template: template.L1}); err != nil {
		t.Fatal(err)
	}
	if other, err := tpm.New(d.raw).EK(); err != nil || other.Template != template.L1 {
		t.Fatalf("EK of %s, %v: this test tries nothing", other.Template, err)
	}
	again := tpm.New(d.raw)
	if err := again.CheckIdentity(e.Public); err != nil {
		t.Fatal(err)
	}
	if same, err := again.EK(); err != nil || !bytes.Equal(same.Public, e.Public) || !bytes.Equal(same.Certificate, e.Certificate) {
		t.Errorf("EK of %s, %v", same.Template, err)
	}
}

// failingOnce is a TPM that answers a command with an error, once.
type failingOnce struct {
	transport.TPM
	command tpm2.TPMCC
	code    tpm2.TPMRC
}

func (f *failingOnce) Send(command []byte) ([]byte, error) {
	if binary.BigEndian.Uint32(command[6:]) != uint32(f.command) {
		return f.TPM.Send(command)
	}
	f.command = 0
	return binary.BigEndian.AppendUint32([]byte{0x80, 0x01, 0, 0, 0, 10}, uint32(f.code)), nil
}

// A locked TPM says so for keys that are subject to the lockout; ours are not.
func TestLockout(t *testing.T) {
	s, err := maker.NewRSA3072TPM(context.Background(), filepath.Join(t.TempDir(), "s"))
	d := connected(t, s, err)
	e, err := d.EK() // of the high range, which has a password and noDA clear
	if err != nil {
		t.Fatal(err)
	}
	ak := d.ak(t)
	guarded := d.createGuarded(t)
	const parameters, lockReset = 0x13a, 0x139
	d.lockoutCommand(t, parameters, 0, 0, 0, 1, 0, 0, 0x27, 0x10, 0, 0, 0x27, 0x10) // one try, 10000 s, 10000 s
	quote := func(k tpm.Key) error {
		_, err := d.Quote(k, []byte("nonce"), map[string][]int{"sha256": {0}})
		return err
	}
	wantOnly(t, "wrong password", quote(guarded), "authorization")
	wantOnly(t, "locked", quote(guarded), "lockout")
	if l, err := d.Lockout(); err != nil || !l.Locked() || l.Failures != 1 || l.Most != 1 || l.Interval != 10000*time.Second {
		t.Errorf("lockout %+v, %v", l, err)
	}
	if err := quote(ak); err != nil {
		t.Errorf("our AK is locked: %v", err)
	}
	d.wantWorkingEK(t, e, e.Template)
	d.lockoutCommand(t, lockReset)
	if l, err := d.Lockout(); err != nil || l.Locked() || l.Failures != 0 {
		t.Errorf("after the reset: %+v, %v", l, err)
	}
	wantOnly(t, "reset", quote(guarded), "authorization")
}

// lockoutCommand sends a command under the empty lockout password.
func (d device) lockoutCommand(t *testing.T, code uint32, parameters ...byte) {
	t.Helper()
	session := []byte{0x40, 0, 0, 0x0a, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0}
	command := binary.BigEndian.AppendUint32([]byte{0x80, 0x02}, uint32(10+len(session)+len(parameters)))
	command = binary.BigEndian.AppendUint32(command, code)
	rsp, err := d.raw.Send(slices.Concat(command, session, parameters))
	if err != nil || !bytes.Equal(rsp[6:10], make([]byte, 4)) {
		t.Fatalf("command %#x: %x, %v", code, rsp, err)
	}
}

// createGuarded makes an AK that has a password and is subject to the lockout.
func (d device) createGuarded(t *testing.T) tpm.Key {
	t.Helper()
	parent, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(tpm2.ECCSRKTemplate),
	}.Execute(d.raw)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if _, err := (tpm2.FlushContext{FlushHandle: parent.ObjectHandle}).Execute(d.raw); err != nil {
			t.Error(err)
		}
	}()
	template := *decode(t, d.ak(t).Public)
	template.ObjectAttributes.NoDA = false
	template.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{})
	rsp, err := tpm2.Create{
		ParentHandle: tpm2.AuthHandle{Handle: parent.ObjectHandle, Name: parent.Name, Auth: tpm2.PasswordAuth(nil)},
		InSensitive:  tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{UserAuth: tpm2.TPM2BAuth{Buffer: []byte("password")}}},
		InPublic:     tpm2.New2B(template),
	}.Execute(d.raw)
	if err != nil {
		t.Fatal(err)
	}
	return tpm.Key{Public: rsp.OutPublic.Bytes(), Private: rsp.OutPrivate.Buffer}
}

// A password on the endorsement hierarchy is told from everything else.
func TestEndorsementPassword(t *testing.T) {
	d := newDevice(t, ecc)
	_, err := tpm2.HierarchyChangeAuth{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		NewAuth:    tpm2.TPM2BAuth{Buffer: []byte("password")},
	}.Execute(d.raw)
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.EK()
	wantOnly(t, "EK", err, "authorization")
	_, err = d.CreateAK()
	wantOnly(t, "AK", err, "authorization")
}

// answering is a TPM that answers one command code with an error.
type answering struct {
	transport.TPM
	command tpm2.TPMCC
	code    tpm2.TPMRC
}

func (a answering) Send(command []byte) ([]byte, error) {
	if binary.BigEndian.Uint32(command[6:]) != uint32(a.command) {
		return a.TPM.Send(command)
	}
	return binary.BigEndian.AppendUint32([]byte{0x80, 0x01, 0, 0, 0, 10}, uint32(a.code)), nil
}

func TestBusyAndUnavailable(t *testing.T) {
	d := newDevice(t, ecc)
	e, err := d.EK()
	if err != nil {
		t.Fatal(err)
	}
	ak := d.ak(t)
	for code, want := range map[tpm2.TPMRC]string{
		tpm2.TPMRCRetry: "busy", tpm2.TPMRCYielded: "busy", tpm2.TPMRCTesting: "busy", tpm2.TPMRCNVRate: "busy",
		tpm2.TPMRCLockout: "lockout", tpm2.TPMRCInitialize: "unavailable", tpm2.TPMRCFailure: "unavailable",
		tpm2.TPMRCCommandCode: "",
	} {
		for _, command := range []tpm2.TPMCC{tpm2.TPMCCCreatePrimary, tpm2.TPMCCQuote} {
			_, err := tpm.New(answering{d.raw, command, code}).Quote(ak, []byte("nonce"), map[string][]int{"sha256": {0}})
			if !errors.Is(err, code) {
				t.Errorf("TPM's own code is lost: %v", err)
			}
			wantOnly(t, code.Error(), err, want)
		}
		wantOnly(t, code.Error(), tpm.New(answering{d.raw, tpm2.TPMCCLoad, code}).CheckIdentity(e.Public, ak), want)
	}
	d.wantEmpty(t)
	if err := d.swtpm.PowerOff(); err != nil {
		t.Fatal(err)
	}
	wantOnly(t, "without power", d.CheckIdentity(e.Public, ak), "unavailable")
}

// What others keep at persistent handles is neither used as an EK nor touched.
func TestForeignPersistentKey(t *testing.T) {
	d := newDevice(t, ecc)
	rsp, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(tpm2.ECCSRKTemplate),
	}.Execute(d.raw)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (tpm2.EvictControl{
		Auth:             tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		ObjectHandle:     &tpm2.NamedHandle{Handle: rsp.ObjectHandle, Name: rsp.Name},
		PersistentHandle: 0x81010002,
	}).Execute(d.raw); err != nil {
		t.Fatal(err)
	}
	if _, err := (tpm2.FlushContext{FlushHandle: rsp.ObjectHandle}).Execute(d.raw); err != nil {
		t.Fatal(err)
	}
	before := d.persistent(t)
	e, err := d.EK()
	if err != nil {
		t.Fatal(err)
	}
	d.wantWorkingEK(t, e, "L-2")
	if after := d.persistent(t); !slices.Equal(before, after) || !slices.Contains(after, 0x81010002) {
		t.Errorf("persistent handles %#x, were %#x", after, before)
	}
}
