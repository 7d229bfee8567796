package eventlog

import (
	"bytes"
	"errors"
	"strings"
)

// BootFacts is what a log says about the boot beyond Facts. What is measured as a
// digest alone carries Digests, which the PCR authenticates; Verified says
// whether the digests are the hash of what is shown beside them. Everything else
// is only claimed by whoever wrote the log.
type BootFacts struct {
	// OptionROMs are the drivers and applications measured into PCR 2.
	OptionROMs []Image `json:"option_roms,omitempty"`
	// Variables are the boot variables: BootOrder and Boot#### (PCR 1; PCR 5).
	Variables []BootVariable `json:"boot_variables,omitempty"`
	GPT       *GPT           `json:"gpt,omitempty"`
	// ExitBootServices: what firmware measured into PCR 5 when it handed over;
	// nil where it measured nothing of it.
	ExitBootServices *ExitBootServices `json:"exit_boot_services,omitempty"`
	// Authorities are the keys that images were verified with (PCR 7).
	Authorities []Authority `json:"authorities,omitempty"`
	// SBATLevel is the revocation level that shim enforced (PCR 7).
	SBATLevel *Text `json:"sbat_level,omitempty"`
	// Shim lists the variables of shim's owner database, as MokList (PCR 14).
	Shim []Named `json:"shim,omitempty"`
	// Commands are what GRUB executed (PCR 8), apart from kernel command lines,
	// which are CommandLines. The digest covers the text and not the label that
	// tells them apart: a rule about PCR 8 must look at both.
	Commands []Command `json:"commands,omitempty"`
	// Files are what GRUB read (PCR 9), each by what it was called.
	Files []Named `json:"files,omitempty"`
	// Initrds are those that the kernel's EFI stub loaded (PCR 9).
	Initrds []Named `json:"initrds,omitempty"`
	// Sections are those of the unified kernel image (PCR 11), by name.
	Sections []Named `json:"sections,omitempty"`
	// Configuration is what systemd-boot and systemd-stub measured besides: the
	// loader.conf (PCR 5), add-ons and credentials (PCR 12), extensions (PCR 13).
	Configuration []Named `json:"configuration,omitempty"`
	// Other is what else was measured into PCR 2 and 8 to 15, but for separators,
	// under the type that the log gives it. Types are not authenticated: an
	// allow-list over these, as over the lists above, leaves no room for something
	// that is logged under another type.
	Other []Named `json:"other,omitempty"`
}

// Named is something measured by its digest under a name.
type Named struct {
	PCR      int     `json:"pcr"`
	Sequence int     `json:"sequence"`
	Name     string  `json:"name"`
	Digests  Digests `json:"digests"`
	// Verified: the name itself is measured too. Else it is claimed.
	Verified bool `json:"verified"`
}

// Command is one line that GRUB executed.
type Command struct {
	Sequence int     `json:"sequence"`
	Label    string  `json:"label"` // "grub_cmd", "module_cmdline", …: claimed
	Text     string  `json:"text"`
	Digests  Digests `json:"digests"`
	Verified bool    `json:"verified"` // of the text
}

// ExitBootServices says how firmware ended.
type ExitBootServices struct {
	Invoked   bool `json:"invoked"`
	Succeeded bool `json:"succeeded"` // firmware returned with success
	Failed    bool `json:"failed"`
}

// BootVariable is a UEFI boot variable.
type BootVariable struct {
	Sequence int    `json:"sequence"`
	Name     string `json:"name"`
	// Order is BootOrder's list of Boot#### numbers.
	Order []uint16 `json:"order,omitempty"`
	// Description and Device are those of an EFI_LOAD_OPTION.
	Description string `json:"description,omitempty"`
	Device      string `json:"device_path,omitempty"`
	// Verified: the contents are what was measured. NameVerified: and the name;
	// EDK II measures the contents alone.
	Verified     bool `json:"verified"`
	NameVerified bool `json:"name_verified"`
}

