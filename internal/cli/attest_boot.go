package cli

import (
	"fmt"
	"strings"

	"troth/attest"
	"troth/attest/eventlog"
)

func claimed(verified bool) string {
	if verified {
		return ""
	}
	return " (claimed)"
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

// maxDrawn bounds the lines of a kind in a page; -o json has them all.
const maxDrawn = 12

// secureBootLines say what Secure Boot was configured to, with the subjects of
// certificates where they are known.
func secureBootLines(s *attest.SecureBoot, subjects map[string]string) (lines [][2]string) {
	if s == nil {
		return nil
	}
	state := onOff(s.Enabled)
	if s.Debug {
		state += ", and the firmware was in debug mode"
	}
	lines = append(lines, [2]string{"Secure Boot", state})
	for _, l := range []struct {
		name    string
		entries []string
	}{{"PK", s.PK}, {"KEK", s.KEK}, {"db", s.DB}} {
		if len(l.entries) == 0 {
			lines = append(lines, [2]string{l.name, "empty"})
		}
		for i, e := range l.entries {
			if i == maxDrawn {
				lines = append(lines, [2]string{l.name, fmt.Sprintf("and %d more", len(l.entries)-i)})
				break
			}
			lines = append(lines, [2]string{l.name, strings.TrimSpace(e + "  " + subjects[e])})
		}
	}
	if s.DBXEntries == 0 {
		return append(lines, [2]string{"dbx", "empty"})
	}
	return append(lines, [2]string{"dbx", fmt.Sprintf("%s, last %s", number(s.DBXEntries, "entry", "entries"), s.DBXLatest)})
}

// startedLines say what was started and with what, in the order of a boot.
func startedLines(version *eventlog.Text, loaders []eventlog.Image, commands []eventlog.CommandLine, boot *eventlog.BootFacts) (lines [][2]string) {
	if version != nil {
		text := version.Text
		if text == "" {
			text = "empty"
		}
		lines = append(lines, [2]string{"S-CRTM version", text + claimed(version.Verified)})
	}
	if boot != nil {
		lines = append(lines, firmwareLines(*boot)...)
	}
	for _, image := range loaders {
		name := first(image.Path, "an image that the log does not name")
		lines = append(lines, [2]string{"Booted", strongest(image.Digests) + "  " + name})
	}
	for _, c := range commands {
		text := c.Text + claimed(c.Verified)
		if c.Text == "" {
			text = strongest(c.Digests) + "  only the digest is logged"
		}
		lines = append(lines, [2]string{fmt.Sprintf("Command line, PCR %d", c.PCR), text})
	}
	if boot != nil {
		lines = append(lines, loaderLines(*boot)...)
	}
	return lines
}

func firmwareLines(b eventlog.BootFacts) (lines [][2]string) {
	for _, rom := range b.OptionROMs {
		lines = append(lines, [2]string{"Option ROM", strongest(rom.Digests) + "  " + first(rom.Device, rom.Path)})
	}
	for _, v := range b.Variables {
		if v.Order != nil {
			var order []string
			for _, n := range v.Order {
				order = append(order, fmt.Sprintf("%04X", n))
			}
			lines = append(lines, [2]string{"Boot order", strings.Join(order, ", ") + claimed(v.Verified)})
			continue
		}
		lines = append(lines, [2]string{v.Name, fmt.Sprintf("%q %s%s", v.Description, v.Device, claimed(v.Verified))})
	}
	if g := b.GPT; g != nil {
		lines = append(lines, [2]string{"Disk", g.DiskGUID + claimed(g.Verified)})
		for _, part := range g.Partitions {
			lines = append(lines, [2]string{"Partition", fmt.Sprintf("%s %q", part.GUID, part.Name)})
		}
	}
	for _, a := range b.Authorities {
		where := "which db has, as measured"
		if !a.Verified {
			where = "which is not in db as measured"
		}
		lines = append(lines, [2]string{"Image verified by", fmt.Sprintf("%s of %s, %s", a.Fingerprint, a.Variable, where)})
	}
	if b.SBATLevel != nil {
		lines = append(lines, [2]string{"SBAT level", strings.ReplaceAll(strings.TrimSpace(b.SBATLevel.Text), "\n", "; ") + claimed(b.SBATLevel.Verified)})
	}
	return append(lines, namedLines("shim", b.Shim)...)
}

func loaderLines(b eventlog.BootFacts) (lines [][2]string) {
	lines = append(lines, namedLines("Section", b.Sections)...)
	lines = append(lines, namedLines("Configuration", b.Configuration)...)
	for i, c := range b.Commands {
		if i == maxDrawn {
			lines = append(lines, [2]string{"GRUB command", fmt.Sprintf("and %d more", len(b.Commands)-i)})
			break
		}
		lines = append(lines, [2]string{"GRUB command", c.Text + claimed(c.Verified)})
	}
	lines = append(lines, namedLines("File", b.Files)...)
	lines = append(lines, namedLines("initrd", b.Initrds)...)
	lines = append(lines, otherLines(b.Other)...)
	if e := b.ExitBootServices; e != nil {
		text := "invoked"
		switch {
		case e.Failed:
			text = "failed"
		case e.Succeeded:
			text = "succeeded"
		}
		lines = append(lines, [2]string{"ExitBootServices", text})
	}
	return lines
}

// otherLines show what was measured that nothing else is known of.
func otherLines(list []eventlog.Named) (lines [][2]string) {
	for i, n := range list {
		if i == maxDrawn {
			return append(lines, [2]string{"Also measured", fmt.Sprintf("and %d more", len(list)-i)})
		}
		lines = append(lines, [2]string{fmt.Sprintf("Also in PCR %d", n.PCR), strongest(n.Digests) + "  " + n.Name + claimed(n.Verified)})
	}
	return lines
}

// namedLines show names beside what was measured under them.
func namedLines(what string, list []eventlog.Named) (lines [][2]string) {
	for i, n := range list {
		if i == maxDrawn {
			return append(lines, [2]string{what, fmt.Sprintf("and %d more", len(list)-i)})
		}
		lines = append(lines, [2]string{what, strongest(n.Digests) + "  " + n.Name + claimed(n.Verified)})
	}
	return lines
}
