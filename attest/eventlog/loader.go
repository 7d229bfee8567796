package eventlog

// Tags of events in EV_EVENT_TAG: the Linux EFI stub's, then systemd's.
const (
	eventTagInitrd      = 0x8f3b22ec
	eventTagLoadOptions = 0x8f3b22ed
)

// systemdTag names what systemd-boot and systemd-stub tag.
func systemdTag(id uint32) string {
	switch id {
	case 0xf5bc582a:
		return "loader.conf"
	case 0x6c46f751:
		return "devicetree addon"
	case 0x49dffe0f:
		return "initrd addon"
	case 0xdac08e1a:
		return "ucode addon"
	case 0x13aed6db:
		return "UKI profile"
	}
	return ""
}

// loader reads what boot loaders and the kernel's stubs measure into PCR 5 and 8
// to 15.
func (b *factBuilder) loader(e Event) {
	before, name := b.told(), b.sectionName
	defer func() {
		if b.told() == before && b.sectionName == name {
			b.other(e)
		}
	}()
	switch e.Type {
	case EventTag:
		b.commandLine(e, "")
		b.tagged(e)
	case IPL:
		t := text(e.Data)
		b.commandLine(e, t)
		b.ipl(e, t)
	}
}

// told counts the facts that events of PCR 8 to 15 can become.
func (b *factBuilder) told() int {
	n := len(b.facts.CommandLines)
	if boot := b.facts.Boot; boot != nil {
		n += len(boot.Commands) + len(boot.Files) + len(boot.Initrds) + len(boot.Sections) + len(boot.Configuration) + len(boot.Shim)
	}
	return n
}

func (b *factBuilder) tagged(e Event) {
	id, tagged, ok := taggedEvent(e.Data)
	if !ok {
		return
	}
	if id == eventTagInitrd {
		b.boot().Initrds = append(b.boot().Initrds, b.named(e, text(tagged), false))
		return
	}
	if kind := systemdTag(id); kind != "" {
		name := kind
		if t := text(tagged); t != kind {
			name += ": " + t
		}
		b.boot().Configuration = append(b.boot().Configuration, b.named(e, name, false))
	}
}

func (b *factBuilder) ipl(e Event, t string) {
	switch e.PCR {
	case 8:
		label, rest, labelled := grubText(t)
		if labelled && !isKernelCommandLine(label) {
			b.boot().Commands = append(b.boot().Commands, Command{Sequence: e.Sequence, Label: label, Text: rest, Digests: b.digests(e),
				Verified: b.verified(e)})
		}
	case 9:
		b.boot().Files = append(b.boot().Files, b.named(e, t, false))
	case 11:
		b.section(e, t)
	case 12, 13:
		if !b.verified(e) {
			b.boot().Configuration = append(b.boot().Configuration, b.named(e, t, false))
		}
	case 14:
		b.boot().Shim = append(b.boot().Shim, b.named(e, t, false))
	}
}

// section joins systemd-stub's two events: the name of a section with its NUL,
// measured as such, and then the contents under the same name.
func (b *factBuilder) section(e Event, name string) {
	if e.isDigestOf(append([]byte(name), 0), b.covered[e.PCR]) {
		b.sectionName = name
		return
	}
	b.boot().Sections = append(b.boot().Sections, b.named(e, name, name != "" && b.sectionName == name))
	b.sectionName = ""
}
