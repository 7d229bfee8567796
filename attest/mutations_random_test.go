package attest_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"troth/attest"
	"troth/attest/eventlog"
)

// subject is valid evidence to mutate, with what its appraisal says.
type subject struct {
	name     string
	evidence attest.Evidence
	want     attest.Expectation
	facts    facts
	extended map[string]bool // "PCR digest", of each event of the log
}

// facts is what a result says, in three parts.
type facts struct {
	// measured lists, for each PCR whose events are told by their digests, all of
	// these digests. Under which name or role is claimed: types and labels of
	// events are not authenticated. A PCR's list is whole or it is not there.
	measured map[int][]string
	// proven are the other facts, each as JSON by its name: the Secure Boot
	// configuration, texts whose digests were recomputed, …. A relying party reads
	// one as a whole; it is the same, or it is not there.
	proven map[string]string
	// firm is what no mutation may change: PCRs, clock, counts of IMA.
	firm string
	// warnings are the codes of problems that are no errors.
	warnings []string
	// loose is all that is only claimed, or told by the log's own order.
	loose string
}

func asJSON(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // a result is JSON
	}
	return string(raw)
}

func factsOf(r attest.Result) facts {
	f := facts{measured: map[int][]string{}, proven: map[string]string{}, warnings: codes(r, attest.SeverityWarning), loose: asJSON(r)}
	if r.SecureBoot != nil {
		f.proven["secure boot"] = asJSON(r.SecureBoot)
	}
	if r.EventLog != nil {
		f.eventLog(r.EventLog)
	}
	list := attest.IMAResult{}
	if r.IMA != nil {
		list = *r.IMA
		// How far the list runs ahead of the quote is the list's own word.
		list.Ahead = 0
		if list.BootAggregate != attest.BootAggregateVerified {
			list.BootAggregate = ""
		} else {
			f.proven["boot aggregate"] = string(list.BootAggregate)
			list.BootAggregate = ""
		}
	}
	f.firm = asJSON([]any{r.Verified, r.PCRs, r.Clock, list, r.IMAUnknown})
	return f
}

func (f facts) digests(pcr int, digests eventlog.Digests) {
	f.measured[pcr] = append(f.measured[pcr], asJSON(digests))
}

func (f facts) named(lists ...[]eventlog.Named) {
	for _, list := range lists {
		for _, n := range list {
			if n.PCR == 5 || n.PCR == 7 { // these PCRs are not told by digests alone
				f.proven[fmt.Sprintf("PCR %d %s", n.PCR, asJSON(n.Digests))] = ""
				continue
			}
			f.digests(n.PCR, n.Digests)
		}
	}
}

func (f facts) eventLog(l *attest.EventLogResult) {
	for _, i := range l.BootLoaders {
		f.digests(4, i.Digests)
	}
	for _, c := range l.CommandLines {
		f.digests(c.PCR, c.Digests)
		if c.Verified {
			f.proven[fmt.Sprintf("text of %s in PCR %d", asJSON(c.Digests), c.PCR)] = c.Text
		}
	}
	if v := l.SCRTMVersion; v != nil && v.Verified {
		f.proven["S-CRTM version"] = v.Text
	}
	b := l.Boot
	if b == nil {
		return
	}
	for _, i := range b.OptionROMs {
		f.digests(2, i.Digests)
	}
	for _, c := range b.Commands {
		f.digests(8, c.Digests)
		if c.Verified {
			f.proven[fmt.Sprintf("text of %s in PCR 8", asJSON(c.Digests))] = c.Text
		}
	}
	f.named(b.Files, b.Initrds, b.Sections, b.Configuration, b.Shim, b.Other)
	for _, s := range b.Sections {
		if s.Verified {
			f.proven["section "+asJSON(s.Digests)] = s.Name
		}
	}
	for _, v := range b.Variables {
		v.Sequence = 0
		if !v.NameVerified {
			v.Name = ""
		}
		if v.Verified {
			f.proven["boot variable "+asJSON(v)] = ""
		}
	}
	for i, a := range b.Authorities {
		a.Sequence = 0
		f.proven[fmt.Sprintf("authority %d of %d", i, len(b.Authorities))] = asJSON(a)
	}
	if b.GPT != nil && b.GPT.Verified {
		f.proven["partition table"] = asJSON(b.GPT)
	}
	if b.ExitBootServices != nil {
		f.proven["exit boot services"] = asJSON(b.ExitBootServices)
	}
	if b.SBATLevel != nil && b.SBATLevel.Verified {
		f.proven["SBAT level"] = b.SBATLevel.Text
	}
}

