package ek

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
)

// parseX509 parses exactly one DER certificate. A serial number with zero bytes
// too many in front, as Nuvoton wrote some and crypto/x509 refuses, is read for
// the number that it is; the certificate returned has the bytes as they were
// signed. A negative serial number stays refused: a CRL could name it in two
// ways.
func parseX509(der []byte) (*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(der)
	if err == nil {
		return cert, nil
	}
	minimal, signed, ok := minimalSerial(der)
	if !ok {
		return nil, err
	}
	cert, minimalErr := x509.ParseCertificate(minimal)
	if minimalErr != nil {
		return nil, errors.Join(err, minimalErr)
	}
	cert.Raw, cert.RawTBSCertificate = der, signed
	return cert, nil
}

// minimalSerial encodes a certificate anew without the zero bytes that its serial
// number has too many, and returns the signed part as it was. ok is false if
// there are none, or no certificate.
func minimalSerial(der []byte) (minimal, signed []byte, ok bool) {
	var outer, body, version, serial asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &outer); err != nil || len(rest) != 0 {
		return nil, nil, false
	}
	after, err := asn1.Unmarshal(outer.Bytes, &body)
	if err != nil {
		return nil, nil, false
	}
	rest, err := asn1.Unmarshal(body.Bytes, &version)
	if err != nil || version.Class != asn1.ClassContextSpecific || version.Tag != 0 {
		return nil, nil, false
	}
	if rest, err = asn1.Unmarshal(rest, &serial); err != nil || serial.Class != asn1.ClassUniversal || serial.Tag != asn1.TagInteger {
		return nil, nil, false
	}
	digits := serial.Bytes
	for len(digits) > 1 && digits[0] == 0 && digits[1] < 0x80 {
		digits = digits[1:]
	}
	if len(digits) == len(serial.Bytes) {
		return nil, nil, false
	}
	number, err := wrap(serial, digits)
	if err != nil {
		return nil, nil, false
	}
	newBody, err := wrap(body, version.FullBytes, number, rest)
	if err != nil {
		return nil, nil, false
	}
	minimal, err = wrap(outer, newBody, after)
	return minimal, body.FullBytes, err == nil
}

// wrap encodes a value with the tag of another and new contents.
func wrap(like asn1.RawValue, contents ...[]byte) ([]byte, error) {
	value := asn1.RawValue{Class: like.Class, Tag: like.Tag, IsCompound: like.IsCompound}
	for _, c := range contents {
		value.Bytes = append(value.Bytes, c...)
	}
	return asn1.Marshal(value)
}
