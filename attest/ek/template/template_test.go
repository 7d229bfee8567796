package template_test

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"troth/attest/ek/template"
)

// The policies as the specification prints them (B.6, tables 33 to 36).
func TestPoliciesAsPublished(t *testing.T) {
	for alg, want := range map[tpm2.TPMIAlgHash][3]string{
		tpm2.TPMAlgSHA256: {
			"837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa",
			"ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0",
			"3767e2edd43ff45a3a7e1eaefcef78643dca964632e7aad82c673a30d8633fde",
		},
		tpm2.TPMAlgSHA384: {
			"8bbf2266537c171cb56e403c4dc1d4b64f432611dc386e6f532050c3278c930e143e8bb1133824ccb431053871c6db53",
			"b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12",
			"d6032ce61f2fb3c240eb3cf6a33237ef2b6a16f4293c22b455e261cffd217ad5b4947c2d73e63005eed2dc2b3593d165",
		},
		tpm2.TPMAlgSHA512: {
			"1e3b76502c8a1425aa0b7b3fc646a1b0fae063b03b5368f9c4cddecaff0891dd682bac1a85d4d832b781ea451915de5fc5bf0dc4a1917cd42fa041e3f998e0ee",
			"b8221ca69e8550a4914de3faa6a18c072cc01208073a928d5d66d59ef79e49a429c41a6b269571d57edb25fbdb1838425608b413cd616a5f6db5b6071af99bea",
			"589ee1e146544716e8deafe6db247b01b81e9f9c7dd16b814aa159138749105fba5388dd1dea702f35240c184933121e2c61b8f50d3ef91393a49a38c3f73fc8",
		},
	} {
		for i, policy := range []func(tpm2.TPMIAlgHash) ([]byte, error){template.PolicyA, template.PolicyB, template.PolicyC} {
			got, err := policy(alg)
			if err != nil {
				t.Fatal(err)
			}
			if hex.EncodeToString(got) != want[i] {
				t.Errorf("policy %c of hash %#x is %x, want %s", 'A'+i, alg, got, want[i])
			}
		}
	}
	if _, err := template.PolicyB(tpm2.TPMAlgSHA1); err == nil {
		t.Error("SHA-1 has a policy")
	}
}

// The low range as go-tpm has it.
func TestLowRangeAgreesWithGoTPM(t *testing.T) {
	for id, want := range map[template.ID]tpm2.TPMTPublic{template.L1: tpm2.RSAEKTemplate, template.L2: tpm2.ECCEKTemplate} {
		found, ok := template.Find(id)
		if !ok {
			t.Fatal(id)
		}
		got, err := found.Public(nil)
		if err != nil || !bytes.Equal(tpm2.Marshal(got), tpm2.Marshal(want)) {
			t.Errorf("%s: %x, %v", id, tpm2.Marshal(got), err)
		}
	}
	if _, ok := template.Find("L-9"); ok {
		t.Error("L-9 exists")
	}
}

// Every key of a template begins with its prefix, which a caller may write to.
func TestPrefix(t *testing.T) {
	for _, tmpl := range template.All() {
		public, err := tmpl.Public(nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			prefix, err := tmpl.Prefix()
			if err != nil || !bytes.HasPrefix(tpm2.Marshal(public), prefix) {
				t.Errorf("%s: %x, %v", tmpl.ID, prefix, err)
			}
			clear(prefix)
		}
	}
	if _, err := (template.Template{Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA1, High: true}).Prefix(); err == nil {
		t.Error("a template without a policy has a prefix")
	}
}
