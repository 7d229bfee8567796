// Package osv answers which known vulnerabilities a bill of materials has. It
// reads records in the Open Source Vulnerability format (OSV schema 1.7,
// https://ossf.github.io/osv-schema/), as osv.dev and others export them, and
// components of CycloneDX documents (ECMA-424) by their package URLs (ECMA-427),
// and compares versions in each ecosystem's own order.
//
// The answer for a component is Affected, NotAffected or Undecided: what cannot be
// ordered, or is not known to be of the release that a record speaks of, is never
// taken for not affected. It also names the records that were refused.
//
// A feed is foreign text: sizes, counts and depths are bounded, names of files in
// an archive are never used as paths, and no text is shown or run. The package
// reads only what it is handed, and keeps nothing.
package osv

import "errors"

// Errors that this package's errors wrap.
var (
	// ErrRecord says that a record is refused: malformed, or beyond a bound.
	ErrRecord = errors.New("not a usable OSV record")
	// ErrSBOM says that a bill of materials is refused.
	ErrSBOM = errors.New("not a usable CycloneDX document")
	// ErrFeed says that a whole feed cannot be read.
	ErrFeed = errors.New("not a usable OSV feed")
)

// Bounds. What is beyond one is refused, never cut.
const (
	MaxRecordBytes = 4 << 20  // one record, as JSON
	MaxSBOMBytes   = 64 << 20 // one bill of materials, as JSON
	MaxComponents  = 200_000  // of a bill of materials
	maxAffected    = 8192     // packages of a record
	maxEvents      = 65_536   // of all ranges of a record
	maxVersions    = 200_000  // of all packages of a record
	maxNames       = 512      // aliases, and upstream, of a record
	maxID          = 128      // bytes of an id or alias
	maxWord        = 512      // bytes of a package's name, a version, a score
	maxOrdered     = 256      // bytes of a version that is ordered
	maxSummary     = 512      // runes of a summary; it alone is cut
	maxNesting     = 64       // of components in components
	maxFeedEntries = 4 << 20  // records, or files, of a feed
	maxFeedBytes   = 64 << 30 // of a feed, unpacked
)
