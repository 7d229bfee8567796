package tpm_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"troth/attest/tpm"
)

func all() []int {
	var s []int
	for i := range 24 {
		s = append(s, i)
	}
	return s
}

func extend(t *testing.T, c transport.TPM, pcr int, what string) {
	t.Helper()
	_, err := tpm2.PCREvent{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
		EventData: tpm2.TPM2BEvent{Buffer: []byte(what)},
	}.Execute(c)
	if err != nil {
		t.Fatal(err)
	}
}

// wantConsistent fails if the values of q are not those that were signed.
func wantConsistent(t *testing.T, ak tpm.Key, q tpm.Quote, nonce string) *tpm2.TPMSQuoteInfo {
	t.Helper()
	wantSigned(t, ak, q.Attest, q.Signature)
	attest, err := tpm2.Unmarshal[tpm2.TPMSAttest](q.Attest)
	if err != nil {
		t.Fatal(err)
	}
	info, err := attest.Attested.Quote()
	if err != nil {
		t.Fatal(err)
	}
	if string(attest.ExtraData.Buffer) != nonce {
		t.Errorf("qualifying data %q", attest.ExtraData.Buffer)
	}
	h := sha256.New()
	for _, bank := range []string{"sha1", "sha256", "sha384"} {
		for i := range 24 {
			h.Write(q.PCRs[bank][i])
		}
	}
	if !bytes.Equal(h.Sum(nil), info.PCRDigest.Buffer) {
		t.Error("values are not those that were signed")
	}
	return info
}

func TestQuote(t *testing.T) {
	d := newDevice(t, bare)
	ak := d.ak(t)
	extend(t, d.raw, 4, "boot loader")
	for name, tt := range map[string]struct {
		selection map[string][]int
		sizes     map[string]int
	}{
		"one":       {map[string][]int{"sha256": {4}}, map[string]int{"sha256": 32}},
		"ten":       {map[string][]int{"sha256": {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}}, map[string]int{"sha256": 32}},
		"unordered": {map[string][]int{"sha256": {23, 4, 0, 4}}, map[string]int{"sha256": 32}},
		"all":       {map[string][]int{"sha384": all(), "sha1": all(), "sha256": all()}, map[string]int{"sha1": 20, "sha256": 32, "sha384": 48}},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			q, err := d.Quote(ak, []byte("nonce"), tt.selection)
			t.Logf("quote took %v", time.Since(begin))
			if err != nil {
				t.Fatal(err)
			}
			wantConsistent(t, ak, q, "nonce")
			if len(q.PCRs) != len(tt.selection) {
				t.Errorf("banks %v", q.PCRs)
			}
			for bank, indices := range tt.selection {
				for _, i := range indices {
					if len(q.PCRs[bank][i]) != tt.sizes[bank] {
						t.Errorf("%s:%d is %x", bank, i, q.PCRs[bank][i])
					}
				}
			}
		})
	}
	d.wantEmpty(t)
}

// Q2, Q3: a quote without nonce or without PCRs is never made.
func TestAttack_Q2_EmptySelectionAndNonce(t *testing.T) {
	d := newDevice(t, bare)
	ak := d.ak(t)
	one := map[string][]int{"sha256": {0}}
	for name, tt := range map[string]struct {
		nonce     []byte
		selection map[string][]int
	}{
		"no nonce":      {nil, one},
		"long nonce":    {make([]byte, 200), one},
		"no bank":       {[]byte("n"), nil},
		"no PCR":        {[]byte("n"), map[string][]int{"sha256": {}}},
		"unknown bank":  {[]byte("n"), map[string][]int{"md5": {0}}},
		"high index":    {[]byte("n"), map[string][]int{"sha256": {24}}},
		"low index":     {[]byte("n"), map[string][]int{"sha256": {-1}}},
		"one bank bare": {[]byte("n"), map[string][]int{"sha256": {0}, "sha1": nil}},
	} {
		if _, err := d.Quote(ak, tt.nonce, tt.selection); err == nil {
			t.Errorf("%s: quoted", name)
		}
	}
	if _, err := d.Quote(d.tlsKey(t), []byte("n"), one); err != nil {
		t.Errorf("an unrestricted key can quote as well, and it is the verifier who refuses: %v", err)
	}
	d.wantEmpty(t)
}

// meddler extends a PCR right after each of the first quotes.
type meddler struct {
	transport.TPM
	left atomic.Int32
	t    *testing.T
}

func (m *meddler) Send(cmd []byte) ([]byte, error) {
	rsp, err := m.TPM.Send(cmd)
	if binary.BigEndian.Uint32(cmd[6:]) == uint32(tpm2.TPMCCQuote) && m.left.Add(-1) >= 0 {
		extend(m.t, m.TPM, 10, "a file")
	}
	return rsp, err
}

func TestQuoteWhilePCRsMove(t *testing.T) {
	d := newDevice(t, bare)
	ak := d.ak(t)
	m := &meddler{TPM: d.raw, t: t}
	moving := tpm.New(m)
	selection := map[string][]int{"sha256": {0, 10}}
	m.left.Store(3)
	q, err := moving.Quote(ak, []byte("nonce"), selection)
	if err != nil {
		t.Fatal(err)
	}
	wantConsistent(t, ak, q, "nonce")
	m.left.Store(1 << 20)
	if _, err := moving.Quote(ak, []byte("nonce"), selection); err == nil {
		t.Error("quoted a PCR that never stood still")
	} else {
		t.Log(err)
	}
	d.wantEmpty(t)
}

// Q7: the AK shows the true reset count, so that a verifier can count reboots.
func TestAttack_Q7_ResetCountIsNotObfuscated(t *testing.T) {
	d := newDevice(t, bare)
	q, err := d.Quote(d.ak(t), []byte("nonce"), map[string][]int{"sha256": {0}})
	if err != nil {
		t.Fatal(err)
	}
	attest, err := tpm2.Unmarshal[tpm2.TPMSAttest](q.Attest)
	if err != nil {
		t.Fatal(err)
	}
	clock, err := tpm2.ReadClock{}.Execute(d.raw)
	if err != nil {
		t.Fatal(err)
	}
	if attest.ClockInfo.ResetCount != clock.CurrentTime.ClockInfo.ResetCount {
		t.Errorf("quote says %d resets, TPM says %d", attest.ClockInfo.ResetCount, clock.CurrentTime.ClockInfo.ResetCount)
	}
}

func TestPCRs(t *testing.T) {
	d := newDevice(t, bare)
	got, err := d.PCRs(map[string][]int{"sha1": {0}, "sha384": {17, 23}})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got["sha1"][0], make([]byte, 20)) || !bytes.Equal(got["sha384"][17], bytes.Repeat([]byte{0xff}, 48)) {
		t.Errorf("reset values: %x", got)
	}
	if _, err := d.PCRs(nil); err == nil {
		t.Error("read nothing")
	}
}
