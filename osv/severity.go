package osv

import (
	"strings"

	cvss20 "github.com/pandatix/go-cvss/20"
	cvss30 "github.com/pandatix/go-cvss/30"
	cvss31 "github.com/pandatix/go-cvss/31"
	cvss40 "github.com/pandatix/go-cvss/40"
)

// Severity ranks vulnerabilities in the words of the CVSS rating scale.
type Severity string

// The severities. Unrated is what no record rates: not the same as Low.
const (
	Critical Severity = "critical"
	High     Severity = "high"
	Medium   Severity = "medium"
	Low      Severity = "low"
	Unrated  Severity = "unrated"
)

// Severities are all of them, the gravest first.
func Severities() []Severity { return []Severity{Critical, High, Medium, Low, Unrated} }

// Rank orders severities: the gravest has the lowest.
func (s Severity) Rank() int {
	for i, other := range Severities() {
		if s == other {
			return i
		}
	}
	return len(Severities())
}

// Graver is the graver of two.
func (s Severity) Graver(t Severity) Severity {
	if t.Rank() < s.Rank() {
		return t
	}
	return s
}

// Severity is the record's for the package: that of the package where the record
// rates it apart, and the record's otherwise. Of several CVSS scores the highest
// counts; words count where there is no score that can be read.
func (r Record) Severity(a Affected) Severity {
	for _, rated := range []Severity{
		ofScores(a.Scores), severityOf(a.Ecosystem.Severity), severityOf(a.Words.Severity),
		ofScores(r.Scores), severityOf(r.Words.Severity),
	} {
		if rated != Unrated {
			return rated
		}
	}
	return Unrated
}

// Rating is the gravest severity that the record has for any package.
func (r Record) Rating() Severity {
	rated := r.Severity(Affected{})
	for _, a := range r.Affected {
		rated = rated.Graver(r.Severity(a))
	}
	return rated
}

func ofScores(scores []Score) Severity {
	rated := Unrated
	for _, s := range scores {
		rated = rated.Graver(s.severity())
	}
	return rated
}

func (s Score) severity() Severity {
	if score, ok := base(s.Score); ok {
		return ofScore(score, strings.HasPrefix(s.Score, "CVSS:"))
	}
	return severityOf(s.Score)
}

// base is the base score of a CVSS vector.
func base(vector string) (float64, bool) {
	switch {
	case strings.HasPrefix(vector, "CVSS:4.0/"):
		v, err := cvss40.ParseVector(vector)
		if err != nil {
			return 0, false
		}
		return v.Score(), true
	case strings.HasPrefix(vector, "CVSS:3.1/"):
		v, err := cvss31.ParseVector(vector)
		if err != nil {
			return 0, false
		}
		return v.BaseScore(), true
	case strings.HasPrefix(vector, "CVSS:3.0/"):
		v, err := cvss30.ParseVector(vector)
		if err != nil {
			return 0, false
		}
		return v.BaseScore(), true
	case strings.HasPrefix(vector, "AV:"):
		v, err := cvss20.ParseVector(vector)
		if err != nil {
			return 0, false
		}
		return v.BaseScore(), true
	}
	return 0, false
}

// ofScore is the rating of a score: CVSS 4.0, section 6, which is that of 3.x; 2.0
// itself knows no critical (NVD's scale).
func ofScore(score float64, critical bool) Severity {
	switch {
	case score >= 9 && critical:
		return Critical
	case score >= 7:
		return High
	case score >= 4:
		return Medium
	default:
		return Low
	}
}

// severityOf reads the words of databases: GitHub's, Debian's urgency, Ubuntu's
// priority, Red Hat's and SUSE's ratings.
func severityOf(word string) Severity {
	switch strings.ToLower(word) {
	case "critical":
		return Critical
	case "high", "important":
		return High
	case "medium", "moderate":
		return Medium
	case "low", "negligible", "unimportant", "none":
		return Low
	}
	return Unrated
}