// The ways in which an accepted mutation is harmless.
const (
	same       = "the same to the byte"
	claimed    = "the same, with another claim or order across PCRs"
	renamed    = "the same digests, and a text, name or table that is no longer proven"
	warned     = "a PCR or the boot aggregate yields nothing, with a warning"
	meaningful = "ANOTHER MEANING"
)

// class says in which way an accepted mutation is harmless, or what it changed.
func (s subject) class(r attest.Result) (string, string) {
	got := factsOf(r)
	if got.loose == s.facts.loose {
		return same, ""
	}
	if got.firm != s.facts.firm {
		return meaningful, got.firm[max(0, len(got.firm)-200):] + " instead of " + s.facts.firm[max(0, len(s.facts.firm)-200):]
	}
	var lostPCR []int
	for pcr, digests := range got.measured {
		if lost, other := s.compareDigests(pcr, digests); lost || other {
			return meaningful, fmt.Sprintf("PCR %d: %v instead of %v", pcr, digests, s.facts.measured[pcr])
		}
	}
	for pcr := range s.facts.measured {
		if got.measured[pcr] == nil {
			lostPCR = append(lostPCR, pcr)
		}
	}
	for what, is := range got.proven {
		if was, known := s.facts.proven[what]; !known || was != is {
			return meaningful, fmt.Sprintf("%s: %s instead of %s", what, is, was)
		}
	}
	lostProof := len(got.proven) < len(s.facts.proven)
	switch isWarned := len(got.warnings) > len(s.facts.warnings); {
	case isWarned:
		return warned, ""
	case len(lostPCR) > 0:
		return meaningful, fmt.Sprintf("PCRs %v yield nothing, without a warning", lostPCR)
	case lostProof:
		return renamed, ""
	}
	return claimed, ""
}

// compareDigests says whether a digest of a PCR is no longer listed, and whether
// one is listed that no event extended there. More of the log's own digests may
// be: what firmware or loader named itself, and the log no longer does.
func (s subject) compareDigests(pcr int, digests []string) (lost, other bool) {
	left := slices.Clone(s.facts.measured[pcr])
	for _, d := range digests {
		if at := slices.Index(left, d); at >= 0 {
			left = slices.Delete(left, at, at+1)
		} else if !s.extended[fmt.Sprintf("%d %s", pcr, d)] {
			other = true
		}
	}
	return len(left) > 0, other
}

// extensions lists what the log extended, as facts write it.
func extensions(t testing.TB, e attest.Evidence) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	if e.EventLog == nil {
		return out
	}
	log, err := eventlog.Parse(e.EventLog)
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range log.Events {
		digests := slices.DeleteFunc(slices.Clone(event.Digests), func(d eventlog.BankDigest) bool { return e.PCRs[d.Bank] == nil })
		out[fmt.Sprintf("%d %s", event.PCR, asJSON(digests))] = true
	}
	return out
}

// mutation changes bytes; it may leave them as they are.
type mutation struct {
	name string
	do   func(*rand.Rand, []byte) []byte
}

