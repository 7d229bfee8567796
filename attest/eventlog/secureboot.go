package eventlog

import (
	"crypto/sha256"
	"encoding/hex"
)

func isSecureBootVariable(v Variable) bool {
	switch v.Name {
	case "SecureBoot", "PK", "KEK":
		return v.GUID == guidGlobal
	case "db", "dbx":
		return v.GUID == guidImageSecurity
	}
	return false
}

// pcr7 reads the variables of PFP section 3.3.4.8. Check has made sure that they
// parse, come once and before the separator, and match their digests.
func (b *factBuilder) pcr7(e Event) {
	if (e.Type == EFIAction || e.Type == Action) && text(e.Data) == "UEFI Debug Mode" {
		b.secureBoot.Debug = true
		return
	}
	if e.Type == EFIVariableAuthority {
		b.authority(e)
	}
	if e.Type != EFIVariableDriverConfig {
		return
	}
	v, _, err := parseVariable(e.Data)
	if err != nil || !isSecureBootVariable(v) {
		return
	}
	switch v.Name {
	case "SecureBoot":
		// Anything but one byte of 1 is not enabled.
		b.secureBootSeen = true
		b.secureBoot.Enabled = len(v.Data) == 1 && v.Data[0] == 1
		b.secureBoot.fillEmpty()
	case "PK":
		b.secureBoot.PK = signatures(v.Data)
	case "KEK":
		b.secureBoot.KEK = signatures(v.Data)
	case "db":
		b.secureBoot.DB = signatures(v.Data)
	case "dbx":
		list := signatures(v.Data)
		b.secureBoot.DBX, b.secureBoot.DBXEntries, b.secureBoot.DBXLatest = list, len(list), ""
		if len(list) > 0 {
			b.secureBoot.DBXLatest = list[len(list)-1]
		}
	}
}

// fillEmpty keeps the lists arrays in JSON.
func (s *SecureBoot) fillEmpty() {
	for _, list := range []*[]string{&s.PK, &s.KEK, &s.DB, &s.DBX} {
		if *list == nil {
			*list = []string{}
		}
	}
}

func signatures(db []byte) []string {
	list, err := fingerprints(db)
	if err != nil {
		// An empty list would pass every allow-list; this passes none.
		d := sha256.Sum256(db)
		return []string{"unparsed:" + hex.EncodeToString(d[:])}
	}
	return list
}
