package policy

import (
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// pure names every built-in function that a policy may call. It is an
// allow-list, so that a function which a later OPA brings stays out until
// somebody has read what it does. All are deterministic and see only their
// operands.
//
// Left out although harmless at first sight: json.match_schema and
// json.verify_schema (fetch remote references), the io.jwt and crypto.x509
// verifiers and key parsers (read the clock, handle private keys), bits.lsh and
// units.* (a short operand makes a number of any length), regex.globs_match
// (exponential), strings.render_template (loops out of reach of the deadline),
// graph.reachable_paths (as many paths as there are, in one step), yaml.* and graphql.* (parsers nobody needs here), net.* whole.
const pure = `
eq equal neq lt lte gt gte assign internal.member_2 internal.member_3
plus minus mul div rem abs ceil floor round bits.and bits.or bits.xor
count sum product max min sort and or union intersection set_diff
array.concat array.flatten array.reverse array.slice
object.filter object.get object.keys object.remove object.subset object.union object.union_n
concat contains endswith startswith format_int indexof indexof_n lower upper replace split sprintf substring
strings.any_prefix_match strings.any_suffix_match strings.count strings.replace_n strings.reverse strings.split_n
trim trim_left trim_prefix trim_right trim_space trim_suffix to_number
regex.find_all_string_submatch_n regex.find_n regex.is_valid regex.match regex.replace regex.split
glob.match glob.quote_meta
is_array is_boolean is_null is_number is_object is_set is_string type_name
base64.decode base64.encode base64.is_valid base64url.decode base64url.encode base64url.encode_no_pad hex.decode hex.encode
crypto.sha256
json.filter json.is_valid json.marshal json.patch json.remove json.unmarshal walk
graph.reachable numbers.range numbers.range_step
semver.compare semver.is_valid
time.add_date time.clock time.date time.diff time.format time.parse_duration_ns time.parse_ns time.parse_rfc3339_ns time.weekday
rego.metadata.chain rego.metadata.rule
internal.print print
`

// Capabilities is what a policy may use: the allow-listed built-in functions of
// this OPA, Rego v1, and no host to connect to. Calls to print are known to the
// compiler so that it can erase them. The value is the caller's own.
func Capabilities() *ast.Capabilities { return capabilities() }

func capabilities(also ...string) *ast.Capabilities {
	allowed := map[string]bool{}
	for _, name := range append(strings.Fields(pure), also...) {
		allowed[name] = true
	}
	caps := ast.CapabilitiesForThisVersion()
	kept := make([]*ast.Builtin, 0, len(allowed))
	for _, b := range caps.Builtins {
		if allowed[b.Name] && !b.IsNondeterministic() {
			kept = append(kept, b)
		}
	}
	caps.Builtins = kept
	caps.Features = []string{ast.FeatureRegoV1, ast.FeatureKeywordsInRefs}
	caps.AllowNet = []string{} // nil would allow every host
	return caps
}