func mutations() []mutation {
	return []mutation{
		{"bit flip", func(r *rand.Rand, b []byte) []byte { b[r.IntN(len(b))] ^= 1 << r.IntN(8); return b }},
		{"byte change", func(r *rand.Rand, b []byte) []byte { b[r.IntN(len(b))] = byte(r.Uint32()); return b }},
		{"deletion", func(r *rand.Rand, b []byte) []byte {
			from := r.IntN(len(b))
			return slices.Delete(b, from, min(len(b), from+1+r.IntN(64)))
		}},
		{"insertion", func(r *rand.Rand, b []byte) []byte {
			noise := make([]byte, 1+r.IntN(64))
			for i := range noise {
				noise[i] = byte(r.Uint32())
			}
			return slices.Insert(b, r.IntN(len(b)+1), noise...)
		}},
		{"repetition", func(r *rand.Rand, b []byte) []byte {
			from := r.IntN(len(b))
			return slices.Insert(b, from, bytes.Clone(b[from:min(len(b), from+1+r.IntN(64))])...)
		}},
		{"truncation", func(r *rand.Rand, b []byte) []byte { return b[:r.IntN(len(b))] }},
	}
}

// mutated applies one of them to a copy.
func mutated(r *rand.Rand, b []byte) ([]byte, string) {
	m := mutations()[r.IntN(len(mutations()))]
	return m.do(r, bytes.Clone(b)), m.name
}

// records cuts a crypto-agile event log after its header, or a list of lines.
func records(log []byte, lines bool) [][]byte {
	if lines {
		return slices.Collect(bytes.Lines(log))
	}
	le := binary.LittleEndian
	out := [][]byte{log[:32+le.Uint32(log[28:])]}
	for rest := log[len(out[0]):]; len(rest) > 0; {
		at := 12
		for range le.Uint32(rest[8:]) {
			at += 2 + map[uint16]int{4: 20, 11: 32, 12: 48, 13: 64}[le.Uint16(rest[at:])]
		}
		at += 4 + int(le.Uint32(rest[at:]))
		out, rest = append(out, rest[:at]), rest[at:]
	}
	return out
}

// shuffled swaps, drops or repeats a record of a log, or gives an event of it
// another type or PCR.
func shuffled(r *rand.Rand, log []byte, lines bool) ([]byte, string) {
	list := records(log, lines)
	i, j := r.IntN(len(list)), r.IntN(len(list))
	switch kind := r.IntN(5); {
	case kind == 0:
		return bytes.Join(slices.Delete(list, i, i+1), nil), "record dropped"
	case kind == 1:
		return bytes.Join(slices.Insert(list, j, list[i]), nil), "record repeated"
	case kind == 2 && !lines:
		list[i] = bytes.Clone(list[i])
		binary.LittleEndian.PutUint32(list[i][4:], binary.LittleEndian.Uint32(list[j][4:]))
		return bytes.Join(list, nil), "event with another's type"
	case kind == 3 && !lines:
		list[i] = bytes.Clone(list[i])
		list[i][0] = byte(r.IntN(24))
		return bytes.Join(list, nil), "event in another PCR"
	}
	list[i], list[j] = list[j], list[i]
	return bytes.Join(list, nil), "records swapped"
}

// mutatedPCRs changes, drops, adds or moves a value.
func mutatedPCRs(r *rand.Rand, p attest.PCRs) (attest.PCRs, string) {
	out := clone(p)
	banks := slices.Sorted(maps.Keys(out))
	bank := banks[r.IntN(len(banks))]
	i, j := r.IntN(24), r.IntN(24)
	switch r.IntN(5) {
	case 0:
		delete(out[bank], i)
		return out, "value dropped"
	case 1:
		out[bank][24+r.IntN(8)] = out[bank][i]
		return out, "value added"
	case 2:
		out[bank][i], out[bank][j] = out[bank][j], out[bank][i]
		return out, "values swapped"
	case 3:
		out["sha512"], out[bank] = out[bank], out["sha512"]
		return out, "bank renamed"
	}
	value, how := mutated(r, out[bank][i])
	out[bank][i] = value
	return out, how
}