func (b *factBuilder) boot() *BootFacts {
	if b.facts.Boot == nil {
		b.facts.Boot = &BootFacts{}
	}
	return b.facts.Boot
}

func (b *factBuilder) image(e Event) Image {
	file, device := imagePaths(e)
	return Image{Sequence: e.Sequence, Type: e.Type, Digests: b.digests(e), Path: file, Device: device}
}

func (b *factBuilder) named(e Event, name string, verified bool) Named {
	return Named{PCR: e.PCR, Sequence: e.Sequence, Name: name, Digests: b.digests(e), Verified: verified}
}

// optionROM lists images of PCR 2.
func (b *factBuilder) optionROM(e Event) {
	switch e.Type {
	case EFIBootServicesDriver, EFIBootServicesApplication, EFIRuntimeServicesDriver:
		b.boot().OptionROMs = append(b.boot().OptionROMs, b.image(e))
	default:
		b.other(e)
	}
}

// other lists an event that no other fact is drawn from. Only a separator of a
// value that the profile allows says nothing.
func (b *factBuilder) other(e Event) {
	if e.Type != Separator || !isSeparator(e.Data) {
		b.boot().Other = append(b.boot().Other, b.named(e, e.Type.String(), false))
	}
}

func (b *factBuilder) bootVariable(e Event) {
	switch e.Type {
	case EFIVariableBoot, EFIVariableBoot2, EFIVariableDriverConfig:
	default:
		return
	}
	v, trailing, err := parseVariable(e.Data)
	if err != nil || trailing != 0 || v.GUID != guidGlobal || !strings.HasPrefix(v.Name, "Boot") {
		return
	}
	out := BootVariable{Sequence: e.Sequence, Name: v.Name, Verified: b.verified(e),
		NameVerified: e.isDigestOf(e.Data, b.covered[e.PCR])}
	if v.Name == "BootOrder" {
		for i := 0; i+1 < len(v.Data); i += 2 {
			out.Order = append(out.Order, uint16(v.Data[i])|uint16(v.Data[i+1])<<8)
		}
	} else if out.Description, out.Device, err = loadOption(v.Data); err != nil {
		return
	}
	b.boot().Variables = append(b.boot().Variables, out)
}

// loadOption reads an EFI_LOAD_OPTION (UEFI 2.10 section 3.1.3).
func loadOption(data []byte) (description, device string, err error) {
	r := &reader{b: data}
	r.u32() // attributes
	pathSize := int(r.u16())
	units := 0
	for at := 0; ; at += 2 {
		if at+2 > r.len() {
			return "", "", errors.New("load option without a description")
		}
		units = at + 2
		if r.b[at] == 0 && r.b[at+1] == 0 {
			break
		}
	}
	description = utf16Text(r.take(units))
	path := r.take(pathSize)
	if r.err != nil {
		return "", "", r.err
	}
	device, err = DevicePath(path)
	return description, device, err
}

// exitBootServices knows the actions of PFP section 3.3.4.6 by their digests,
// whatever type the log gives them.
func (b *factBuilder) exitBootServices(e Event) {
	var seen ExitBootServices
	if known := b.facts.Boot; known != nil && known.ExitBootServices != nil {
		seen = *known.ExitBootServices
	}
	switch b.action(e) {
	case 0:
		seen.Invoked = true
	case 1:
		seen.Succeeded = true
	case 2:
		seen.Failed = true
	default:
		return
	}
	b.boot().ExitBootServices = &seen
}

// action says which of the actions it is, -1 for none: their digests in the first
// covered bank are computed once.
func (b *factBuilder) action(e Event) int {
	texts := [...]string{"Exit Boot Services Invocation", "Exit Boot Services Returned with Success", "Exit Boot Services Returned with Failure"}
	banks := b.covered[e.PCR]
	for i, text := range texts {
		if b.actions[i] == nil {
			b.actions[i] = sum(nil, banks[0], []byte(text))
		}
		if bytes.Equal(b.actions[i], e.Digests.In(banks[0])) && e.isDigestOf([]byte(text), banks) {
			return i
		}
	}
	return -1
}
