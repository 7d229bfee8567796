package attesttest

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"math/big"
	"time"
)

// Platform is what a boot measures besides the image: the firmware in flash
// memory and its Secure Boot configuration.
type Platform struct {
	SCRTMVersion string
	Firmware     []byte // the firmware volume
	SecureBoot   bool
	PK           []byte // contents of the UEFI variables: EFI_SIGNATURE_LISTs, empty if not enrolled
	KEK          []byte
	DB           []byte
	DBX          []byte
	Authority    []byte // EFI_SIGNATURE_DATA in DB that verifies the boot loader; measured if SecureBoot
}

// UEFI GUIDs in their encoding of the wire (UEFI 2.10, 3.3, 32.4.1 and 32.6.1).
var (
	guidGlobalVariable = guid(0x8be4df61, 0x93ca, 0x11d2, 0xaa0d00e098032b8c)
	guidImageSecurity  = guid(0xd719b2cb, 0x3d3a, 0x4596, 0xa3bcdad00e67656f)
	guidCertX509       = guid(0xa5c059a1, 0x94e4, 0x4aa7, 0x87b5ab155c2bf072)
	guidCertSHA256     = guid(0xc1c41626, 0x504c, 0x4092, 0xaca941f936934328)
	guidOwner          = guid(0x77fa9abd, 0x0359, 0x4d32, 0xbd6028f4e78f784b)
)

func guid(a uint32, b, c uint16, d uint64) [16]byte {
	var g [16]byte
	binary.LittleEndian.PutUint32(g[0:], a)
	binary.LittleEndian.PutUint16(g[4:], b)
	binary.LittleEndian.PutUint16(g[6:], c)
	binary.BigEndian.PutUint64(g[8:], d)
	return g
}

// PlatformFor returns the platform of a hardware model, the same each time, in
// Secure Boot with keys of the model's own.
func PlatformFor(model string) Platform {
	var (
		db     = signatureData(platformCertificate(model, "db"))
		hashes [][]byte
	)
	for _, name := range []string{"revoked 1", "revoked 2"} {
		h := sha256.Sum256([]byte(model + name))
		hashes = append(hashes, signatureData(h[:]))
	}
	return Platform{
		SCRTMVersion: model + " 1.0",
		Firmware:     filler(model+" firmware volume", 16<<10),
		SecureBoot:   true,
		PK:           signatureList(guidCertX509, signatureData(platformCertificate(model, "PK"))),
		KEK:          signatureList(guidCertX509, signatureData(platformCertificate(model, "KEK"))),
		DB:           signatureList(guidCertX509, db),
		DBX:          signatureList(guidCertSHA256, hashes...),
		Authority:    db,
	}
}

// platformCertificate makes a self-signed certificate. It is of Ed25519, which
// no firmware would accept, because only its signatures need no random numbers.
func platformCertificate(model, name string) []byte {
	seed := sha256.Sum256([]byte(model + " " + name))
	key := ed25519.NewKeyFromSeed(seed[:])
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{Organization: []string{model}, CommonName: name},
		NotBefore:    time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(2044, 1, 1, 0, 0, 0, 0, time.UTC),
		SubjectKeyId: seed[:20],
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err) // the template is constant
	}
	return der
}

// signatureData is an EFI_SIGNATURE_DATA.
func signatureData(data []byte) []byte { return append(guidOwner[:], data...) }

// signatureList is an EFI_SIGNATURE_LIST of entries of one size.
func signatureList(kind [16]byte, entries ...[]byte) []byte {
	const header = 28
	size := len(entries[0])
	out := kind[:]
	out = binary.LittleEndian.AppendUint32(out, uint32(header+len(entries)*size))
	out = binary.LittleEndian.AppendUint32(out, 0)
	out = binary.LittleEndian.AppendUint32(out, uint32(size))
	for _, e := range entries {
		out = append(out, e...)
	}
	return out
}
