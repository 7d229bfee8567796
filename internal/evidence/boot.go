package evidence

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"troth/attest"
	"troth/attest/eventlog"
	"troth/policy"
)

// The bounds of what a log can put into a policy's input, which is stored with
// each decision. Real logs stay well below them.
const (
	maxListed = 64   // entries of a list
	maxDBX    = 1024 // entries of dbx; the published ones have about 500
	maxName   = 256  // bytes of a name or a path
	maxText   = 4096 // bytes of a command line or an SBAT level
)

// bootFacts are the boot facts of an appraisal as policies see them.
func bootFacts(r attest.Result) policy.BootInput {
	l := r.EventLog
	if l == nil || !l.Given || !l.Replayed || !r.Verified {
		return policy.BootInput{}
	}
	facts := l.Boot
	if facts == nil {
		facts = &eventlog.BootFacts{}
	}
	b := bootBuilder{in: policy.BootInput{Known: true}, values: r.PCRs[Bank]}
	b.images(l.BootLoaders, r.SecureBoot, facts)
	b.commandLines(l.CommandLines, facts)
	b.shim(facts.Shim)
	b.in.Authorities = convert(&b, "authorities", facts.Authorities, func(a eventlog.Authority) policy.AuthorityInput {
		return policy.AuthorityInput{Variable: short(a.Variable, maxName), Fingerprint: short(a.Fingerprint, maxName), Verified: a.Verified}
	})
	b.in.Sections = convert(&b, "sections", facts.Sections, named)
	b.in.Files = convert(&b, "files", facts.Files, named)
	b.in.Initrds = convert(&b, "initrds", facts.Initrds, named)
	b.in.Configuration = convert(&b, "configuration", facts.Configuration, named)
	b.in.Other = convert(&b, "other", facts.Other, named)
	b.in.Variables = convert(&b, "variables", facts.Variables, bootVariable)
	b.in.SCRTMVersion, b.in.SBATLevel = measuredText(l.SCRTMVersion), measuredText(facts.SBATLevel)
	b.in.GPT = partitionTable(facts.GPT)
	if e := facts.ExitBootServices; e != nil {
		b.in.Exit = policy.ExitInput{Known: true, Invoked: e.Invoked, Succeeded: e.Succeeded, Failed: e.Failed}
	}
	slices.Sort(b.in.Cut)
	return b.in
}

type bootBuilder struct {
	in     policy.BootInput
	values map[int]attest.Digest
}

// convert makes a bounded list for policies, and notes that it was cut.
func convert[F, T any](b *bootBuilder, name string, from []F, to func(F) T) []T {
	if len(from) > maxListed {
		b.in.Cut = append(b.in.Cut, name)
		from = from[:maxListed]
	}
	out := make([]T, len(from))
	for i, f := range from {
		out[i] = to(f)
	}
	return out
}

// complete notes that a list accounts for its PCRs, where it was not cut.
func (b *bootBuilder) complete(name string, accounted bool) {
	if accounted && !slices.Contains(b.in.Cut, name) {
		b.in.Complete = append(b.in.Complete, name)
	}
}

func (b *bootBuilder) images(loaders []eventlog.Image, secureBoot *attest.SecureBoot, facts *eventlog.BootFacts) {
	b.in.BootLoaders = convert(b, "boot_loaders", loaders, image)
	if len(loaders) > 0 {
		b.in.BootLoaders[0].Signer = signer(secureBoot, facts.Authorities)
	}
	b.in.OptionROMs = convert(b, "option_roms", facts.OptionROMs, image)
	var measured []measurement
	for _, i := range facts.OptionROMs {
		measured = append(measured, measurement{i.Sequence, i.Digests.Hex(Bank)})
	}
	b.complete("option_roms", b.accounts(2, measured, true))
}

// signer is the db entry that the firmware verified what it loaded with. It
// measures each entry that it uses once, so that only a single one tells which
// image it was for; and it loads only the first image of PCR 4 itself.
func signer(secureBoot *attest.SecureBoot, authorities []eventlog.Authority) string {
	if secureBoot == nil || !secureBoot.Enabled {
		return ""
	}
	found := ""
	for _, a := range authorities {
		if a.Variable != "db" {
			continue
		}
		if found != "" || !a.Verified {
			return ""
		}
		found = a.Fingerprint
	}
	return found
}