// mutate changes one thing of the evidence.
func (s subject) mutate(r *rand.Rand) (attest.Evidence, attest.Expectation, string) {
	e, want := s.evidence, s.want
	part := []string{"AK", "quote", "signature", "nonce", "PCRs", "event log", "event log", "event log", "IMA", "IMA"}[r.IntN(10)]
	if part == "event log" && e.EventLog == nil {
		part = "IMA"
	}
	var how string
	switch part {
	case "AK":
		e.AK, how = mutated(r, e.AK)
	case "quote":
		e.Quote, how = mutated(r, e.Quote)
	case "signature":
		e.Signature, how = mutated(r, e.Signature)
	case "nonce":
		want.QualifyingData, how = mutated(r, want.QualifyingData)
	case "PCRs":
		e.PCRs, how = mutatedPCRs(r, e.PCRs)
	case "event log":
		if r.IntN(2) == 0 {
			e.EventLog, how = shuffled(r, e.EventLog, false)
		} else {
			e.EventLog, how = mutated(r, e.EventLog)
		}
	case "IMA":
		if isText := e.IMA[0] == '1'; isText && r.IntN(3) == 0 {
			e.IMA, how = shuffled(r, e.IMA, true)
		} else {
			e.IMA, how = mutated(r, e.IMA)
		}
	}
	return e, want, part + ": " + how
}

// mutationSubjects are the captured boots by each of their quotes, with the IMA
// list in both forms, and a software TPM's.
func mutationSubjects(t *testing.T) []subject {
	t.Helper()
	var out []subject
	add := func(name string, e attest.Evidence, want attest.Expectation) {
		base := attest.Appraise(e, want)
		accepted(t, base)
		out = append(out, subject{name, e, want, factsOf(base), extensions(t, e)})
	}
	for _, c := range capturedBoots(t) {
		for _, quote := range []string{"sha1", "sha256", "sha384", "all"} {
			e := c.evidence(t, quote)
			add(c.Name+" "+quote, e, c.want(t, quote))
			e.IMA = c.read(t, "ima.binary")
			add(c.Name+" "+quote+", binary list", e, c.want(t, quote))
		}
	}
	d, logs := softwareTPM(t)
	ak, err := d.CreateAK()
	if err != nil {
		t.Fatal(err)
	}
	nonce := []byte("the nonce of a software TPM")
	q, err := d.Quote(ak, nonce, map[string][]int{"sha256": {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23}})
	if err != nil {
		t.Fatal(err)
	}
	add("swtpm", attest.Evidence{AK: ak.Public, Quote: q.Attest, Signature: q.Signature, PCRs: toPCRs(q.PCRs),
		EventLog: logs.EventLog, IMA: logs.IMA}, attest.Expectation{QualifyingData: nonce, RequireAttributes: true})
	return out
}

// TestRandomMutations changes one thing of valid evidence 10,000 times: it is
// refused, or what is accepted means the same or less, in one of the enumerated
// ways.
func TestRandomMutations(t *testing.T) {
	const count, workers, seed = 10_000, 4, 20260117
	subjects := mutationSubjects(t)
	var mu sync.Mutex
	classes := map[string]int{}
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(worker)))
			for i := range count / workers {
				s := subjects[r.IntN(len(subjects))]
				e, want, how := s.mutate(r)
				result := attest.Appraise(e, want)
				class, why := "refused", ""
				if result.Verified {
					class, why = s.class(result)
				}
				mu.Lock()
				if class == meaningful {
					t.Errorf("worker %d, mutation %d of %s (%s): accepted with another meaning: %s", worker, i, s.name, how, why)
				}
				classes[class]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Logf("seed %d", seed)
	for _, class := range slices.Sorted(maps.Keys(classes)) {
		t.Logf("%5d %s", classes[class], class)
	}
}