// commandLines lists what may be a kernel's command line. GRUB's labels are not
// measured: a text that begins like a file's path is taken for one whatever its
// label says, or a relabelled line would hide.
func (b *bootBuilder) commandLines(lines []eventlog.CommandLine, facts *eventlog.BootFacts) {
	all := slices.Clone(lines)
	var grub, stub []measurement
	for _, c := range facts.Commands {
		sum := sha256.Sum256([]byte(c.Text))
		digest := hex.EncodeToString(sum[:])
		if strings.HasPrefix(c.Text, "/") || strings.HasPrefix(c.Text, "(") {
			all = append(all, eventlog.CommandLine{
				PCR: 8, Sequence: c.Sequence, Text: c.Text, Digests: eventlog.Digests{{Bank: Bank, Digest: sum[:]}}, Verified: c.Verified,
			})
		}
		grub = append(grub, measurement{c.Sequence, digest})
	}
	for _, c := range lines {
		switch c.PCR {
		case 8:
			grub = append(grub, measurement{c.Sequence, c.Digests.Hex(Bank)})
		case 12:
			stub = append(stub, measurement{c.Sequence, c.Digests.Hex(Bank)})
		}
	}
	for _, c := range facts.Configuration {
		if c.PCR == 12 {
			stub = append(stub, measurement{c.Sequence, c.Digests.Hex(Bank)})
		}
	}
	slices.SortFunc(all, func(a, b eventlog.CommandLine) int { return cmp.Compare(a.Sequence, b.Sequence) })
	whole := true
	b.in.CommandLines = convert(b, "command_lines", all, func(c eventlog.CommandLine) policy.CommandLineInput {
		whole = whole && len(c.Text) <= maxText
		return policy.CommandLineInput{PCR: c.PCR, Text: short(c.Text, maxText), Digest: c.Digests.Hex(Bank), Verified: c.Verified}
	})
	if !whole {
		b.in.Cut = append(b.in.Cut, "command_lines")
	}
	b.complete("command_lines", b.accounts(8, grub, false) && b.accounts(12, stub, false))
}

func (b *bootBuilder) shim(variables []eventlog.Named) {
	b.in.Shim = convert(b, "shim", variables, named)
	var measured []measurement
	for _, v := range variables {
		if v.PCR == 14 {
			measured = append(measured, measurement{v.Sequence, v.Digests.Hex(Bank)})
		}
	}
	b.complete("shim", b.accounts(14, measured, false))
}

// measurement is one extend of a PCR.
type measurement struct {
	sequence int
	digest   string // hexadecimal
}

// accounts reports whether the measurements alone make up the quoted value of a
// PCR, for a firmware PCR with its one separator anywhere among them. What an
// event is called is not authenticated, but what was extended is: only then is
// nothing missing from them.
func (b *bootBuilder) accounts(pcr int, measured []measurement, separated bool) bool {
	quoted := b.values[pcr]
	if len(quoted) != sha256.Size || len(measured) > 1024 {
		return false
	}
	slices.SortFunc(measured, func(a, b measurement) int { return cmp.Compare(a.sequence, b.sequence) })
	digests := make([][]byte, len(measured))
	for i, m := range measured {
		digest, err := hex.DecodeString(m.digest)
		if err != nil || len(digest) != sha256.Size {
			return false
		}
		digests[i] = digest
	}
	if !separated {
		return string(replay(digests)) == string(quoted)
	}
	separator := sha256.Sum256(make([]byte, 4))
	for i := max(0, len(digests)-maxListed); i <= len(digests); i++ {
		if string(replay(slices.Insert(slices.Clone(digests), i, separator[:]))) == string(quoted) {
			return true
		}
	}
	return false
}

func replay(digests [][]byte) []byte {
	value := make([]byte, sha256.Size)
	for _, d := range digests {
		sum := sha256.Sum256(append(value, d...))
		value = sum[:]
	}
	return value
}

func image(i eventlog.Image) policy.ImageInput {
	return policy.ImageInput{Digest: i.Digests.Hex(Bank), Path: short(i.Path, maxName), Device: short(i.Device, maxName)}
}

func named(n eventlog.Named) policy.NamedInput {
	return policy.NamedInput{PCR: n.PCR, Name: short(n.Name, maxName), Digest: n.Digests.Hex(Bank), Verified: n.Verified}
}

func bootVariable(v eventlog.BootVariable) policy.BootVariable {
	return policy.BootVariable{
		Name: short(v.Name, maxName), Order: v.Order[:min(len(v.Order), maxListed)], Description: short(v.Description, maxName),
		Device: short(v.Device, maxName), Verified: v.Verified, NameVerified: v.NameVerified,
	}
}

func measuredText(t *eventlog.Text) policy.TextInput {
	if t == nil {
		return policy.TextInput{}
	}
	return policy.TextInput{Known: true, Text: short(t.Text, maxText), Verified: t.Verified && len(t.Text) <= maxText}
}

func partitionTable(g *eventlog.GPT) policy.GPTInput {
	if g == nil {
		return policy.GPTInput{}
	}
	h := sha256.New()
	fmt.Fprintln(h, g.DiskGUID)
	for _, p := range g.Partitions {
		fmt.Fprintf(h, "%s\n%s\n%d\n%d\n%s\n", p.TypeGUID, p.GUID, p.First, p.Last, p.Name)
	}
	return policy.GPTInput{
		Known: true, DiskGUID: g.DiskGUID, Partitions: len(g.Partitions), Digest: hex.EncodeToString(h.Sum(nil)), Verified: g.Verified,
	}
}

// short cuts a text to at most size bytes, at the beginning of a character.
func short(s string, size int) string {
	if len(s) <= size {
		return s
	}
	for size > 0 && !utf8.RuneStart(s[size]) {
		size--
	}
	return s[:size]
}
